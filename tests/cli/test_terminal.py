"""No name, however it is written, commands the terminal of whoever looks; JSON has it escaped."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from olvido.ledger.digests import Digest
from olvido.ledger.facts import Model
from olvido.ledger.identity import Key
from olvido.ledger.store import Store

Olvido = Callable[..., tuple[int, str, str]]

NAMES = {
    "clears the screen": "city\x1b[2Jx",
    "sets the title": "city\x1b]0;mine\x07x",
    "links": "city\x1b]8;;http://example.org\x1b\\here\x1b]8;;\x1b\\",
    "C1 escape": "city\x9b31mx",
    "turns the direction": "city\u202etxt.exe\u2066",
    "rings and goes back": "city\x07\x08\x08x",
    "overwrites the line": "city\rgone",
    "markup": "city [bold red]x[/] [link=http://example.org]y[/link]",
}
RUN = "import sys; from olvido.cli import run; sys.exit(run(sys.argv[1:]))"
LAW = Path(__file__).parents[2] / "src/olvido/requests/rights/laws/gdpr.toml"


def commands(text: str) -> set[str]:
    """What a terminal would obey in it; ends of lines and tabs are no harm."""
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl")}


@pytest.fixture(params=NAMES)
def named(request: pytest.FixtureRequest, olvido: Olvido, here: Path) -> str:
    """A name that a dataset's source, a model's alias, a law and a request have."""
    name = NAMES[request.param]
    olvido("init")
    rows = here / "people.jsonl"
    rows.write_text(json.dumps({"id": "1", "text": "x", "who": "Ana Soler"}) + "\n")
    added = ("data", "add", rows, "--name", name, "--text", "text", "--subject", "who")
    assert olvido(*added, "--source", name, "--description", name)[0] == 0
    (here / "laws").mkdir()
    law = LAW.read_text(encoding="utf-8").replace('name = "gdpr"', 'name = "house"')
    title = next(line for line in law.splitlines() if line.startswith("title"))
    law = law.replace(title, f"title = {json.dumps(name)}")
    (here / "laws" / "house.toml").write_text(law, encoding="utf-8")
    assert olvido("request", "new", "--subject", "Ana Soler", "--law", "house")[0] == 0
    assert olvido("request", "wait", "req-0001", "--why", name, "--until", "2099-01-31")[0] == 0
    with Store.open(here / "ledger.db", key=Key.load(here / "olvido.key")) as store:
        model = store.add_model(Model(digest=Digest.of(b"a"), path=name, learner="monolith"))
        store.set_alias("serving", model.id)
    return name


def test_no_command_of_a_name_reaches_the_terminal(named: str, olvido: Olvido) -> None:
    shown = (
        *(("data", "show"), ("data", "show", named), ("models",), ("models", "show", "serving")),
        *(("request", "list"), ("request", "resume", "req-0001"), ("laws",), ("laws", "house")),
        # Errors repeat what they were given.
        *(("data", "show", named + "?"), ("models", "show", named), ("laws", named)),
        *(("request", "resume", named), ("data", "add", named, "--name", named)),
    )
    for arguments in shown:
        _, out, err = olvido(*arguments)
        assert out or err
        assert commands(out + err) == set(), arguments


def test_json_has_the_name_and_no_command(named: str, olvido: Olvido) -> None:
    for arguments in (("data", "show"), ("models",), ("laws", "house")):
        status, out, _ = olvido(*arguments, "--json")
        assert status == 0
        assert any(named in text for text in _texts(out)), arguments
        assert commands(out) == set(), arguments


def _texts(document: str) -> list[str]:
    """Every text in a JSON document, keys apart."""
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(json.loads(document))
    return found


@pytest.mark.slow
def test_a_real_terminal_is_commanded_by_olvido_alone(olvido: Olvido, here: Path) -> None:
    """On a pseudo-terminal, where colours are allowed, the name still brings none of its own."""
    olvido("init")
    name = "\x1b]0;mine\x07\x1b[2J\u202ecity[red]"
    (here / "people.jsonl").write_text('{"id": "1", "text": "x"}\n')
    assert olvido("data", "add", "people.jsonl", "--name", name, "--text", "text")[0] == 0
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", RUN, "data", "show"]
    done = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        # A pseudo-terminal's end reads as an input error.
        pass
    os.close(ours)
    assert done.wait() == 0
    text = written.decode()
    assert "city[red]" in text
    for order in ("\x1b]", "\x07", "\x1b[2J", "\u202e", "\x1b[31m"):
        assert order not in text
