"""Atomic, durable files with owner-only permissions, and file locks.

A writer works on an unfinished file or folder beside its final place. Once complete, its bytes are
synced to disk, then it is renamed, then the rename is synced: only after that may a ledger refer to
it. After a power cut either the old state or the new one is there.

Documents for programs: values that strict JSON can hold, written whole or not at all.
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
"""Seconds after which a file is read again even where its time and size did not change."""

UNFINISHED = ".unfinished-"
"""Prefix of the name of every incomplete file or folder."""
FILE_MODE, FOLDER_MODE = 0o600, 0o700


def write(
    path: Path,
    content: bytes | str,
    *,
    mode: int = FILE_MODE,
    new: bool = False,
) -> None:
    """Write a file atomically; readers see the old file or the new one.

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
    """Yield the path of an empty file to fill; it is renamed when the block ends without error.

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
    """Yield an empty folder to fill; it is renamed when the block ends without error.

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
    """An unused name in this folder for an incomplete file."""
    return folder / f"{UNFINISHED}{secrets.token_hex(8)}"


def begun_file(folder: Path) -> tuple[Path, IO[bytes]]:
    """A new file to fill, and its path: marked as being written until its descriptors are closed
    or the process ends."""
    while True:
        unfinished = unfinished_in(folder)
        file = os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb")
        # Only a caller of `being_written` can hold it now, and only for an instant.
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return unfinished, file
        # Before the lock was taken, a sweep took it for a dead process's file.
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
    """Whether a living process writes a file or folder now, that is, holds its lock."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    # A folder's lock is shared by several writers; a file has one writer.
    kind = fcntl.LOCK_EX if path.is_dir() else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def publish(unfinished: Path, path: Path, *, mode: int = FILE_MODE, new: bool = False) -> None:
    """Make a file, or a folder with its content, durable under its final name.

    Args:
        unfinished: in the folder of `path`, closed.
        path: the final name.
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
    """Make a folder with its parents, for its owner alone; an existing one stays as it is."""
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
    """Open a regular file to read its bytes; links are followed.

    Raises:
        OSError: there is none, or it cannot be read. A pipe or a device is never opened: reading
            could block for ever.
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
    """Whether a regular file lies there, and no link to one."""
    return os.path.isfile(path) and not os.path.islink(path)


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_at(path: Path) -> str | None:
    """SHA-256 of a file; None for a link, anything that is no regular file, or an unreadable
    file."""
    try:
        return sha256(path) if is_plain(path) else None
    except OSError:
        return None


def everything_in(folder: Path) -> Iterator[Path]:
    """Everything in a folder, recursively; links are not followed.

    An unreadable folder is yielded without its content.
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
    """Hold a lock that is released with the process, however it ends.

    Args:
        path: of the lock file; made where it is missing, and left behind.
        busy: message where another process holds it; None waits for the other.

    Raises:
        StateError: another process holds it, with `busy` as the message.
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
        parse: makes a value of a document, or of None for no file yet. It raises ValueError,
            KeyError or TypeError for an invalid document.
        advice: what to do about an invalid file.
    """

    def __init__(
        self, path: Path, parse: Callable[[Mapping[str, Any] | None], T], *, advice: str
    ) -> None:
        self.path, self._parse, self._advice = path, parse, advice
        self._kept: tuple[tuple[int, int, int], float, T] | None = None

    def read(self) -> T:
        """The file's value; parsed again only after a change, since every request reads it."""
        try:
            seen = self.path.stat()
        except FileNotFoundError:
            return self._parse(None)
        at, clock = (seen.st_mtime_ns, seen.st_ino, seen.st_size), time.monotonic()
        kept = self._kept
        # Two writes within one clock tick may look alike: not for long.
        if kept is None or kept[0] != at or clock - kept[1] > LOOKS_ALIKE:
            kept = at, clock, self._parsed()
            self._kept = kept
        return kept[2]

    @contextmanager
    def changing(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Hold the lock; yield a function that replaces the document.

        A value read inside the block is the one that the change starts from.
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
    """The value with None in place of nan and infinity, which JSON cannot express.

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
