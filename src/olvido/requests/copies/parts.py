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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

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
        again: whether its cells stand in other rows as well, and are read together once more.
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


def cells_of(part: FilePart, row: Row) -> Sequence[str]:
    """The cells of a row; a line of a text may be made of several."""
    if not part.flowing or len(row.cells) != 1:
        return row.cells or ("",)
    return _DELIMITERS.split(row.cells[0])


@dataclass(slots=True)
class PartExamination:
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


class UnreadablePart(Exception):
    """A file or a part of it cannot be looked into; its text says why."""


def text_rows(text: str) -> Iterator[Row]:
    """The lines of a text; a very long one in pieces, for it may be all of a file."""
    for number, line in enumerate(text.split("\n"), 1):
        while len(line) > _LONGEST_LINE:
            cut = line.rfind(" ", 0, _LONGEST_LINE) + 1 or _LONGEST_LINE
            yield Row(number, (line[:cut],))
            line = line[cut:]
        yield Row(number, (line.rstrip("\r"),))


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
            raise UnreadablePart("unpacks to too much to be looked into")


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
            UnreadablePart: too deep, or too much.
        """
        self.budget.take(len(raw))
        if self.depth >= DEEPEST:
            raise UnreadablePart(f"is packed more than {DEEPEST} times")
        full = f"{self.name}/{name}" if self.name else name
        ending = suffix_of(name) if suffix is None else suffix
        return Blob(full, raw, ending, self.depth + 1, self.budget)


def suffix_of(name: str) -> str:
    """How a file's name ends, with what stands before it where it was packed: `.csv.gz`."""
    path = PurePath(name.lower())
    packed = path.suffix in (".gz", ".bz2", ".xz", ".zst")
    return (path.with_suffix("").suffix if packed else "") + path.suffix


Inner = Callable[[Blob], Iterator[FilePart | UnreadablePart]]
Reader = Callable[[Blob, Inner], Iterator[FilePart | UnreadablePart]]
