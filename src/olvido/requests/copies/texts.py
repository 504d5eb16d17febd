"""Read text files as parts of rows: tables, JSON, lines of JSON, markup, mail, and plain text."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from itertools import pairwise
from typing import Any

from olvido.names import words
from olvido.requests.copies.cells import Cells, own_values, value_rows
from olvido.requests.copies.contents import GLUE
from olvido.requests.copies.decoding import Decoded, decoded, plainly
from olvido.requests.copies.escapes import unfolded, unquoted_printable, untagged
from olvido.requests.copies.parts import Blob, FilePart, Inner, Row, UnreadablePart, text_rows

_FROM = re.compile(rb"^From [^\n]*\n", re.MULTILINE)
_TIME = re.compile(rb"\d\d:\d\d")


def mail_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The parts of a mail message, or of a mailbox: headers, texts and attachments."""
    lines = [match for match in _FROM.finditer(blob.raw) if _TIME.search(match[0])]
    # Text before the first of these lines is read as well.
    starts = [line.start() for line in lines]
    if not starts or blob.raw[: starts[0]].strip():
        starts.insert(0, 0)
    for number, (start, end) in enumerate(pairwise([*starts, len(blob.raw)]), 1):
        name = f"{blob.where}message {number}" if len(starts) > 1 else blob.name
        # The line that a mailbox has before a message stays in its headers.
        message: Message[Any, Any] = message_from_bytes(blob.raw[start:end])
        for part in message.walk():
            yield FilePart(name, "header", _headers(part), flowing=True)
            for text in (part.preamble, part.epilogue):
                if text:
                    yield FilePart(name, "line", text_rows(text), flowing=True)
            if not part.is_multipart():
                yield from _content(blob, name, part, inner)


def _headers(message: Message[Any, Any]) -> Iterator[Row]:
    before = [("From", message.get_unixfrom())] if message.get_unixfrom() else []
    for number, (key, value) in enumerate([*before, *message.items()], 1):
        try:
            said = str(make_header(decode_header(str(value))))
        except (HeaderParseError, LookupError, ValueError):
            said = str(value)
        yield Row(number, (said,), (key,))


def _content(
    blob: Blob, name: str, part: Message[Any, Any], inner: Inner
) -> Iterator[FilePart | UnreadablePart]:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload:
        return
    file = part.get_filename()
    if file is not None or part.get_content_maintype() != "text":
        yield from inner(blob.member(f"{name} {file or part.get_content_type()}".strip(), payload))
        return
    said = []
    with suppress(LookupError, ValueError):
        said.append(payload.decode(part.get_content_charset("utf-8")))
    if not said or plainly(payload) is None:
        # Many mails are in another encoding than they say.
        said += [reading.text for reading in decoded(payload) if reading.text not in said]
    if not said:
        yield UnreadablePart(f"{blob.where}a text in it has no encoding that is known")
        return
    for number, text in enumerate(said):
        yield FilePart(name, "line", text_rows(text), flowing=True, again=number > 0)
        for plain in (untagged(text) if "<" in text else text, unfolded(text)):
            if plain != text:
                yield FilePart(name, "line of text", text_rows(plain), flowing=True, again=True)


_TABLES = {".csv": ",;\t|", ".tsv": "\t,;|", ".tab": "\t,;|", ".psv": "|,;\t"}
_PROSE = frozenset(
    (".md", ".txt", ".rst", ".tex", ".log", ".eml", ".mbox", ".html", ".htm", ".xml")
)
_HEADERS = re.compile(
    r"(?:From [^\n]*\n)?(?:(?:From|To|Date|Subject|Received|Return-Path|"
    r"Message-I[Dd]|MIME-Version|Delivered-To|Reply-To|Cc|Content-Type|X-[\w-]+):[^\n]*\n"
    r"(?:[ \t][^\n]*\n)*){2}"
)
_MARKUP = re.compile(r"</[A-Za-z]|<[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>")
_ENDS = re.compile(r"(?<=[\]}])")
_SOFT = re.compile(r"=\r?\n")
_WHOLE = 256 * 1024 * 1024
_HEAD = 40


class _Twice(list[Any]):
    """The values of a name that occurs several times in one object; parsers keep only one."""


