"""Turn values out of JSON, Parquet and the like into rows of cells.

Also find packed bytes: in the cells of a table, or written in letters in a text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice
from typing import Any

from olvido.names import words
from olvido.requests.copies.contents import GLUE
from olvido.requests.copies.decoding import decoded, may_say, plainly, readable
from olvido.requests.copies.escapes import ENCODED, HEX, JOINT, bytes_of, said_in
from olvido.requests.copies.parts import Blob, FilePart, Inner, Row, UnreadablePart, text_rows

_SHORT = 64
_TENSORS = 100_000_000
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BEGUN = re.compile(
    r"(?<=[+/_-])(?:H4sI|UEs[DF]|Qlpo|/Td6|_Td6|KLUv|U1FM|UEFS|QVJS|k05V|N3q8|UmFy|JVBE|0M8R|R0dV)"
)
"""The beginnings of packed bytes in base64, where letters of a path or the like precede them."""
_HEAD = 400
_MOST = 16
_ARROW_STREAM = b"\xff\xff\xff\xff"
_CLEAR = re.compile(rb"(?:[ -~\t\r\n]|[\xc2-\xf4][\x80-\xbf]{1,3}){16,}+")
_AROUND = 1024
_STARTS = (
    *(b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"SQLite format 3"),
    *(b"PAR1", b"ARROW1", b"\x93NUMPY", b"7z\xbc\xaf", b"Rar!", b"%PDF"),
    *(b"\xd0\xcf\x11\xe0", b"\x89HDF", b"GGUF", b"\x04\x22\x4d\x18"),
)


class Packed:
    """Collects the cells of a table that are bytes, or that spell bytes in letters."""

    def __init__(self) -> None:
        self._cells: list[tuple[str, bytes]] = []
        self._spelt: list[tuple[str, bytes | str]] = []

    def note(self, value: Any, name: str = "") -> None:
        """Keep such cells of a row, at any depth, with the name of their column."""
        if isinstance(value, bytes):
            if not is_plain(value):
                self._cells.append((name, value))
        elif isinstance(value, str):
            self._spelt += [(name, found) for found in encoded_in(value)]
        elif isinstance(value, Mapping):
            for key, one in value.items():
                self.note(one, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list | tuple):
            for one in value:
                self.note(one, name)

    def parts(self, blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
        """The parts in the cells; of unreadable cells only the first is named."""
        yield from members(blob, self._cells, inner)
        yield from spelt_members(blob, self._spelt, inner)


def members(
    blob: Blob, found: Iterable[tuple[str, bytes]], inner: Inner
) -> Iterator[FilePart | UnreadablePart]:
    """The parts in some bytes of a file; of unreadable bytes only the first is named.

    Args:
        blob: the file.
        found: the bytes, each with a name.
        inner: reads any bytes.
    """
    reported = False
    for name, raw in found:
        for part in inner(blob.member(name, raw, "")):
            if not isinstance(part, UnreadablePart):
                yield part
            # Digests, keys and the like are short, and have no content.
            elif not reported and len(raw) > _SHORT:
                reported = True
                yield part


def spelt_members(
    blob: Blob, found: Iterable[tuple[str, bytes | str]], inner: Inner
) -> Iterator[FilePart | UnreadablePart]:
    """The parts that letters in a file encode; they belong to the part with the letters."""
    clear = []

    def packed() -> Iterator[tuple[str, bytes]]:
        for name, one in found:
            if isinstance(one, str):
                clear.append(one)
            else:
                yield name, one

    for part in members(blob, packed(), inner):
        yield part if isinstance(part, UnreadablePart) else replace(part, within=not part.aside)
    said = "\n".join(clear)
    yield FilePart(blob.name, "run of text in letters", text_rows(said), flowing=True, aside=True)


def is_plain(raw: bytes) -> bool:
    """Whether bytes are text in UTF-8, in no other encoding and not packed."""
    text = plainly(raw)
    return text is not None and _CONTROL.search(text) is None


def is_zlib(raw: bytes) -> bool:
    """Whether bytes begin with a zlib header and can be unpacked."""
    if raw[:1] != b"\x78" or int.from_bytes(raw[:2]) % 31:
        return False
    try:
        return bool(zlib.decompressobj().decompress(raw[:4096], 64))
    except zlib.error:
        return False


def encoded_in(text: str) -> Iterator[bytes | str]:
    """Decode the base64 and hexadecimal digits in a text, on any number of lines.

    Gives packed bytes, or texts of several lines or of a structure, as bytes; and text in clear
    among other bytes as str. A text on one line is found where that line is read (`unescaped`).
    """
    if len(text) < _SHORT // 2:
        return
    if "\\" in text:
        text = text.replace("\\r", "").replace("\\n", "\n").replace("\\/", "/")
    seen: set[bytes | str] = set()
    for match in ENCODED.finditer(text):
        for found in _spelt(JOINT.split(match[0])):
            if found not in seen:
                seen.add(found)
                yield found


def _spelt(tokens: list[str]) -> Iterator[bytes | str]:
    if len(tokens) > 1 and HEX.fullmatch(tokens[0]) and not HEX.fullmatch(tokens[-1]):
        # A word follows the digits.
        tokens = tokens[:-1]
    whole = "".join(tokens)
    raws = bytes_of(whole)
    begins = {0, *accumulate(map(len, tokens[:-1]))}
    begins |= {m.start() for m in _BEGUN.finditer(whole)}
    reported = 0
    for begin in sorted(begins):
        heads = bytes_of(whole[begin : begin + _HEAD]) if begin else raws
        for number, head in enumerate(heads):
            if _packs(head):
                reported += 1
                if not begin:
                    yield head
                    continue
                # Where every line begins so, no single line can contain the rest.
                end = None if reported <= _MOST else begin + _HEAD
                yield from islice(bytes_of(whole[begin:end]), number, number + 1)
    if reported:
        return
    for raw in (*raws, *(bytes_of("".join(tokens[:-1])) if len(tokens) > 1 else ())):
        said = said_in(raw)
        if said is not None:
            reported += 1
            if len(tokens) > 1 or "\n" in said or said.lstrip()[:1] in ("{", "[", "<"):
                yield raw
    if reported:
        return
    apart = (raw for token in tokens for raw in bytes_of(token)) if len(tokens) > 1 else ()
    yield from (raw for raw in (*raws, *apart) if may_say(raw) and decoded(raw))
    if len(whole) >= _SHORT // 2:
        # Any number of letters may precede it.
        rest = (raw for begin in (1, 2, 3) for raw in bytes_of(whole[begin:])[-1:])
        clear = "\n".join(said for raw in (*raws, *rest) for said in _in_clear(raw))
        if clear:
            yield clear


def _in_clear(raw: bytes) -> Iterator[str]:
    """Text in clear, in runs of sixteen letters or more, in bytes that are mostly no text."""
    begin = end = 0
    for match in _CLEAR.finditer(raw):
        if match.start() > end + _AROUND and end:
            yield readable(raw[begin : end + _AROUND], clear=True)
            end = 0
        begin = begin if end else max(0, match.start() - _AROUND)
        end = match.end()
    if end:
        yield readable(raw[begin : end + _AROUND], clear=True)


def _packs(raw: bytes) -> bool:
    # The header of a tensor file may be longer than these bytes.
    tensors = raw[8:9] == b"{" and 2 <= int.from_bytes(raw[:8], "little") <= _TENSORS
    if raw.startswith(_ARROW_STREAM):
        return 0 < int.from_bytes(raw[4:8], "little") <= _TENSORS
    return raw.startswith(_STARTS) or tensors or raw[257:262] == b"ustar" or is_zlib(raw)


_QUESTION = 400
"""Characters of a question with the values beside it, where its answer lies deeper."""

Cells = tuple[tuple[str, ...], tuple[str, ...]]


def value_rows(value: Any, unit: int, deepest: int = 200, *, above: Cells = ((), ())) -> list[Row]:
    """The rows of a value out of JSON: an object's own values make one, its lists of objects more.

    Columns of equal length are read across. Lists of single values, and objects of nothing else,
    belong to their object. Values that may belong together in another way are read again: columns
    beside other values, and an object in a list with the values of the object around the list.

    >>> [row.cells for row in value_rows({"prompt": ["a", "b"], "completion": ["c", "d"]}, 1)]
    [('a', 'c'), ('b', 'd')]
    >>> [row.cells for row in value_rows({"step": 5, "prompt": ["a"], "completion": ["c"]}, 1)]
    [('5', 'a', 'c'), ('a', 'c')]

    Args:
        value: the value.
        unit: the number that its rows get.
        deepest: the number of levels that are read.
        above: keys and cells of the object around it.

    Raises:
        UnreadablePart: deeper than `deepest` levels.
    """
    rows: list[Row] = []
    again: list[Row] = []
    todo: list[tuple[Any, int, tuple[str, ...], Cells]] = [(value, 0, (), above)]
    while todo:
        here, depth, under, around = todo.pop()
        if depth > deepest:
            raise UnreadablePart(f"values lie within values, more than {deepest} deep")
        if isinstance(here, Mapping):
            across = _across(here)
            if across is not None:
                rows += [Row(unit, cells, keys, under) for keys, cells in across]
                continue
            if any(_tells(key) for key in here):
                # A mapping of questions to answers has texts in its keys.
                for key, item in here.items():
                    if _single(item):
                        rows.append(Row(unit, (str(key), _text(item)), under=under))
                    else:
                        rows.append(Row(unit, (str(key),), under=under))
                        todo.append((item, depth + 1, (*under, str(key)), around))
                continue
            keys, cells, names, deeper = own_values(here)
            if cells or not deeper:
                named = names if cells else map(str, here)
                rows.append(Row(unit, tuple(cells), tuple(keys), (*under, *named)))
            again += _again(here, unit, under, _beside(around, keys, cells))
            around = _beside(around, keys, cells, below=True)
            todo += [(item, depth + 1, (*under, key), around) for key, item in reversed(deeper)]
        elif isinstance(here, list | tuple):
            if all(_single(item) for item in here):
                if here:
                    texts = tuple(_text(item) for item in here if item is not None)
                    rows.append(Row(unit, texts, under=under))
            else:
                todo += [(item, depth + 1, under, around) for item in reversed(here)]
        elif here is not None:
            rows.append(Row(unit, (_text(here),), under=under))
    return rows + again


def _beside(
    around: Cells, keys: Sequence[str], cells: Sequence[str], *, below: bool = False
) -> Cells:
    """Cells of an object after the nearest ones of the objects around it: no longer than a few
    times the object's own, or, for the objects below it, than a question."""
    size = _QUESTION if below else 4 * sum(map(len, cells)) + _QUESTION
    if below:
        around = (*around[0], *keys), (*around[1], *cells)
    start = len(around[1])
    while start and (size := size - len(around[1][start - 1])) >= 0:
        start -= 1
    said = around[1][start:]
    if below:
        return around[0][start:], said
    # A number or a role says nothing that somebody asks.
    if not cells or not any(cell.count(" ") >= 2 for cell in said):
        return (), ()
    return (*around[0][start:], *keys), (*said, *cells)


