"""What there is to say of a kind of artefact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Holds(StrEnum):
    """What of a person a file may hold."""

    ROWS = "rows"
    WEIGHTS = "weights"
    SCORES = "scores"
    ACTIVATIONS = "activations"
    NAMES = "names"
    DIGESTS = "digests"


class Way(StrEnum):
    """How a kind is erased."""

    REMOVED = "removed"
    REWRITTEN = "rewritten"
    KEPT = "kept"
    STATED = "stated"


class Who(StrEnum):
    """Who can erase one, the easiest first."""

    ALL = "olvido"
    NAMED = "by-name"
    TEAM = "team"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artefact.

    Attributes:
        name: what an item of the closure begins with, before its colon.
        says: what it is.
        holds: what it may hold.
        way: how it is erased.
        who: who can, where it lies in the workspace. `ALL` is for what Olvido wrote, and can make
            again or is well without.
        others: whether it holds data of others as well.
        writers: modules that write it; none where it is somebody else's.
        shape: whether a file or folder is one; None where only the ledger, or a look into the file,
            tells.
        parts: of a folder, the files in it that its writer put there; None where it is a file.
        told: whether what the records say decides about it, so that their rows have to be there.
    """

    name: str
    says: str
    holds: frozenset[Holds]
    way: Way = Way.REMOVED
    who: Who = Who.NAMED
    others: bool = True
    writers: tuple[str, ...] = ()
    shape: Callable[[Path], bool] | None = None
    parts: Callable[[Path], Iterator[Path]] | None = None
    told: bool = False
