"""The parts, rows and cells that a file of any format consists of."""

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

_DELIMITERS = re.compile(r'\t|\||"\s*[,;]\s*"')
_LONGEST_LINE = 500_000


@dataclass(frozen=True, slots=True)
class Row:
    """Cells that belong together: a line, the cells of a row, the values of an object.

    Attributes:
        unit: number, from 1, of the removable unit: a line, a row, an element.
        cells: texts, in their order.
        keys: the name of each cell; none where they have no names.
        under: the names around the row: the keys above an object.
        again: whether this is a second reading: its cells are in other rows as well.
    """

    unit: int
    cells: tuple[str, ...]
    keys: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file, or a table, member, page or message in it.

    Attributes:
        name: "" for the file itself, else its name for people.
        noun: the word for its units.
        rows: the rows, to be read once.
        flowing: whether its rows are the lines of one text, so that a sentence goes on in the next.
        form: how its units can be removed (see `rewriting`); None where they cannot.
        again: whether it is a second reading of the part before it.
        within: whether it is decoded from letters in the part before it.
        aside: whether it has no rows of the file: names of columns, tables and members, or, where
            it flows, all text of the file read without regard to its format.
    """

    name: str
    noun: str
    rows: Iterable[Row]
    flowing: bool = False
    form: str | None = None
    again: bool = False
    within: bool = False
    aside: bool = False


def cells_of(part: FilePart, row: Row) -> Sequence[str]:
    """The cells of a row; a line of a text may consist of several."""
    if not part.flowing or len(row.cells) != 1:
        return row.cells or ("",)
    return _DELIMITERS.split(row.cells[0])


@dataclass(slots=True)
class PartExamination:
    """What was found in some rows.

    Attributes:
        records: ids of the records found whole.
        doubtful: ids of records found whole beside another name.
        mentions: places of the name.
        found: units that contain a record.
        left: units with content that is not the person's.
        others: whether any row has content that is not the person's.
    """

    records: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    mentions: int = 0
    found: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)
    others: bool = False


class UnreadablePart(Exception):
    """Raised for a file, or a part of one, that cannot be read; its text says why."""


def text_rows(text: str) -> Iterator[Row]:
    """The lines of a text; a very long one in pieces, for it may be the whole file."""
    for number, line in enumerate(text.split("\n"), 1):
        while len(line) > _LONGEST_LINE:
            cut = line.rfind(" ", 0, _LONGEST_LINE) + 1 or _LONGEST_LINE
            yield Row(number, (line[:cut],))
            line = line[cut:]
        yield Row(number, (line.rstrip("\r"),))


LARGEST = 1 << 30
"""Bytes of the largest file that is read; its unpacked content may have as many."""

_LEAST_UNPACKED = 64 * 1024 * 1024

DEEPEST = 4
"""The deepest nesting of packed content that is read."""

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
"""Exceptions that readers raise for malformed files: libraries have many, and no file may end the
search. Each becomes a reason."""


@dataclass(slots=True)
class Budget:
    """The bytes that may still be unpacked: a small file can be made to unpack to any size.

    Attributes:
        left: remaining bytes; below zero nothing more is unpacked.
    """

    left: int = LARGEST

    @classmethod
    def of(cls, size: int) -> Budget:
        """A budget for a file of this size: text packs to a hundredth at the very best."""
        return cls(min(LARGEST, max(_LEAST_UNPACKED, 100 * size)))

    def take(self, count: int) -> None:
        """Count bytes as unpacked. Raises UnreadablePart where the budget is exceeded."""
        self.left -= count
        self.check()

    def check(self) -> None:
        """Raise UnreadablePart where the budget is spent."""
        if self.left < 0:
            raise UnreadablePart("unpacks to too much to be looked into")


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with a name: a file, or a member of one.

    Attributes:
        name: "" for the file itself.
        raw: the bytes.
        suffix: the end of its name, in lower case.
        depth: the number of containers around it.
        budget: the budget that all content of one file shares.
    """

    name: str
    raw: bytes
    suffix: str = ""
    depth: int = 0
    budget: Budget = field(default_factory=Budget)

    @property
    def where(self) -> str:
        """The beginning of an error's text."""
        return f"{self.name}: " if self.name else ""

    def member(self, name: str, raw: bytes, suffix: str | None = None) -> Blob:
        """Bytes that were packed in this blob.

        Raises:
            UnreadablePart: they are packed too deep, or too many.
        """
        self.budget.take(len(raw))
        if self.depth >= DEEPEST:
            raise UnreadablePart(f"is packed more than {DEEPEST} times")
        full = f"{self.name}/{name}" if self.name else name
        ending = suffix_of(name) if suffix is None else suffix
        return Blob(full, raw, ending, self.depth + 1, self.budget)


def suffix_of(name: str) -> str:
    """The ending of a file's name; for a packed file also the one before it: `.csv.gz`."""
    path = PurePath(name.lower())
    packed = path.suffix in (".gz", ".bz2", ".xz", ".zst")
    return (path.with_suffix("").suffix if packed else "") + path.suffix


Inner = Callable[[Blob], Iterator[FilePart | UnreadablePart]]
Reader = Callable[[Blob, Inner], Iterator[FilePart | UnreadablePart]]
