"""`olvido doctor` finds what is broken, says what to do about it, and changes nothing itself."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tests.cli.conftest import VARIABLES, _contents, _made

from olvido.cli import diagnosis as doctor
from olvido.cli import run
from olvido.models import load, save
from olvido.models.tiny import tiny_model, tiny_tokenizer

Olvido = Callable[..., tuple[int, str, str]]
Checks = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that is well, another's in it, and a model's folder."""
    folder = tmp_path_factory.mktemp("well")
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        _made("init")
        _made("init", "theirs")
        row = '{"id": "1", "text": "Ana sings.", "who": "Ana Soler"}\n'
        (folder / "good.jsonl").write_text(row)
        _made("data", "add", "good.jsonl", "--name", "people", "--subject", "who")
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=0, width=32, layers=1), tokenizer, folder / "small")
    return folder


@pytest.fixture
def ward(well: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, without a network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    shutil.copytree(well, here, dirs_exist_ok=True)
    return here


def examined(olvido: Olvido, *arguments: str) -> tuple[int, Checks]:
    status, out, err = olvido("doctor", *arguments, "--json")
    assert err == ""
    document = json.loads(out)
    assert document["sound"] is (status == 0)
    return status, {check["what"]: check for check in document["checks"]}


def test_what_is_well_is_said_to_be_and_left_as_it_is(ward: Path, olvido: Olvido) -> None:
    before = _contents(ward)
    status, checks = examined(olvido)
    assert status == 0
    assert _contents(ward) == before
    parts = ("device", "memory", "disk", "cache", "key", "signing key", "public key", "ledger")
    for what in (*parts, "key of ledger"):
        assert checks[what]["state"] == "fine", what
    assert checks["hub"]["state"] == "noted"
    status, out, _ = olvido("doctor")
    assert status == 0
    secret = (ward / "olvido.key").read_text().strip().rpartition(":")[2]
    for text in (out, json.dumps(checks)):
        assert secret not in text
        assert "Soler" not in text


def _newer(ward: Path) -> None:
    with closing(sqlite3.connect(ward / "ledger.db")) as ledger:
        ledger.execute("UPDATE alembic_version SET version_num = '9999'")
        ledger.commit()


def _bare(ward: Path) -> None:
    (ward / "ledger.db").unlink()
    with closing(sqlite3.connect(ward / "ledger.db")) as ledger:
        ledger.execute("CREATE TABLE something (x)")


def _settings(text: str) -> Callable[[Path], object]:
    return lambda ward: (ward / "olvido.toml").write_text(text)


BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "others may read the key": ("key", lambda w: (w / "olvido.key").chmod(0o640)),
    "others may change it": ("key", lambda w: (w / "olvido.key").chmod(0o602)),
    "no key": ("key", lambda w: (w / "olvido.key").unlink()),
    "no key file": ("key", lambda w: (w / "olvido.key").write_text("x")),
    "another's key": ("key of ledger", lambda w: shutil.copy(w / "theirs/olvido.key", w)),
    "others may sign": ("signing key", lambda w: (w / "olvido-signing.key").chmod(0o644)),
    "no signing key": ("signing key", lambda w: (w / "olvido-signing.key").unlink()),
    "another's signing key": (
        "public key",
        lambda w: shutil.copy(w / "theirs/olvido-signing.key", w),
    ),
    "no public key": ("public key", lambda w: (w / "olvido-signing.pub").unlink()),
    "damaged tokens": ("tokens", lambda w: (w / "tokens.json").write_text("[")),
    "no ledger": ("ledger", lambda w: (w / "ledger.db").unlink()),
    "an empty ledger": ("ledger", lambda w: (w / "ledger.db").write_bytes(b"")),
    "no database": ("ledger", lambda w: (w / "ledger.db").write_bytes(b"x" * 5000)),
    "another database": ("ledger", _bare),
    "a newer ledger": ("ledger", _newer),
    "a server that is not there": (
        "ledger",
        _settings('ledger = "postgresql+psycopg://127.0.0.1:1/x"\n'),
    ),
    "no such device": ("device", _settings('device = "banana"\n')),
    "a device that is not here": ("device", _settings('device = "cuda:99"\n')),
    "a misspelt setting": ("settings", _settings('devise = "cpu"\n')),
    "settings that are no text": ("settings", lambda w: (w / "olvido.toml").write_bytes(b"\xff")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_with_what_to_do(ward: Path, olvido: Olvido, name: str) -> None:
    what, breaks = BROKEN[name]
    breaks(ward)
    before = _contents(ward)
    began = time.monotonic()
    status, checks = examined(olvido)
    assert time.monotonic() - began < 20
    assert status == 1
    wrong = {check["what"] for check in checks.values() if check["state"] == "wrong"}
    assert what in wrong
    for check in checks.values():
        assert bool(check["remedy"]) is (check["state"] == "wrong")
        assert "Traceback" not in check["says"]
    assert _contents(ward) == before


def test_a_full_disk_is_told(
    ward: Path, olvido: Olvido, limited: Callable[[int], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with limited(10_000):
        status = run(["doctor", "--json"])
    checks = {c["what"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert status == 1
    assert checks["disk"]["state"] == "wrong"


def test_without_a_workspace_the_machine_is_looked_at(
    here: Path, olvido: Olvido, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, checks = examined(olvido)
    assert status == 0
    assert checks["workspace"]["state"] == "noted"
    assert "key" not in checks
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("model", ["tyny", "", "./none", "a\nb"])
def test_a_model_that_nobody_knows_is_a_mistake_of_who_asks(
    ward: Path, olvido: Olvido, model: str
) -> None:
    status, out, err = olvido("doctor", "--model", model, "--json")
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_a_model_s_needs_follow_its_weights_and_are_held_against_what_is_free(
    ward: Path, olvido: Olvido, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Weights that are tied lie in the file once, and are one parameter.
    size = sum(p.numel() for p in load("small").model.parameters())
    status, checks = examined(olvido, "--model", "small")
    assert status == 0
    assert f"{size:,} weights" in checks["run small"]["says"]
    monkeypatch.setattr(doctor, "memory", lambda: (int(4 * size * doctor.MEMORY) - 1, 1 << 40))
    status, checks = examined(olvido, "--model", "small")
    assert status == 1
    assert checks["run small"]["state"] == "wrong"
    status, checks = examined(olvido, "--model", "somebody/not-fetched")
    assert status == 0
    assert checks["run somebody/not-fetched"]["state"] == "noted"


def test_nobody_waits_long_for_a_hub_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        assert not doctor.reached(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - began < 10
    assert not doctor.reached("http://127.0.0.1:1")


def test_a_hub_that_answers_is_reached() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as answering:
        thread = threading.Thread(target=answering.handle_request, daemon=True)
        thread.start()
        # Any answer will do: this one knows no HEAD.
        assert doctor.reached(f"http://127.0.0.1:{answering.server_port}")
        thread.join(10)
