"""What lies in a workspace's own folders and its ledger does not know."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from olvido.artifacts import recognised
from olvido.files import being_written

_SAYS = {
    "unfinished": "left by a writer that was ended: remove it (an import removes those in the "
    "folder of data)",
    "run": "a training that was broken off: the same 'olvido learn' goes on; else remove it",
    "orphan": "a model that the ledger does not know: remove it, or keep it elsewhere",
}
_OTHERS = "nothing that the ledger knows: if it is yours, keep it elsewhere"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that nobody waits for.

    Attributes:
        path: where it lies.
        says: what it is, and what to do about it.
    """

    path: Path
    says: str


def leftovers(folder: Path, known: Collection[str]) -> Iterator[Leftover]:
    """What lies in a folder, but what the ledger knows and what is being written now.

    Args:
        folder: of data or of models.
        known: the names of the files and folders that the ledger knows there.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in known and not is_live(path):
            kind = None if path.is_symlink() else recognised(path)
            yield Leftover(path, _OTHERS if kind is None else _SAYS.get(kind.name, kind.says))


def is_live(path: Path) -> bool:
    """Whether somebody writes this file or folder now; False of what cannot be opened."""
    try:
        plain = not path.is_symlink() and (path.is_file() or path.is_dir())
        return plain and being_written(path)
    except OSError:
        # It is told as whatever else it is.
        return False
