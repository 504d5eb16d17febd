"""Read any file as parts of rows: its kind follows from its first bytes, with a reader each."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from olvido.requests.copies import containers, tables, texts
from olvido.requests.copies.cells import encoded_in, is_zlib, spelt_members
from olvido.requests.copies.decoding import decoded, entropy, readable
from olvido.requests.copies.parts import (
    BROKEN,
    LARGEST,
    Blob,
    Budget,
    FilePart,
    Inner,
    Row,
    UnreadablePart,
    suffix_of,
    text_rows,
)

_PIECE = 1 << 20
_SPARSE = 64 * 1024 * 1024
_SECRET = 7.5
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)
# Kinds that are named and not read; of the second kind only text in clear is read.
_CLOSED = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"BM", "a picture"),
    (b"II*\x00", "a picture"),
    (b"MM\x00*", "a picture"),
    (b"RIFF", "a picture or a recording"),
    (b"OggS", "a recording"),
    (b"fLaC", "a recording"),
    (b"ID3", "a recording"),
    (b"\x1aE\xdf\xa3", "a recording"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"GGUF", "a tensor file"),
    (b"\x1f\x9d", "a compressed file"),
    (b"\x04\x22\x4d\x18", "a compressed file"),
)
_OPAQUE = (
    (b"%PDF", "a PDF"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0", "an Office file of before 2007"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)


class Source:
    """A file that is read once, and must not change meanwhile. Use it in a `with` block.

    Raises:
        UnreadablePart: it is no plain file, too large, missing, forbidden, or changed meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.raw = b""
        self.digest = ""
        self.attributes: list[FilePart | UnreadablePart] = []
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._refuse(os.lstat(self.path))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags)
            try:
                self._before = os.fstat(self._descriptor)
                self._refuse(self._before)
                with os.fdopen(os.dup(self._descriptor), "rb") as file:
                    self._read(file)
                self.attributes = list(_attributes(self._descriptor))
            except BaseException:
                os.close(self._descriptor)
                raise
        except FileNotFoundError:
            raise UnreadablePart("is gone") from None
        except PermissionError:
            raise UnreadablePart("may not be read: permission denied") from None
        except OSError as error:
            raise UnreadablePart(f"cannot be read: {error.strerror}") from None
        except ValueError:
            raise UnreadablePart("has a name that no file can have") from None
        return self

    def _read(self, file: BinaryIO) -> None:
        """Read the whole file; of a tensor file keep the header, for its numbers are no text."""
        self.raw = file.read(8)
        if (length := int.from_bytes(self.raw, "little")) < LARGEST:
            self.raw += file.read(length)
        if not tables.is_tensor_head(self.raw):
            if (size := self._before.st_size) > LARGEST:
                raise UnreadablePart(f"{size:,} bytes: too large to be looked into")
            self.raw += file.read(LARGEST + 1 - len(self.raw))
        total, self._size = hashlib.sha256(self.raw), len(self.raw)
        while piece := file.read(_PIECE):
            total.update(piece)
            self._size += len(piece)
        self.digest = total.hexdigest()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.raw = b""
        os.close(self._descriptor)

    def check(self) -> None:
        """Raise UnreadablePart where the file changed while it was read."""
        after = os.fstat(self._descriptor)
        before = self._before
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if not same or self._size != after.st_size:
            raise UnreadablePart("changed while it was read")

    def _refuse(self, about: os.stat_result) -> None:
        for is_one, what in _KINDS:
            if is_one(about.st_mode):
                to = f" to {_shown(os.readlink(self.path))}" if what.endswith("link") else ""
                raise UnreadablePart(f"{what}{to}: not followed or read")
        if about.st_size > _SPARSE and about.st_blocks * 512 * 8 < about.st_size:
            raise UnreadablePart(
                f"sparse: {about.st_blocks * 512:,} bytes of {about.st_size:,} exist"
            )


