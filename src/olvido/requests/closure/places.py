"""The places that a closure searches, and the artefacts that it finds there.

Also leftovers: files in a workspace's own folders that its ledger does not know.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from olvido.artifacts import KINDS, Kind, Who, recognised
from olvido.files import being_written, everything_in, is_plain, sha256
from olvido.ledger.facts import Request
from olvido.ledger.store.requests import is_sealed
from olvido.requests.closure.search import FileFindings
from olvido.requests.handlers import RequestContext
from olvido.settings import FILE, LEDGER

_SAYS = {
    "unfinished": "left by a writer that was ended: remove it (an import removes those in the "
    "folder of data)",
    "run": "a training that was broken off: the same 'olvido learn' goes on; else remove it",
    "orphan": "a model that the ledger does not know: remove it, or keep it elsewhere",
}
_OTHERS = "nothing that the ledger knows: if it is yours, keep it elsewhere"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that the ledger does not know and nobody is writing.

    Attributes:
        path: where it lies.
        says: what it is, and what to do about it.
    """

    path: Path
    says: str


def leftovers(folder: Path, known: Collection[str]) -> Iterator[Leftover]:
    """The files in a folder that the ledger does not know and nobody is writing now.

    Args:
        folder: the workspace's folder of data or of models.
        known: the names of the files and folders that the ledger knows there.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in known and not is_live(path):
            kind = None if path.is_symlink() else recognised(path)
            yield Leftover(path, _OTHERS if kind is None else _SAYS.get(kind.name, kind.says))


def is_live(path: Path) -> bool:
    """Whether this file or folder is being written now; False where it cannot be opened."""
    try:
        plain = not path.is_symlink() and (path.is_file() or path.is_dir())
        return plain and being_written(path)
    except OSError:
        # It is reported as what else it is.
        return False


UNDECIDED = ("weights", "unread", "foreign")
"""Kinds of files that the team may declare to hold none of the data."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file, folder or row that holds the data of a request.

    Attributes:
        item: its name: a kind and a place, as `model:0123456789ab`.
        says: what was found there.
        path: where it lies; None where that is unknown here.
        inside: whether it lies in the workspace's folder, and in no other workspace's within it,
            or is the ledger's own.
        others: whether it was seen to hold data of others.
        seen: a keyed digest of the examined content, if it is erased only by its name.
        look: what was found in a file with records.
        known: for tensors, whether they are those of a model that learned the data.
    """

    item: str
    says: str
    path: Path | None = None
    inside: bool = True
    others: bool = True
    seen: str | None = None
    look: FileFindings | None = None
    known: bool = False

    @property
    def undecided(self) -> bool:
        """Whether the team may declare that it holds no record: the search found none in it."""
        look = self.look
        if look is not None and (look.records or look.mentions or look.doubtful):
            return False
        return self.kind.name in UNDECIDED and not self.known

    @property
    def kind(self) -> Kind:
        """The kind of artefact: the part of the item before the colon."""
        return KINDS[self.item.partition(":")[0]]

    @property
    def who(self) -> Who:
        """Who can erase it. `all` never erases what lies elsewhere or belongs to others."""
        if self.path is None:
            return Who.TEAM
        if not self.inside:
            return Who.NAMED
        if self.kind is KINDS["file"] and not self.others:
            return Who.ALL
        if self.kind in (KINDS["orphan"], KINDS["export"]) and self.known:
            return Who.ALL
        return self.kind.who


GIVEN = "access-folder"
"""The kind of the log's entry that names the folder of an answer to a request for access."""

_PLACED = ("export", "file", "mention", "link", "unread", "weights", "foreign")

# Names of files are bytes: in an item, bytes that are no UTF-8 are written in hexadecimal digits,
# and so is text that would be read as such digits or as a digest of a place (`Key.place`).
_UNSAID = re.compile(r"[\udc80-\udcff]|\\(?=x[0-9a-f]{2})|^p(?=lace:v)")
_SAID = re.compile(r"\\x(5c|70|[89a-f][0-9a-f])")


