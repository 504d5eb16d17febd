"""Files that appear whole and durable or not at all, for their owner alone; and the one lock.

Whoever writes works on an unfinished file or folder beside its place. Once it is complete its bytes
are brought to the disk, then it gets its name, then the name is brought to the disk: only after
that may a ledger speak of it. After a power cut there is the old state or the new one.

Documents for programs: plain values that strict JSON can hold, written whole or not at all.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from filelock import FileLock, Timeout

from olvido.errors import InputError, StateError

T = TypeVar("T")
LOOKS_ALIKE = 1.0
"""Seconds after which a file is read again even where it looks as it did."""

UNFINISHED = ".unfinished-"
"""How the name of whatever is not complete yet begins."""
FILE_MODE, FOLDER_MODE = 0o600, 0o700


def write(
    path: Path,
    content: bytes | str,
    *,
    mode: int = FILE_MODE,
    new: bool = False,
) -> None:
    """Write a file; whoever reads sees the old one or the new one.

    Args:
        path: its folder is made where it is missing.
        content: bytes, or text that is written as UTF-8.
        mode: its permissions.
        new: refuse to replace a file that is there.

    Raises:
        FileExistsError: with `new`, there is one already.
        OSError: it could not be written; nothing is left behind.

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> write(folder / "a.txt", "é"); (folder / "a.txt").read_bytes(), len(list(folder.iterdir()))
    (b'\\xc3\\xa9', 1)
    """
    with new_file(path, mode=mode, new=new) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def new_file(path: Path, *, mode: int = FILE_MODE, new: bool = False) -> Iterator[Path]:
    """Give the path of an empty file to fill; it gets its own name when the block has ended well.

    Args:
        path, mode, new: see `write`.
    """
    make_folder(path.parent)
    unfinished, file = begun_file(path.parent)
    try:
        with file:
            yield unfinished
            publish(unfinished, path, mode=mode, new=new)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it gets its own name when the block has ended well.

    Args:
        path: no folder yet, or an empty one; its parents are made where they are missing.

    Raises:
        OSError: it could not be written, or another process was first; nothing is left behind.
    """
    make_folder(path.parent)
    unfinished = unfinished_in(path.parent)
    try:
        unfinished.mkdir(FOLDER_MODE)
        with held_folder(unfinished):
            yield unfinished
            publish(unfinished, path)
    finally:
        if unfinished.exists():
            shutil.rmtree(unfinished)


def unfinished_in(folder: Path) -> Path:
    """A name in this folder for what is not complete yet; nothing has it."""
    return folder / f"{UNFINISHED}{secrets.token_hex(8)}"


def begun_file(folder: Path) -> tuple[Path, IO[bytes]]:
    """A new file to fill, and its path: marked as being written until every descriptor of it is
    closed or its process ends, however."""
    while True:
        unfinished = unfinished_in(folder)
        file = os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb")
        # Only who asks `being_written` can be in the way, for no time at all.
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return unfinished, file
        # Before it was held, who sweeps took it for a dead process's.
        file.close()


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Mark a folder as being written, until the block or its process ends; several may at once."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def being_written(path: Path) -> bool:
    """Whether somebody writes a file or folder now: it is held, and whoever holds it lives."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    # Several may hold a folder, and share it; a file is its one writer's.
    kind = fcntl.LOCK_EX if path.is_dir() else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def publish(unfinished: Path, path: Path, *, mode: int = FILE_MODE, new: bool = False) -> None:
    """Make a file, or a folder with all that is in it, durable under its name.

    Args:
        unfinished: in the folder of `path`, closed.
        path: what it shall be called.
        mode, new: of a file, see `write`.
    """
    if unfinished.is_dir():
        for folder, _, names in os.walk(unfinished, topdown=False):
            for name in names:
                _synced(os.path.join(folder, name), FILE_MODE)
            _synced(folder, FOLDER_MODE)
    else:
        _synced(unfinished, mode)
    if new:
        # Unlike a rename, a link never replaces what is there.
        os.link(unfinished, path)
        unfinished.unlink()
    else:
        os.replace(unfinished, path)
    _synced(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder, with its parents, for its owner alone; one that is there stays as it is."""
    if path.is_dir():
        return
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(FOLDER_MODE, exist_ok=True)
    _synced(path.parent)