def _attributes(descriptor: int) -> Iterator[FilePart | UnreadablePart]:
    """The extended attributes of a file, where the system has them: names and values."""
    if not hasattr(os, "listxattr"):
        return
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        # A file system without attributes reports an error.
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.ENOSYS):
            yield UnreadablePart(f"its attributes cannot be read: {error.strerror}")
        return
    for name in names:
        where = f"attribute {name}"
        try:
            raw = os.getxattr(descriptor, name)
        except OSError as error:
            yield UnreadablePart(f"{where} cannot be read: {error.strerror}")
            continue
        if name.startswith("user."):
            # Any program may have put it there.
            yield from parts_in(Blob(where, raw, ".txt"))
        yield FilePart(
            where, "line", text_rows(f"{name}\n{readable(raw)}"), flowing=True, aside=True
        )


def parts_of(source: Source) -> Iterator[FilePart | UnreadablePart]:
    """The parts of a file, and the reasons for what could not be read."""
    wal = Path(f"{source.path}-wal")
    if source.raw.startswith(tables.SQLITE) and wal.exists() and wal.stat().st_size > 0:
        yield UnreadablePart(
            "its last changes lie in a write-ahead log: close what uses it, look again"
        )
    yield from source.attributes
    yield from parts_in(
        Blob("", source.raw, suffix_of(source.path.name), budget=Budget.of(len(source.raw)))
    )


def parts_in(blob: Blob) -> Iterator[FilePart | UnreadablePart]:
    """The parts of some bytes, which may be a member of a container."""
    raw = blob.raw
    if blob.depth:
        yield FilePart(blob.name, "name", (Row(1, (blob.name,)),), flowing=True, aside=True)
    if not raw:
        return
    try:
        reader = _reader(blob)
        if reader is not None:
            yield from reader(blob, parts_in)
            if reader not in _RAW:
                yield replace(_strings(blob, clear=True), aside=True)
            return
        for start, what in _CLOSED:
            if raw.startswith(start):
                yield UnreadablePart(f"{blob.where}{what}, which is not looked into")
                return
        for start, what in _OPAQUE:
            if raw.startswith(start):
                yield UnreadablePart(f"{blob.where}{what}: only text in clear was looked at")
                yield _strings(blob)
                return
        readings = decoded(raw)
        if readings:
            yield from texts.text_parts(blob, readings, parts_in)
            encoded = ((blob.name or "encoded", one) for one in encoded_in(readings[0].text))
            yield from spelt_members(blob, encoded, parts_in)
            return
        if len(raw) > 2048 and min(entropy(raw[:65536]), entropy(raw[-65536:])) > _SECRET:
            yield UnreadablePart(f"{blob.where}compressed or encrypted in a way that is not known")
            return
        yield UnreadablePart(
            f"{blob.where}a binary of no known kind: only text in clear was looked at"
        )
        yield _strings(blob)
    except UnreadablePart as error:
        yield UnreadablePart(f"{blob.where}{error}")
    except BROKEN as error:
        yield UnreadablePart(f"{blob.where}is damaged ({type(error).__name__})")
        yield _strings(blob)


def _reader(
    blob: Blob,
) -> Callable[[Blob, Inner], Iterator[FilePart | UnreadablePart]] | None:
    raw = blob.raw
    for start, reader in (*tables.READERS, *containers.READERS):
        if raw.startswith(start):
            return reader
    if raw[257:262] == b"ustar":
        return containers.tar_parts
    if raw[:1] == b"\x80" and raw[1:2] in b"\x02\x03\x04\x05" and raw.rstrip(b"\n").endswith(b"."):
        return containers.pickle_parts
    if is_zlib(raw):
        return containers.zlib_parts
    if tables.is_safetensors(raw):
        return tables.safetensors_parts
    return None


# The readers of these kinds find text in clear themselves, or name the rest of the file.
_RAW = (
    tables.parquet_parts,
    tables.sqlite_parts,
    tables.safetensors_parts,
    containers.pickle_parts,
)


def _strings(blob: Blob, *, clear: bool = False) -> FilePart:
    rows = text_rows(readable(blob.raw, clear=clear))
    return FilePart(blob.name, "run of text", rows, flowing=True)


def _shown(name: str) -> str:
    """A name that can be printed, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")