def _again(
    value: Mapping[str, Any], unit: int, under: tuple[str, ...], beside: Cells
) -> Iterator[Row]:
    """The second readings of an object: with the values around it, and each table of columns."""
    if beside[1]:
        yield Row(unit, beside[1], beside[0], under, again=True)
    inner = [item for item in value.values() if not _single(item)]
    for here in (value, *(item for item in inner if isinstance(item, Mapping))) if inner else ():
        tables: dict[object, dict[str, Sequence[Any]]] = {}
        for name, column in here.items():
            shape = tuple(column) if isinstance(column, Mapping) else len(_listed(column))
            column = _listed(column)
            if column and isinstance(column[0], str) and all(map(_single, column)):
                tables.setdefault(shape, {})[str(name)] = column
        for columns in tables.values():
            if len(columns) > 1:
                for items in zip(*columns.values(), strict=True):
                    cells = tuple("" if item is None else _text(item) for item in items)
                    yield Row(unit, cells, tuple(columns), under, again=True)


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()


def own_values(
    value: Mapping[str, Any],
) -> tuple[list[str], list[str], list[str], list[tuple[str, Any]]]:
    """Keys and texts of an object's own values, keys of the objects around them, and deeper values
    with their keys."""
    keys: list[str] = []
    cells: list[str] = []
    above: list[str] = []
    deeper: list[tuple[str, Any]] = []
    apart = _are_rows(value)
    for key, item in value.items():
        if isinstance(item, Mapping):
            if apart:
                deeper.append((str(key), item))
                continue
            above.append(str(key))
        inner = item.items() if isinstance(item, Mapping) else ((key, item),)
        flat = [
            (str(name), single)
            for name, found in inner
            for single in (found if isinstance(found, list | tuple) else (found,))
        ]
        if all(_single(single) for _, single in flat):
            # An empty value still has a name.
            for name, single in flat or [(str(key), None)]:
                keys.append(name)
                cells.append("" if single is None else _text(single))
        else:
            deeper.append((str(key), item))
    return keys, cells, above, deeper


