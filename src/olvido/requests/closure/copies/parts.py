"""What a file is made of, whatever its format: parts of rows of cells."""

from __future__ import annotations

import csv
import email.errors
import lzma
import re
import sqlite3
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from olvido.folding import words
from olvido.requests.closure.copies.contents import GLUE

_DELIMITERS = re.compile(r'\t|\||"\s*[,;]\s*"')
_LONGEST_LINE = 500_000


@dataclass(frozen=True, slots=True)
class Row:
    """What stands together: a line, the cells of a row, the values of an object.

    Attributes:
        unit: number, from 1, of what can be taken out of the part: a line, a row, an element.
        cells: texts, in their order.
        keys: what names each cell; none where nothing does.
        under: names of what the row stands in: the keys above an object.
    """

    unit: int
    cells: tuple[str, ...]
    keys: tuple[str, ...] = ()
    under: tuple[str, ...] = ()


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
        within: whether it is what letters in the part before it stand for.
        aside: whether it is no row of the file: what columns, tables and members are called, or,
            where it flows, whatever text stands in the file, read without regard to its format.
    """

    name: str
    noun: str
    rows: Iterable[Row]
    flowing: bool = False
    form: str | None = None
    again: bool = False
    within: bool = False
    aside: bool = False


def cells_of(part: Part, row: Row) -> Sequence[str]:
    """The cells of a row; a line of a text may be made of several."""
    if not part.flowing or len(row.cells) != 1:
        return row.cells or ("",)
    return _DELIMITERS.split(row.cells[0])


@dataclass(slots=True)
class Examination:
    """What some rows hold.

    Attributes:
        records: ids of the records found whole.
        doubtful: ids of records whose words stand there beside another name.
        mentions: places of the name.
        found: units that hold a record.
        left: units of which something is not the person's.
        others: whether any row says something that is not the person's.
    """

    records: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    mentions: int = 0
    found: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)
    others: bool = False


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
    todo: list[tuple[Any, int, tuple[str, ...]]] = [(value, 0, ())]
    while todo:
        here, depth, under = todo.pop()
        if depth > deepest:
            raise Unreadable(f"values lie within values, more than {deepest} deep")
        if isinstance(here, Mapping):
            across = _across(here)
            if across is not None:
                rows += [Row(unit, cells, keys, under) for keys, cells in across]
                continue
            if any(_tells(key) for key in here):
                # What maps questions to answers has its texts in the keys.
                for key, item in here.items():
                    if _single(item):
                        rows.append(Row(unit, (str(key), _text(item)), under=under))
                    else:
                        rows.append(Row(unit, (str(key),), under=under))
                        todo.append((item, depth + 1, (*under, str(key))))
                continue
            keys, cells, above, deeper = _own(here)
            if cells or not deeper:
                names = above if cells else map(str, here)
                rows.append(Row(unit, tuple(cells), tuple(keys), (*under, *names)))
            todo += [(item, depth + 1, (*under, key)) for key, item in reversed(deeper)]
        elif isinstance(here, list | tuple):
            if all(_single(item) for item in here):
                if here:
                    texts = tuple(_text(item) for item in here if item is not None)
                    rows.append(Row(unit, texts, under=under))
            else:
                todo += [(item, depth + 1, under) for item in reversed(here)]
        elif here is not None:
            rows.append(Row(unit, (_text(here),), under=under))
    return rows


def _own(
    value: Mapping[str, Any],
) -> tuple[list[str], list[str], list[str], list[tuple[str, Any]]]:
    """Keys and texts of an object's own values, keys of the objects that they stand in, and what
    lies deeper, with its key."""
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
            # What has no value has a name all the same.
            for name, single in flat or [(str(key), None)]:
                keys.append(name)
                cells.append("" if single is None else _text(single))
        else:
            deeper.append((str(key), item))
    return keys, cells, above, deeper


def _are_rows(value: Mapping[str, Any]) -> bool:
    """Whether the objects in an object are rows of one table, each under what tells it."""
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
    SyntaxError,
    TypeError,
    ValueError,
    csv.Error,
    email.errors.MessageError,
    lzma.LZMAError,
    sqlite3.Error,
    struct.error,
    tarfile.TarError,
    tokenize.TokenError,
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