def _synced(path: str | Path, mode: int | None = None) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    if os.path.islink(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_plain(path: str | Path) -> BufferedReader:
    """Open a plain file to read its bytes, be it where a link leads.

    Raises:
        OSError: none lies there, or it cannot be read. A pipe or a device is never opened: it could
            be waited for without end.
    """
    _refuse_odd(os.stat(path), path)
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        # Something else may have been put there meanwhile.
        _refuse_odd(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _refuse_odd(about: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "neither file nor folder", str(path))


def is_plain(path: Path) -> bool:
    """Whether a plain file lies there, and no link to one."""
    return os.path.isfile(path) and not os.path.islink(path)


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_at(path: Path) -> str | None:
    """It; None of a link and of anything that is no plain file, or cannot be read."""
    try:
        return sha256(path) if is_plain(path) else None
    except OSError:
        return None


def everything_in(folder: Path) -> Iterator[Path]:
    """All that lies in a folder, however deep; where links lead is not followed.

    A folder that cannot be opened is given, and nothing that lies in it.
    """
    todo = [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as listed:
                entries = list(listed)
        except OSError:
            continue
        for entry in entries:
            yield (path := Path(entry.path))
            if not entry.is_symlink() and os.path.isdir(path):
                todo.append(path)


@contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends.

    Args:
        path: of a file that stands for it; made where it is missing, and left behind.
        busy: what to say where another holds it; None waits for the other.

    Raises:
        StateError: another holds it, and `busy` says so.
    """
    make_folder(path.parent)
    lock = FileLock(path, mode=FILE_MODE, timeout=-1 if busy is None else 0)
    try:
        lock.acquire()
    except Timeout:
        raise StateError(str(busy)) from None
    try:
        yield
    finally:
        lock.release()


class LockedFile(Generic[T]):
    """A small JSON file that several processes read and change, one change at a time.

    Args:
        path: of the file.
        parse: gives what a document says, or what None, no file yet, stands for. It raises
            ValueError, KeyError or TypeError for a document that says nothing that is known.
        advice: what to do about a file that cannot be read so.
    """

    def __init__(
        self, path: Path, parse: Callable[[Mapping[str, Any] | None], T], *, advice: str
    ) -> None:
        self.path, self._parse, self._advice = path, parse, advice
        self._kept: tuple[tuple[int, int, int], float, T] | None = None

    def read(self) -> T:
        """What the file says; read again only where it has changed, for every request asks."""
        try:
            seen = self.path.stat()
        except FileNotFoundError:
            return self._parse(None)
        at, clock = (seen.st_mtime_ns, seen.st_ino, seen.st_size), time.monotonic()
        kept = self._kept
        # Two files written within one tick of the clock may look alike: not for long.
        if kept is None or kept[0] != at or clock - kept[1] > LOOKS_ALIKE:
            kept = at, clock, self._parsed()
            self._kept = kept
        return kept[2]

    @contextmanager
    def changing(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Hold the lock; gives what puts another document into the file's place.

        What is read inside the block is what the change begins from.
        """
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            self._kept = None
            yield lambda document: write(self.path, json.dumps(document, indent=1))
            self._kept = None

    def _parsed(self) -> T:
        try:
            return self._parse(json.loads(self.path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"{self.path} cannot be read ({type(error).__name__}): {self._advice}"
            ) from error


def finite(value: Any) -> Any:
    """The value with None where a number is nan or infinite, which JSON cannot say.

    >>> finite({"loss": float("nan"), "n": [1, 2.5]})
    {'loss': None, 'n': [1, 2.5]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def write_document(document: Mapping[str, Any], path: Path) -> None:
    """Write a document as JSON, durably; a reader sees the old file or the new one.

    Args:
        document: plain values.
        path: see `olvido.files.write`.
    """
    text = json.dumps(finite(document), ensure_ascii=False, indent=1, allow_nan=False)
    write(path, text)


def read_document(path: Path) -> dict[str, Any]:
    """A document from its file.

    Raises:
        InputError: there is no such file, or it holds no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"there is no file {path}: give the path of one that Olvido wrote"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be read as JSON ({reason}): give a file as Olvido wrote it"
        ) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object: give a file as Olvido wrote it")
    return document
