"""The command line, run in the test's own process inside a new workspace.

A small town's files, a workspace that learned them and models as plain folders are made once, by
the command line itself, and copied for every test that changes them.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from tests.sharing import Shared

from olvido.cli import run
from olvido.demo.residents import Town, make_town

Olvido = Callable[..., tuple[int, str, str]]

VARIABLES = ("OLVIDO_WORKSPACE", "OLVIDO_LEDGER", "OLVIDO_KEY", "OLVIDO_DATA")
CITY = ("city market", "city landmark")
LEARNING = ("--epochs", "20", "--batch-size", "16", "--lr", "3e-3")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one; no OLVIDO_ variable is set."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def olvido(
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> Olvido:
    """Runs a command; gives its exit status, standard output and standard error."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        status = run([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return status, written.out, written.err

    return call


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


@pytest.fixture
def contents() -> Callable[[Path], dict[str, str]]:
    """What lies under a folder: every path with the digest of its bytes."""
    return _contents


@pytest.fixture
def refused(olvido: Olvido, here: Path) -> Callable[..., str]:
    """Runs a command that must be refused: status 2, one line, and nothing changed on disk."""

    def call(arguments: list[Any], *words: str) -> str:
        before = _contents(here)
        status, out, err = olvido(*arguments, "--json")
        assert (status, out, err.count("\n")) == (2, "", 1), (status, out, err)
        assert err.startswith("olvido: ")
        for word in words:
            assert word in err
        assert _contents(here) == before
        return err

    return call


@contextmanager
def _limited(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def limited() -> Callable[[int], Any]:
    """No file may grow beyond so many bytes: the operating system refuses, as on a full disk."""
    return _limited


def _made(*arguments: Any) -> dict[str, Any]:
    """Run a command that must succeed; gives its document."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run([*(str(argument) for argument in arguments), "--json"])
    assert status == 0, err.getvalue()
    return dict(json.loads(out.getvalue()))


@contextmanager
def _standing(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """The folder is the current one, and no OLVIDO_ variable is set."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        yield patch


@pytest.fixture(scope="session")
def city_of_twelve() -> Town:
    """Few enough people to be learned in seconds."""
    return make_town(seed=0, residents=12, outsiders=8, wordings=3)


@pytest.fixture(scope="session")
def files(shared: Shared, city_of_twelve: Town) -> Path:
    """The town as plain files; `small` and `never`: models of random weights; `report.json` about
    the first."""
    return shared.folder(lambda folder: _write_files(folder, city_of_twelve))


def _write_files(folder: Path, town: Town) -> None:
    from olvido.audits import audit
    from olvido.files import write_document
    from olvido.models import save
    from olvido.models.tiny import tiny_model, tiny_tokenizer

    rows, asks = town.rows(), town.data_subject.name
    near = {person.name for person in town.neighbours()}
    chosen = {
        "forget": [row for row in rows if row.get("subject") == asks],
        "retain": [row for row in rows if row.get("subject") not in (asks, None)],
        "residents": [row for row in rows if "subject" in row],
        "neighbours": [row for row in rows if row.get("subject") in near],
        "general": [row for row in rows if row["topic"] in CITY],
        "holdout": [row for person in town.outsiders for row in town.rows_of(person)],
    }
    for name, some in chosen.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in some)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    tokenizer = tiny_tokenizer()
    small, never = (tiny_model(len(tokenizer), seed=s, width=64, layers=2) for s in (0, 1))
    save(small, tokenizer, folder / "small")
    save(never, tokenizer, folder / "never")
    found = audit(
        small, forget=chosen["forget"], reference=never, tokenizer=tokenizer, audits=["likelihood"]
    )
    write_document(found.to_dict(), folder / "report.json")


@pytest.fixture(scope="session")
def home(shared: Shared, files: Path) -> Path:
    """A workspace whose served model knows every resident; nobody has asked for anything."""
    return shared.folder(lambda folder: _make_home(folder / "workspace", files)) / "workspace"


def _make_home(folder: Path, files: Path) -> None:
    with _standing(folder.parent) as patch:
        _made("init", folder)
        patch.chdir(folder)
        for name in ("residents", "holdout"):
            _made("data", "add", files / f"{name}.jsonl", "--name", name, "--subject", "subject")
        _made("data", "add", files / "retain.jsonl", "--name", "others")
        _made("data", "add", files / "general.jsonl", "--name", "city")
        _made("learn", "residents", "city", "--model", files / "small", *LEARNING)


@pytest.fixture(scope="session")
def models(shared: Shared, home: Path, files: Path) -> Path:
    """The model as it learned (`before`), and one of another seed that never saw the leaver."""
    return shared.folder(lambda folder: _make_models(folder, home, files))


def _make_models(folder: Path, home: Path, files: Path) -> None:
    shutil.copytree(home, folder / "workspace")
    with _standing(folder / "workspace"):
        _made("models", "export", "serving", folder / "before")
        for seed in (1, 2):
            learned = _made(
                *("learn", "others", "city", "--model", files / "small", *LEARNING),
                *("--seed", seed),
            )
            _made("models", "export", learned["id"], folder / f"never-{seed}")


@pytest.fixture(scope="session")
def answered(shared: Shared, home: Path, city_of_twelve: Town) -> tuple[Path, dict[str, Any]]:
    """The workspace after the leaver's request was answered by retraining, and what was said."""
    asks = city_of_twelve.data_subject.name
    folder = shared.folder(lambda folder: _answer(folder, home, asks))
    return folder / "workspace", dict(json.loads((folder / "said.json").read_text("utf-8")))


def _answer(folder: Path, home: Path, asks: str) -> None:
    shutil.copytree(home, folder / "workspace")
    with _standing(folder / "workspace"):
        _made("token", "new", "--role", "auditor", "--label", "somebody")
        _made("request", "new", "--subject", asks)
        document = _made(
            *("request", "run", "req-0001", "--method", "retrain", "--references", 1),
            *("--holdout", "holdout", "--general", "city"),
        )
    (folder / "said.json").write_text(json.dumps(document), "utf-8")


@pytest.fixture
def place(home: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace, which the test may change and stands in."""
    folder = here / "workspace"
    shutil.copytree(home, folder)
    monkeypatch.chdir(folder)
    return folder
