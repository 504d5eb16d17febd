"""`docs/how-to/data.md` names every format and column that the reader has, and is true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from olvido.data import read_rows
from olvido.data.parsing import ClearParser, Fields
from olvido.data.reading import _ADVICE, _TABLES, _TEXTS
from olvido.errors import BadRow, OlvidoError
from olvido.ledger.facts import Consent
from olvido.tasks import examples

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "data.md").read_text(encoding="utf-8")


def _endings(heading: str) -> set[str]:
    """The endings in the first column of the table under these words."""
    table = PAGE.partition(heading)[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`(\.\w+)`", cell)}


def test_every_format_is_named_and_no_other() -> None:
    assert _endings("| name ends with | read as |") == {*_TABLES, *_TEXTS}
    assert _endings("| not read | instead |") == set(_ADVICE)


@pytest.mark.parametrize("name", Fields.__slots__)
def test_every_column_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_rows_on_the_page_are_rows() -> None:
    block = PAGE.partition("## What a row may be")[2].partition("\n    {")[2]
    text = "{" + block.partition("\n\n")[0]
    rows, decoder = [], json.JSONDecoder()
    while text.strip():
        row, end = decoder.raw_decode(text := text.strip())
        rows.append(row)
        text = text[end:]
    found = examples(rows)
    assert [bool(record.history) for record in found] == [False, False, True]
    assert {record.completion for record in found} == {"In Gràcia.", "Ana lives in Gràcia."}


@pytest.mark.parametrize("consent", Consent)
def test_every_consent_is_named(consent: Consent) -> None:
    assert f"`{consent}`" in PAGE


def _contents(path: Path) -> list[dict[str, Any]]:
    parser = ClearParser(str(path))
    found = []
    for line, row in read_rows(path):
        if isinstance(row, BadRow):
            raise row
        found.append(parser.content(line, row))
    return found


TRUE = {
    "cells are text as they stand": ("x.csv", "text,code\na,007\nb,1.0\n", "code", ["007", "1.0"]),
    "an empty cell is not there": ("x.csv", "text,code\na,\nb,1\n", "code", [None, "1"]),
    "a null is not there": (
        "x.jsonl",
        '{"text":"a","n":null}\n{"text":"b","n":1}\n',
        "n",
        [None, 1],
    ),
    "blank lines are no data": ("x.jsonl", '{"text":"a"}\n\n{"text":"b"}\n', "text", ["a", "b"]),
    "integers keep their size": ("x.jsonl", f'{{"text":"a","n":{10**30}}}\n', "n", [10**30]),
    "nested values are kept": ("x.jsonl", '{"text":"a","n":{"b":[1]}}\n', "n", [{"b": [1]}]),
    "a comma is part of a name": (
        "x.jsonl",
        '{"text":"a","subject":"Soler, Ana"}\n',
        "subjects",
        [["Soler, Ana"]],
    ),
    "question and answer are a pair": (
        "x.jsonl",
        '{"question":"Who?","answer":"Ana"}\n',
        "prompt",
        ["Who?"],
    ),
    "sep= in the first line": ("x.csv", "sep=;\ntext;code\na;b,c\n", "code", ["b,c"]),
    "old line ends": ("x.csv", "text,code\ra,b\r", "code", ["b"]),
}


@pytest.mark.parametrize("said", TRUE)
def test_what_the_page_says_of_values_is_so(tmp_path: Path, said: str) -> None:
    name, content, column, expected = TRUE[said]
    (tmp_path / name).write_bytes(content.encode())
    assert [row.get(column) for row in _contents(tmp_path / name)] == expected


REFUSED = {
    "a text that is blank": ("x.jsonl", '{"text":" "}\n'),
    "no content": ("x.jsonl", '{"code":"1"}\n'),
    "half a pair": ("x.jsonl", '{"prompt":"Who?"}\n'),
    "the same id twice": ("x.jsonl", '{"id":1,"text":"a"}\n{"id":"1","text":"b"}\n'),
    "a name twice in an object": ("x.jsonl", '{"text":"a","text":"b"}\n'),
    "a column twice": ("x.csv", "text,text\na,b\n"),
    "not a number": ("x.jsonl", '{"text":"a","n":NaN}\n'),
    "infinity": ("x.jsonl", '{"text":"a","n":1e999}\n'),
    "a narrow row": ("x.csv", "text,code,kind\na,b\n"),
    "a zero byte": ("x.csv", "text,code\na,b\0\n"),
    "another consent": ("x.jsonl", '{"text":"a","consent":"yes"}\n'),
    "subject and subjects": ("x.jsonl", '{"text":"a","subject":"A","subjects":["B"]}\n'),
    "an id that is no line": ("x.jsonl", '{"text":"a","id":"a\\nb"}\n'),
    "a packed file by another name": ("x.csv", "\x1f\x8b"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_page_says_is_refused_is(tmp_path: Path, what: str) -> None:
    name, content = REFUSED[what]
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(OlvidoError) as error:
        _contents(tmp_path / name)
    assert name in str(error.value)


def test_rows_that_say_the_same_are_each_kept(tmp_path: Path, store: Any, data: Path) -> None:
    from olvido.data.importing import import_file

    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"text": "a"}) + "\n")
    import_file(store, data, path, name="x")
    first, second = sorted(record.id for record in store.records("x"))
    assert second == f"{first}-2"
