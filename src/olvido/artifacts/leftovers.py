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
        if path.name not in known and not _live(path):
            kind = None if path.is_symlink() else recognised(path)
            yield Leftover(path, _OTHERS if kind is None else _SAYS.get(kind.name, kind.says))


def _live(path: Path) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and being_written(path)
    except OSError:
        # What cannot be opened is told as well.
        return False