def looked_into(context: RequestContext, search: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The folders that are searched: the workspace, those that its settings name, those of the
    answers to requests for access, and these."""
    given = (Path(entry.detail["path"]) for entry in context.store.events(GIVEN))
    every = (*_configured(context), *search, *given)
    found = dict.fromkeys(real(folder) for folder in every if os.path.isdir(folder))
    return tuple(f for f in found if not any(other in f.parents for other in found))


def not_there(context: RequestContext, request: Request) -> tuple[Path, ...]:
    """The folders that should be searched and are missing, as on a disk that is away.

    They are those that the settings name, and those of this person's answers to requests for
    access; a missing folder within another searched folder is not among them: it is gone.
    """
    every = list(_configured(context))
    for entry in context.store.events(GIVEN):
        asked = context.store.request(entry.detail["id"])
        every += [Path(entry.detail["path"])] if {*asked.subjects} & {*request.subjects} else []
    gone = (real(folder) for folder in every if not os.path.isdir(folder))
    roots = looked_into(context)
    return tuple(f for f in dict.fromkeys(gone) if not any(root in f.parents for root in roots))


def real(path: Path) -> Path:
    """Resolve a path; links that lead in a circle are followed as far as possible."""
    return Path(os.path.realpath(path))


def lies(path: Path) -> bool:
    """Whether something lies at a place; True also where that is unknown, as below a folder that
    may not be opened."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def lies_within(home: Path, path: Path) -> bool:
    """Whether a path lies in a workspace, and in no other workspace within that one."""
    between = itertools.takewhile(lambda folder: folder != home, (path, *path.parents))
    return home in path.parents and not any(
        os.path.isfile(folder / name) for folder in between for name in (FILE, LEDGER)
    )


def _configured(context: RequestContext) -> tuple[Path, ...]:
    settings = context.settings
    own = (settings.workspace, settings.models, settings.data)
    return (*own, settings.reports, settings.certificates)


def spelt(path: Path) -> str:
    r"""A path as an item has it: Unicode, whatever the bytes of its names are.

    >>> spelt(Path(os.fsdecode(b"caf\xe9.txt")))
    'caf\\xe9.txt'
    """
    return _UNSAID.sub(lambda one: f"\\x{os.fsencode(one[0]).hex()}", str(path))


def unspelt(place: str) -> Path:
    """The path of a place in an item: the inverse of `spelt`."""
    return Path(_SAID.sub(lambda one: os.fsdecode(bytes.fromhex(one[1])), place))


def called(roots: Sequence[Path], path: Path) -> str:
    """The names of a file and of its folders, below the searched roots."""
    above = [root for root in roots if root in path.parents]
    return spelt(path.relative_to(above[0]) if above else Path(path.name))


def place_of(context: RequestContext, item: str) -> Path | None:
    """The path of an item that is named after its place; None for others and for a digest of it."""
    kind, _, place = item.partition(":")
    if is_sealed(item) or (KINDS[kind].shape is None and kind not in _PLACED):
        return None
    return context.settings.workspace.resolve() / unspelt(place)


def item_at(context: RequestContext, item: str, known: Collection[str]) -> str:
    """The name of a known item, also if its place was given relative to the current folder, or is
    known by its digest alone."""
    kind, colon, place = item.partition(":")
    if item in known or not colon:
        return item
    path, home = Path(os.path.abspath(place)), context.settings.workspace.resolve()
    names = [Path(place), path, *([path.relative_to(home)] if path.is_relative_to(home) else [])]
    clear = [f"{kind}:{spelt(one)}" for one in names]
    found = (name for name in [*clear, *map(context.store.sealed, clear)] if name in known)
    return next(found, item)


def seen_at(context: RequestContext, path: Path) -> str:
    """A keyed digest of the names and bytes at a place now; of a link, its target."""
    total = hmac.new(context.store.key.derived(b"seen", b""), digestmod=hashlib.sha256)
    folder = os.path.isdir(path) and not os.path.islink(path)
    for one in sorted(everything_in(path)) if folder else [path]:
        total.update(b"\0" + os.fsencode(one.relative_to(path)) + b"\0")
        if os.path.islink(one):
            total.update(os.fsencode(os.readlink(one)))
        elif is_plain(one):
            total.update(bytes.fromhex(sha256(one)))
    return total.hexdigest()


class LinkedNames:
    """Counts the names that each file has in the searched folders (hard links).

    Args:
        roots: these folders.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        found = (_linked(path) for root in roots for path in everything_in(root))
        self._found = Counter(one[:2] for one in found if one is not None)

    def elsewhere(self, files: Iterable[Path]) -> bool:
        """Whether one of these files has a further name, a hard link, outside the search."""
        found = map(_linked, files)
        return any(one is not None and one[2] > self._found[one[:2]] for one in found)


def _linked(path: Path) -> tuple[int, int, int] | None:
    """Device, inode and count of names of a plain file that has several names; else None."""
    try:
        found = os.lstat(path)
    except OSError:
        # It is reported as unreadable.
        return None
    several = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
    return (found.st_dev, found.st_ino, found.st_nlink) if several else None
