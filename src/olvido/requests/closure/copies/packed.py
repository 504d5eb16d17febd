"""What is packed in a cell of a table, or written in letters in a text: bytes to read in turn."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from olvido.requests.closure.copies.escapes import ENCODED
from olvido.requests.closure.copies.parts import Blob, Inner, Part, Unreadable

_SHORT = 64
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}){24,}")
_SAFE = str.maketrans("-_", "+/")
_STARTS = (
    *(b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"SQLite format 3"),
    *(b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"\x93NUMPY", b"7z\xbc\xaf", b"Rar!", b"%PDF"),
    *(b"\xd0\xcf\x11\xe0", b"\x89HDF", b"GGUF", b"\x04\x22\x4d\x18"),
)


class Packed:
    """The cells of a table that are bytes and no plain text, or say such bytes in letters."""

    def __init__(self) -> None:
        self._cells: list[tuple[str, bytes]] = []

    def note(self, value: Any, name: str = "") -> None:
        """Keep those of a row, however deep they lie, with what their column is called."""
        if isinstance(value, bytes):
            if not is_plain(value):
                self._cells.append((name, value))
        elif isinstance(value, str):
            self._cells += [(name, raw) for raw in encoded_in(value)]
        elif isinstance(value, Mapping):
            for key, one in value.items():
                self.note(one, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list | tuple):
            for one in value:
                self.note(one, name)

    def parts(self, blob: Blob, inner: Inner) -> Iterator[Part | Unreadable]:
        """What they hold; of those that cannot be read the first is named."""
        yield from members(blob, self._cells, inner)


def members(
    blob: Blob, found: Iterable[tuple[str, bytes]], inner: Inner
) -> Iterator[Part | Unreadable]:
    """What some bytes in a file hold; of those that cannot be read the first is named.

    Args:
        blob: the file.
        found: each with what it is called.
        inner: reads any bytes.
    """
    told = False
    for name, raw in found:
        for part in inner(blob.member(name, raw, "")):
            if not isinstance(part, Unreadable):
                yield part
            # Digests, keys and the like are short, and say nothing.
            elif not told and len(raw) > _SHORT:
                told = True
                yield part


def is_plain(raw: bytes) -> bool:
    """Whether bytes are text in UTF-8, in no other encoding and not packed."""
    try:
        return _CONTROL.search(raw.decode()) is None
    except UnicodeDecodeError:
        return False


def is_zlib(raw: bytes) -> bool:
    """Whether bytes begin as zlib packs: two that fit together, and what can be unpacked."""
    if raw[:1] != b"\x78" or int.from_bytes(raw[:2]) % 31:
        return False
    try:
        return bool(zlib.decompressobj().decompress(raw[:4096], 64))
    except zlib.error:
        return False


def encoded_in(text: str) -> Iterator[bytes]:
    """What stands in a text in base64 or in hexadecimal digits, and is of a kind that packs."""
    if len(text) < _SHORT // 2:
        return
    if "\\" in text:
        text = text.replace("\\r", "").replace("\\n", "\n").replace("\\/", "/")
    seen: set[bytes] = set()
    safe = text.translate(_SAFE)
    for one in dict.fromkeys((text, safe)):
        for match in ENCODED.finditer(one):
            letters = "".join(match[0].split()).rstrip("=")
            letters = letters[: len(letters) - (len(letters) % 4 == 1)]
            raw = base64.b64decode(letters + "=" * (-len(letters) % 4))
            if _packs(raw) and raw not in seen:
                seen.add(raw)
                yield raw
    for match in _HEX.finditer(text):
        raw = bytes.fromhex(match[0])
        if _packs(raw) and raw not in seen:
            seen.add(raw)
            yield raw


def _packs(raw: bytes) -> bool:
    head = int.from_bytes(raw[:8], "little")
    tensors = raw[8:9] == b"{" and 2 <= head <= len(raw) - 8
    return raw.startswith(_STARTS) or tensors or raw[257:262] == b"ustar" or is_zlib(raw)