def _every(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    every: dict[str, list[Any]] = {}
    for key, value in pairs:
        every.setdefault(key, []).append(value)
    return {key: _Twice(said) if len(said) > 1 else said[0] for key, said in every.items()}


_DECODER = json.JSONDecoder(object_pairs_hook=_every)


def text_parts(
    blob: Blob, readings: Sequence[Decoded], inner: Inner
) -> Iterator[FilePart | UnreadablePart]:
    """The parts of a text file, in each encoding that it may be in."""
    for number, reading in enumerate(readings):
        for part in _read(blob, reading, inner):
            if number and isinstance(part, FilePart):
                part = replace(part, form=None, again=True)
            yield part


def _read(blob: Blob, reading: Decoded, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    text = reading.text
    name, exact = blob.name, reading.encoding is not None and blob.depth == 0
    start = text[:200_000].lstrip()
    if blob.suffix not in _TABLES and start[:1] in ("{", "["):
        parts = _json(blob, text, exact)
        if parts is not None:
            yield from parts
            yield _plainly(name, text)
            return
    if blob.suffix in _TABLES or (blob.suffix not in _PROSE and _delimiter(text, ",;\t|", 3)):
        delimiter = _delimiter(text, _TABLES.get(blob.suffix, ",;\t|"), 1) or ","
        yield from _table(name, text, delimiter, exact)
        yield _plainly(name, text)
        return
    if _HEADERS.match(start) or blob.suffix in (".eml", ".mbox"):
        yield from mail_parts(blob, inner)
        yield FilePart(name, "line", text_rows(text), flowing=True, aside=True)
        return
    marked = _MARKUP.search(text) is not None
    form = "lines" if exact and not start.startswith("<") else None
    yield FilePart(name, "line", text_rows(text), flowing=True, form=form)
    if marked:
        yield FilePart(name, "line of text", text_rows(untagged(text)), flowing=True, again=True)
    for plain in (unfolded(text), unquoted_printable(text) if _SOFT.search(text) else text):
        if plain != text:
            yield FilePart(name, "line of text", text_rows(plain), flowing=True, again=True)


def _plainly(name: str, text: str) -> FilePart:
    """Read a text line by line besides its other reading: its commas may be those of sentences.

    The text after the end of an object or a list belongs to another row.
    """
    return FilePart(name, "line", text_rows(_ENDS.sub("\n", text)), flowing=True, aside=True)


# Tables


def table_lines(text: str) -> list[str]:
    """The lines of a table with their ends, of any kind."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", text)


def table_rows(lines: Sequence[str], delimiter: str) -> Iterator[tuple[list[str], int, int]]:
    """The cells of each row, and its lines: from, and up to."""
    csv.field_size_limit(1 << 30)
    reader = csv.reader(lines, delimiter=delimiter)
    before = 0
    for cells in reader:
        yield cells, before, reader.line_num
        before = reader.line_num


def _table(name: str, text: str, delimiter: str, exact: bool) -> Iterator[FilePart]:
    header: list[Row] = []

    def rows() -> Iterator[Row]:
        keys: tuple[str, ...] = ()
        for number, (cells, _, _) in enumerate(table_rows(table_lines(text), delimiter), 1):
            if number == 1 and _is_header(cells):
                keys = tuple(cells)
                header.append(Row(1, keys))
            elif cells:
                yield Row(number, tuple(cells), keys)

    form = f"table {delimiter}" if exact else None
    yield FilePart(name, "row", rows(), form=form)
    yield FilePart(name, "column", header, aside=True)


def _is_header(cells: Sequence[str]) -> bool:
    said = [words(cell) for cell in cells]
    short = all(len(some) <= 3 for some in said) and len(set(cells)) == len(cells)
    return short and any(some and all(word in GLUE for word in some) for some in said)


def _delimiter(text: str, choices: str, least: int) -> str | None:
    """The delimiter of the first rows, equally frequent in each and `least` times."""
    lines = table_lines(text[:100_000])
    for choice in choices:
        counts = set()
        try:
            for number, (cells, _, _) in enumerate(table_rows(lines, choice)):
                if number == _HEAD:
                    break
                if cells:
                    counts.add(len(cells))
        except csv.Error:
            continue
        if len(counts) == 1 and (count := counts.pop()) > 1 and (least == 1 or count >= least):
            return choice
    return None


# JSON


def _json(blob: Blob, text: str, exact: bool) -> Iterator[FilePart | UnreadablePart] | None:
    """The parts of JSON or of JSON lines; None where the text is neither."""
    lines = text.split("\n")
    filled = [line for line in lines[:3] if line.strip()]
    named = blob.suffix in (".jsonl", ".ndjson")
    if named or (len(filled) > 1 and all(_is_json(line) for line in filled[:2])):
        return iter(
            [FilePart(blob.name, "line", _json_lines(lines), form="lines" if exact else None)]
        )
    if len(text) > _WHOLE:
        return None
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        if filled and _is_json(filled[0]):
            form = "lines" if exact else None
            return iter([FilePart(blob.name, "line", _json_lines(lines), form=form)])
        return None
    return _whole_json(blob.name, value, exact)


def _json_lines(lines: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield from value_rows(_DECODER.decode(line), number)
        except (ValueError, RecursionError, UnreadablePart):
            yield Row(number, (line,))


def _is_json(line: str) -> bool:
    try:
        return isinstance(_DECODER.decode(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _whole_json(name: str, value: object, exact: bool) -> Iterator[FilePart]:
    form = "json" if exact else None
    if isinstance(value, list):
        yield _elements(name, value, form)
        return
    assert isinstance(value, dict)
    # A repeated name is read, and its elements cannot be removed by number.
    exact = exact and not any(isinstance(item, _Twice) for item in value.values())
    form = form if exact else None
    rest = {}
    keys, cells, *_ = own_values(value)
    for key, item in value.items():
        if isinstance(item, list) and any(isinstance(element, dict | list) for element in item):
            below = f"{name}/{key}" if name else key
            yield _elements(
                below, item, f"json {key}" if exact else None, (tuple(keys), tuple(cells))
            )
        else:
            rest[key] = item
    if rest:
        yield FilePart(name, "object", iter(value_rows(rest, 1)))


def _elements(
    name: str, items: Sequence[object], form: str | None, above: Cells = ((), ())
) -> FilePart:
    flat = all(not isinstance(item, dict | list) for item in items)
    rows = (
        row for number, item in enumerate(items, 1) for row in value_rows(item, number, above=above)
    )
    return FilePart(name, "element", rows, flowing=flat, form=form)
