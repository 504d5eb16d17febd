"""What is only read can be read where nothing can be written; what writes says so in a line."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from olvido.ledger.identity import Key
from olvido.ledger.store import Store

Olvido = Callable[..., tuple[int, str, str]]

RUN = "import sys; from olvido.cli import run; sys.exit(run(sys.argv[1:]))"


def unprivileged(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as somebody whom permissions hold: root without its right to pass them."""
    command = [sys.executable, "-c", RUN, *arguments]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root passes permissions, and there is no setpriv to give that up")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def asked(olvido: Olvido, here: Path) -> Path:
    """A workspace with a dataset and a request."""
    (here / "people.jsonl").write_text('{"id": "1", "text": "x", "who": "Ana Soler"}\n')
    assert olvido("init")[0] == 0
    columns = ("--text", "text", "--subject", "who")
    assert olvido("data", "add", "people.jsonl", "--name", "people", *columns)[0] == 0
    assert olvido("request", "new", "--subject", "Ana Soler", "--law", "gdpr")[0] == 0
    return here


@pytest.fixture
def locked_up(asked: Path) -> Iterator[Path]:
    asked.chmod(0o500)
    yield asked
    asked.chmod(0o700)


READING = (("request", "list"), ("data", "show"), ("data", "show", "people"), ("models",))


@pytest.mark.slow(but=["models"])
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_read_only_folder_can_be_read(
    command: tuple[str, ...], olvido: Olvido, locked_up: Path
) -> None:
    expected = json.loads(olvido(*command, "--json")[1])
    before = sorted(os.listdir(locked_up))
    done = unprivileged(*command, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == expected
    assert sorted(os.listdir(locked_up)) == before


@pytest.mark.slow
@pytest.mark.usefixtures("locked_up")
def test_what_writes_there_is_one_line_and_changes_nothing(olvido: Olvido) -> None:
    before = olvido("log", "--json")
    done = unprivileged("request", "cancel", "req-0001", "--why", "withdrawn")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert olvido("log", "--json") == before


@pytest.mark.slow
def test_a_journal_that_cannot_be_read_is_not_passed_over(asked: Path) -> None:
    """The file alone would be an older state: nobody is told that as today's."""
    copy = asked / "copy"
    copy.mkdir()
    for name in ("olvido.toml", "olvido.key"):
        shutil.copy(asked / name, copy / name)
    reading = closing(sqlite3.connect(asked / "ledger.db"))
    key = Key.load(asked / "olvido.key")
    with reading as reader, Store.open(asked / "ledger.db", key=key) as store:
        # While somebody has it open, what is written stays in the journal.
        reader.execute("SELECT count(*) FROM log").fetchone()
        store.note("something", {})
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(asked / name, copy / name)
    assert (copy / "ledger.db-wal").stat().st_size > 0
    copy.chmod(0o500)
    try:
        done = unprivileged("--workspace", str(copy), "request", "list", "--json")
    finally:
        copy.chmod(0o700)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
