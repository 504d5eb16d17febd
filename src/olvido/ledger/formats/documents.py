"""JSON: one object a line, or one list of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from olvido.errors import BadRow
from olvido.ledger.formats.encodings import opened

_Rows = Iterator[tuple[int, Mapping[str, Any] | BadRow]]
_SPACE = re.compile(r"[ \t\n\r]*")
_LINE_ENDS = frozenset({"\n", ""})


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused where a name stands twice: which of the two holds, nobody can say."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has the same name twice: keep one, or make a list")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)
# Lets the last of the same names hold.
_hurried = json.JSONDecoder(parse_constant=_no_constant)


def read_jsonl(path: Path, encoding: str) -> _Rows:
    """The objects of a file with one a line; blank lines are none."""
    decode, hurry, width = _decoder.raw_decode, _hurried.raw_decode, 0
    with opened(path, encoding, None) as file:
        for number, text in enumerate(file, 1):
            try:
                # Most lines have as many names as the line before. With no more colons than names
                # there is no name besides, and then none stands twice.
                hurried = text.count(":") == width
                row, end = hurry(text) if hurried else decode(text)
                plain = type(row) is dict and text[end:] in _LINE_ENDS
                if plain and len(row) != width:
                    row = decode(text)[0] if hurried else row
                    width = len(row)
            except (ValueError, RecursionError):
                plain = False
            if plain:
                yield number, row
            elif not text.isspace():
                yield number, _unusual_row(path, number, text)


def lines_of(text: str, origin: str) -> _Rows:
    """The objects of a text with one a line; blank lines are none."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _unusual_row(origin, number, line)


def _unusual_row(origin: Path | str, number: int, text: str) -> Mapping[str, Any] | BadRow:
    """What a line holds that is more than an object and its line's end, or something else."""
    try:
        row = _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        return BadRow(str(origin), number, _invalid(error))
    if isinstance(row, dict):
        return row
    hint = ". A file that is one list of objects is named .json" if isinstance(row, list) else ""
    reason = f"expected a JSON object, got {type(row).__name__}{hint}"
    return BadRow(str(origin), number, reason)


def _invalid(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"invalid JSON: {error.msg} at column {_place(error)[1]}"
    return f"invalid JSON: {error}"


def _place(error: json.JSONDecodeError) -> tuple[int, int]:
    """The line and column, counted from 1, of what is wrong.

    The decoder looks for what is missing after all space, on a later line: where nothing follows it
    is missing where the last thing ended.
    """
    before = error.doc[: error.pos]
    if not error.doc[error.pos :].strip():
        before = before.rstrip()
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def read_json(path: Path, encoding: str) -> _Rows:
    """The objects of a file that is one list of them, or that has one a line.

    Raises:
        BadRow: a list that breaks off or is no JSON, after which no other object can be read.
    """
    with opened(path, encoding, None) as file:
        first = next((line for line in file if not line.isspace()), "")
        if first.lstrip().startswith("["):
            file.seek(0)
            yield from _listed(path, file.read())
            return
    try:
        lines = not first or isinstance(_decoder.decode(first), dict)
    except (ValueError, RecursionError):
        lines = False
    if not lines:
        raise BadRow(str(path), 1, "expected a list of JSON objects, or one object a line")
    yield from read_jsonl(path, encoding)


def _listed(path: Path, text: str) -> _Rows:
    place = _after_space(text, 0) + 1
    line, counted, more = 1, 0, False
    while True:
        place = _after_space(text, place)
        line, counted = line + text.count("\n", counted, place), place
        if text[place : place + 1] == "]" and not more:
            break
        try:
            row, place = _decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            at = _place(error)[0] if isinstance(error, json.JSONDecodeError) else line
            raise BadRow(str(path), at, _invalid(error)) from None
        if isinstance(row, dict):
            yield line, row
        else:
            reason = f"expected a JSON object, got {type(row).__name__}"
            yield line, BadRow(str(path), line, reason)
        place = _after_space(text, place)
        more = text[place : place + 1] == ","
        if not more and text[place : place + 1] != "]":
            raise BadRow(str(path), line, "invalid JSON: expected ',' or ']' after this object")
        place += more
    if _after_space(text, place + 1) < len(text):
        raise BadRow(str(path), line, "invalid JSON: something stands after the list's end")


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()
