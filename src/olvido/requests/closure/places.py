"""Where a closure looks, and what lay at a place when it was looked at."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from olvido.artifacts import KINDS
from olvido.ledger.facts import Request
from olvido.ledger.store.closure import is_sealed
from olvido.requests.desk import Office

GIVEN = "access-folder"
"""What the log calls a folder into which a person's own data are written, as they asked for."""

_PLACED = ("export", "file", "mention", "link", "unread", "weights", "foreign")

# Names of files are bytes: what is no UTF-8 in them stands in an item in hexadecimal digits, and so
# does what would be read as one of those or as a digest of a place (`Key.place`).
_UNSAID = re.compile(r"[\udc80-\udcff]|\\(?=x[0-9a-f]{2})|^p(?=lace:v)")
_SAID = re.compile(r"\\x(5c|70|[89a-f][0-9a-f])")


def looked_into(office: Office, search: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The folders that are looked into: the workspace, those that its settings name, those into
    which people's own data were written for them, and these."""
    given = (Path(entry.detail["path"]) for entry in office.store.events(GIVEN))
    every = (*_configured(office), *search, *given)
    found = dict.fromkeys(folder.resolve() for folder in every if os.path.isdir(folder))
    return tuple(f for f in found if not any(other in f.parents for other in found))


def not_there(office: Office, request: Request) -> tuple[Path, ...]:
    """Folders that should be looked into and are not there, as on a disk that is away.

    They are those that the settings name, and those into which this person's own data were
    written; none that lies in another folder that is looked into, for from there it is gone.
    """
    every = list(_configured(office))
    for entry in office.store.events(GIVEN):
        asked = office.store.request(entry.detail["id"])
        every += [Path(entry.detail["path"])] if {*asked.subjects} & {*request.subjects} else []
    gone = (Path(os.path.realpath(folder)) for folder in every if not os.path.isdir(folder))
    roots = looked_into(office)
    return tuple(f for f in dict.fromkeys(gone) if not any(root in f.parents for root in roots))


def _configured(office: Office) -> tuple[Path, ...]:
    settings = office.settings
    own = (settings.workspace, settings.models, settings.data)
    return (*own, settings.reports, settings.certificates)


def spelt(path: Path) -> str:
    r"""A path as an item has it: Unicode, whatever the bytes of its names are.

    >>> spelt(Path(os.fsdecode(b"caf\xe9.txt")))
    'caf\\xe9.txt'
    """
    return _UNSAID.sub(lambda one: f"\\x{os.fsencode(one[0]).hex()}", str(path))


def unspelt(place: str) -> Path:
    """The path that is spelt so."""
    return Path(_SAID.sub(lambda one: os.fsdecode(bytes.fromhex(one[1])), place))


def called(roots: Sequence[Path], path: Path) -> str:
    """What a file and the folders that it lies in are called, below what is looked into."""
    above = [root for root in roots if root in path.parents]
    return spelt(path.relative_to(above[0]) if above else Path(path.name))


def place_of(office: Office, item: str) -> Path | None:
    """Where an item lies that is named after its place; None for another, and of a digest of it."""
    kind, _, place = item.partition(":")
    if is_sealed(item) or (KINDS[kind].shape is None and kind not in _PLACED):
        return None
    return office.settings.workspace.resolve() / unspelt(place)


def item_at(office: Office, item: str, known: Collection[str]) -> str:
    """An item as it is called, where its place was given as seen from the current folder, or is
    known by its digest alone."""
    kind, colon, place = item.partition(":")
    if item in known or not colon:
        return item
    path, home = Path(os.path.abspath(place)), office.settings.workspace.resolve()
    names = [Path(place), path, *([path.relative_to(home)] if path.is_relative_to(home) else [])]
    clear = [f"{kind}:{spelt(one)}" for one in names]
    found = (name for name in [*clear, *map(office.store.sealed, clear)] if name in known)
    return next(found, item)


def seen_at(office: Office, path: Path) -> str:
    """A keyed digest of what lies at a place now: names and bytes, of a link where it leads."""
    total = hmac.new(office.store.key.derived(b"seen", b""), digestmod=hashlib.sha256)
    inner = sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [path]
    for one in inner:
        total.update(b"\0" + os.fsencode(one.relative_to(path)) + b"\0")
        if one.is_symlink():
            total.update(os.fsencode(os.readlink(one)))
        elif one.is_file():
            with one.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def digest_at(path: Path) -> str | None:
    """SHA-256 of the bytes of a file; None of anything else, and where it cannot be read."""
    if path.is_symlink() or not os.path.isfile(path):
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


class Names:
    """How many names each file has in the folders that are looked into.

    Args:
        roots: of these folders.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._found = Counter(_inode(path) for root in roots for path in _linked(root))

    def elsewhere(self, files: Iterable[Path]) -> bool:
        """Whether one of these files has a further name where nobody looked: a hard link."""
        return any(
            path.is_file()
            and not path.is_symlink()
            and path.stat().st_nlink > max(1, self._found[_inode(path)])
            for path in files
        )


def _linked(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink() and path.is_file() and path.stat().st_nlink > 1:
                yield path


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