def _are_rows(value: Mapping[str, Any]) -> bool:
    """Whether the objects in an object are rows of one table, each under its id."""
    inner = [(key, item) for key, item in value.items() if isinstance(item, Mapping)]
    return (
        len(inner) > 1
        and any(not inner[0][1].keys().isdisjoint(item) for _, item in inner[1:])
        and not all(word in GLUE for key, _ in inner for word in words(str(key)))
    )


def _across(value: Mapping[str, Any]) -> list[tuple[tuple[str, ...], tuple[str, ...]]] | None:
    """The rows of an object of columns; None where it is none."""
    columns: list[Sequence[Any]] = []
    names: list[str] = []
    for name, column in value.items():
        if isinstance(column, Mapping):
            if columns and len(column) != len(columns[0]):
                return None
            if list(column) != [str(i) for i in range(len(column))]:
                return None
            column = list(column.values())
        if not isinstance(column, list | tuple) or not column:
            return None
        if not all(_single(item) for item in column):
            return None
        names.append(str(name))
        columns.append(column)
    if len(columns) < 2 or len({len(column) for column in columns}) != 1:
        return None
    rows = []
    for items in zip(*columns, strict=True):
        kept = [
            (name, _text(item)) for name, item in zip(names, items, strict=True) if item is not None
        ]
        rows.append((tuple(name for name, _ in kept), tuple(text for _, text in kept)))
    return rows


def _single(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)


def _tells(key: Any) -> bool:
    text = str(key)
    return text.endswith("?") or text.count(" ") >= 2
