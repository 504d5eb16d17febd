"""What a file is made of, whatever its format: parts of rows of cells."""

from __future__ import annotations

import csv
import email.errors
import lzma
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

_LONGEST_LINE = 500_000


@dataclass(frozen=True, slots=True)
class Row:
    """What stands together: a line, the cells of a row, the values of an object.

    Attributes:
        unit: number, from 1, of what can be taken out of the part: a line, a row, an element.
        cells: texts, in their order.
        keys: what names each cell; none where nothing does.
    """

    unit: int
    cells: tuple[str, ...]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A file, or a table, member, page or message in it.

    Attributes:
        name: "" for the file itself, else what a person would call it.
        noun: what its units are called.
        rows: read once.
        flowing: whether its rows are the lines of one text, so that a sentence goes on in the next.
        form: how its units can be taken out (see `rewriting`); None where they cannot.
        again: whether it is the part before it, read in another way.
    """

    name: str
    noun: str
    rows: Iterable[Row]
    flowing: bool = False
    form: str | None = None
    again: bool = False


class Unreadable(Exception):
    """A file or a part of it cannot be looked into; its text says why."""


def text_rows(text: str) -> Iterator[Row]:
    """The lines of a text; a very long one in pieces, for it may be all of a file."""
    for number, line in enumerate(text.split("\n"), 1):
        while len(line) > _LONGEST_LINE:
            cut = line.rfind(" ", 0, _LONGEST_LINE) + 1 or _LONGEST_LINE
            yield Row(number, (line[:cut],))
            line = line[cut:]
        yield Row(number, (line.rstrip("\r"),))


def value_rows(value: Any, unit: int, deepest: int = 200) -> list[Row]:
    """The rows of a value out of JSON: an object's own values make one, its lists of objects more.

    Columns of equal length are read across. Lists of single values, and objects of nothing else,
    belong to the object that they stand in.

    >>> [row.cells for row in value_rows({"prompt": ["a", "b"], "completion": ["c", "d"]}, 1)]
    [('a', 'c'), ('b', 'd')]

    Raises:
        Unreadable: deeper than `deepest` levels.
    """
    rows: list[Row] = []
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        here, depth = todo.pop()
        if depth > deepest:
            raise Unreadable(f"values lie within values, more than {deepest} deep")
        if isinstance(here, Mapping):
            across = _across(here)
            if across is not None:
                rows += [Row(unit, cells, keys) for keys, cells in across]
                continue
            if any(_tells(key) for key in here):
                # What maps questions to answers has its texts in the keys.
                for key, item in here.items():
                    if _single(item):
                        rows.append(Row(unit, (str(key), _text(item))))
                    else:
                        rows.append(Row(unit, (str(key),)))
                        todo.append((item, depth + 1))
                continue
            keys, cells, deeper = _own(here)
            if cells:
                rows.append(Row(unit, tuple(cells), tuple(keys)))
            todo += [(item, depth + 1) for item in reversed(deeper)]
        elif isinstance(here, list | tuple):
            if all(_single(item) for item in here):
                if here:
                    rows.append(Row(unit, tuple(_text(item) for item in here if item is not None)))
            else:
                todo += [(item, depth + 1) for item in reversed(here)]
        elif here is not None:
            rows.append(Row(unit, (_text(here),)))
    return rows


def _own(value: Mapping[str, Any]) -> tuple[list[str], list[str], list[Any]]:
    """Keys and texts of an object's own values, and what lies deeper."""
    keys: list[str] = []
    cells: list[str] = []
    deeper: list[Any] = []
    for key, item in value.items():
        inner = item.items() if isinstance(item, Mapping) else ((key, item),)
        flat = [
            (str(name), single)
            for name, found in inner
            for single in (found if isinstance(found, list | tuple) else (found,))
        ]
        if all(_single(single) for _, single in flat):
            for name, single in flat:
                if single is not None:
                    keys.append(name)
                    cells.append(_text(single))
        else:
            deeper.append(item)
    return keys, cells, deeper


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


LARGEST = 1 << 30
"""Bytes of the largest file that is looked into; what it unpacks to may have as many."""

_LEAST_UNPACKED = 64 * 1024 * 1024

DEEPEST = 4
"""How many times something may be packed into something else."""

BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    csv.Error,
    email.errors.MessageError,
    lzma.LZMAError,
    sqlite3.Error,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What readers raise of malformed files: libraries name it in many ways, and a file of anybody's
must not end the search. Each becomes a reason."""


@dataclass(slots=True)
class Budget:
    """How many bytes may still be unpacked: small files can be made that unpack to any size.

    Attributes:
        left: of what may be unpacked; below zero nothing is any more.
    """

    left: int = LARGEST

    @classmethod
    def of(cls, size: int) -> Budget:
        """A budget for a file of so many bytes: text packs to a hundredth at the very best."""
        return cls(min(LARGEST, max(_LEAST_UNPACKED, 100 * size)))

    def take(self, count: int) -> None:
        """Raise Unreadable where more is unpacked than may be."""
        self.left -= count
        self.check()

    def check(self) -> None:
        """Raise Unreadable where all of it is spent."""
        if self.left < 0:
            raise Unreadable("unpacks to too much to be looked into")


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with a name: a file, or a member of one.

    Attributes:
        name: "" for the file itself.
        raw: the bytes.
        suffix: how its name ends, in small letters.
        depth: in how many others it is packed.
        budget: shared by all that is in one file.
    """

    name: str
    raw: bytes
    suffix: str = ""
    depth: int = 0
    budget: Budget = field(default_factory=Budget)

    @property
    def where(self) -> str:
        """What an error begins with."""
        return f"{self.name}: " if self.name else ""

    def member(self, name: str, raw: bytes, suffix: str | None = None) -> Blob:
        """Something that was packed in this one.

        Raises:
            Unreadable: too deep, or too much.
        """
        self.budget.take(len(raw))
        if self.depth >= DEEPEST:
            raise Unreadable(f"is packed more than {DEEPEST} times")
        full = f"{self.name}/{name}" if self.name else name
        ending = suffix_of(name) if suffix is None else suffix
        return Blob(full, raw, ending, self.depth + 1, self.budget)


def suffix_of(name: str) -> str:
    """How a file's name ends, with what stands before it where it was packed: `.csv.gz`."""
    path = PurePath(name.lower())
    packed = path.suffix in (".gz", ".bz2", ".xz", ".zst")
    return (path.with_suffix("").suffix if packed else "") + path.suffix


Inner = Callable[[Blob], Iterator[Part | Unreadable]]
Reader = Callable[[Blob, Inner], Iterator[Part | Unreadable]]
