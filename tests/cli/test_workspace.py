"""`olvido init`, the frame of the command line, and what somebody new gets wrong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Olvido = Callable[..., tuple[int, str, str]]


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Exit status 2, nothing on standard output, one line on standard error with these words."""
    status, out, err = result
    assert (status, out, err.count("\n")) == (2, "", 1), result
    for word in words:
        assert word in err


def test_a_workspace_is_made_and_used(olvido: Olvido, here: Path) -> None:
    status, out, err = olvido("init", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["workspace"] == str(here)
    assert stat.S_IMODE((here / "olvido.key").stat().st_mode) == 0o600
    assert olvido("data", "show")[0] == 0


def test_a_workspace_is_made_once(olvido: Olvido, here: Path) -> None:
    olvido("init")
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    refused(olvido("init"), "is a workspace already")
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before


def test_init_leaves_another_ledger_or_key_alone(olvido: Olvido, here: Path) -> None:
    (here / "ledger.db").write_text("mine")
    refused(olvido("init"), "ledger.db", "exists")
    assert [path.name for path in here.iterdir()] == ["ledger.db"]


def test_a_ledger_on_a_server_is_found_again(
    olvido: Olvido, here: Path, monkeypatch: pytest.MonkeyPatch, new_database: Callable[[], str]
) -> None:
    url = new_database()
    monkeypatch.setenv("OLVIDO_LEDGER", url)
    assert olvido("init")[0] == 0
    monkeypatch.delenv("OLVIDO_LEDGER")
    assert olvido("models", "--json") == (0, '{\n  "models": []\n}\n', "")
    assert not list(here.rglob("*.db"))
    # The database is one ledger's: another workspace does not take it over.
    monkeypatch.setenv("OLVIDO_LEDGER", url)
    refused(olvido("init", "elsewhere"), "holds a ledger")


def test_a_password_is_written_nowhere(
    olvido: Olvido, here: Path, monkeypatch: pytest.MonkeyPatch, new_database: Callable[[], str]
) -> None:
    monkeypatch.setenv("OLVIDO_LEDGER", new_database().replace("@", ":secret@"))
    status, out, err = olvido("init")
    assert (status, "set OLVIDO_LEDGER for every command" in " ".join(out.split())) == (0, True)
    assert "secret" not in out + err
    assert not [p for p in here.rglob("*") if p.is_file() and b"secret" in p.read_bytes()]
    assert olvido("models")[0] == 0
    monkeypatch.delenv("OLVIDO_LEDGER")
    refused(olvido("models"), "olvido init")


def test_a_server_that_is_not_there_leaves_nothing_and_no_password(
    olvido: Olvido, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLVIDO_LEDGER", "postgresql+psycopg://olvido:secret@127.0.0.1:9/olvido")
    result = olvido("init")
    refused(result, "could not be used", "127.0.0.1")
    assert "secret" not in result[2]
    assert not list(here.iterdir())


def test_the_workspace_may_stand_before_or_after_the_command(olvido: Olvido, here: Path) -> None:
    olvido("init", "elsewhere")
    for arguments in (
        ("--workspace", "elsewhere", "models", "--json"),
        ("models", "--workspace", "elsewhere", "--json"),
        ("models", "--json", "--workspace", here / "elsewhere"),
    ):
        assert olvido(*arguments) == (0, '{\n  "models": []\n}\n', "")


def test_a_workspace_is_found_from_inside_and_by_the_environment(
    olvido: Olvido, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    olvido("init", "elsewhere")
    refused(olvido("models"), "olvido init")
    monkeypatch.setenv("OLVIDO_WORKSPACE", str(here / "elsewhere"))
    assert olvido("models")[0] == 0
    monkeypatch.delenv("OLVIDO_WORKSPACE")
    monkeypatch.chdir(here / "elsewhere" / "data")
    assert olvido("models")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["modles"], ["'modles'", "'models'"]),
        (["data", "ad"], ["'ad'", "'add'"]),
        (["data"], ["Missing command", "olvido data --help"]),
        (["data", "add"], ["Missing argument"]),
        (["data", "add", "x.jsonl"], ["--name"]),
        (["data", "add", "x.jsonl", "--nmae", "x"], ["--nmae", "--name"]),
        (["data", "show", "x", "y"], ["unexpected extra argument"]),
        (["models", "--workspace"], ["--workspace"]),
        (["models", "--workspace", "nowhere"], ["no workspace", "olvido init nowhere"]),
        (["models"], ["there is no workspace"]),
    ],
)
def test_wrong_usage_is_one_line_that_helps(
    olvido: Olvido, arguments: list[str], words: list[str]
) -> None:
    refused(olvido(*arguments), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("devise = 'cpu'", ["did you mean 'device'"]),
        ("threads = 'two'", ["'threads'", "whole number"]),
        ("threads = 0", ["1 or more"]),
        ("dtype = 'float31'", ["did you mean 'float32'"]),
        ("device = [", ["not TOML"]),
    ],
)
def test_wrong_settings_are_one_line_that_helps(
    olvido: Olvido, here: Path, text: str, words: list[str]
) -> None:
    olvido("init")
    (here / "olvido.toml").write_text(text)
    refused(olvido("models"), *words)


def test_a_missing_or_other_key_is_refused(olvido: Olvido, here: Path) -> None:
    olvido("init")
    olvido("init", "other")
    (here / "olvido.key").unlink()
    refused(olvido("models"), "missing")
    (here / "olvido.key").write_bytes((here / "other" / "olvido.key").read_bytes())
    refused(olvido("models"), "does not belong")


def test_a_folder_that_cannot_be_made_is_one_line(olvido: Olvido, here: Path) -> None:
    (here / "file").write_text("")
    refused(olvido("init", "file/inside"), "file/inside")


def test_help_is_for_everybody(olvido: Olvido) -> None:
    status, out, err = olvido()
    assert (status, err) == (0, "")
    for name in ("init", "data", "models"):
        assert name in out
        assert olvido(name, "--help")[0] == 0
    assert olvido("--help")[1] == out


FRAME = "import sys; from olvido.cli import main; main()"


def test_help_starts_without_what_it_does_not_need() -> None:
    code = (
        "import sys, olvido.cli; olvido.cli.run(['--help']);"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'pyarrow', 'numpy', 'datasets'};"
        "sys.exit(f'loaded {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_full_disk_under_the_answer_is_an_error(here: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-c", FRAME, "init", str(here), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 2
    assert result.stderr.splitlines()[0].startswith("olvido: No space left on device")


@pytest.mark.slow
def test_interrupting_is_130(here: Path) -> None:
    # A shell that starts this in the background has its children ignore the signal.
    code = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + (
        "from olvido.cli import main\n"
        "from olvido.cli import output\n"
        "output.Terminal.emit = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "import sys; sys.argv = ['olvido', 'init']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr.count("\n")) == (130, 1)
    assert result.stderr.startswith("olvido: stopped")
