"""What is packed in a cell of a table, or written in letters in a text: bytes to read in turn."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, islice
from typing import Any

from olvido.requests.closure.copies.decoding import decoded, may_say, plainly, readable
from olvido.requests.closure.copies.escapes import ENCODED, HEX, JOINT, bytes_of, said_in
from olvido.requests.closure.copies.parts import Blob, Inner, Part, Unreadable, text_rows

_SHORT = 64
_TENSORS = 100_000_000
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BEGUN = re.compile(
    r"(?<=[+/_-])(?:H4sI|UEs[DF]|Qlpo|/Td6|_Td6|KLUv|U1FM|UEFS|QVJS|k05V|N3q8|UmFy|JVBE|0M8R|R0dV)"
)
"""How what is packed begins in base64, where letters of a path or the like stand before it."""
_HEAD = 400
_MOST = 16
_ARROW_STREAM = b"\xff\xff\xff\xff"
_CLEAR = re.compile(rb"(?:[ -~\t\r\n]|[\xc2-\xf4][\x80-\xbf]{1,3}){16,}+")
_AROUND = 1024
_STARTS = (
    *(b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"SQLite format 3"),
    *(b"PAR1", b"ARROW1", b"\x93NUMPY", b"7z\xbc\xaf", b"Rar!", b"%PDF"),
    *(b"\xd0\xcf\x11\xe0", b"\x89HDF", b"GGUF", b"\x04\x22\x4d\x18"),
)


class Packed:
    """The cells of a table that are bytes and no plain text, or say such bytes in letters."""

    def __init__(self) -> None:
        self._cells: list[tuple[str, bytes]] = []
        self._spelt: list[tuple[str, bytes | str]] = []

    def note(self, value: Any, name: str = "") -> None:
        """Keep those of a row, however deep they lie, with what their column is called."""
        if isinstance(value, bytes):
            if not is_plain(value):
                self._cells.append((name, value))
        elif isinstance(value, str):
            self._spelt += [(name, found) for found in encoded_in(value)]
        elif isinstance(value, Mapping):
            for key, one in value.items():
                self.note(one, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list | tuple):
            for one in value:
                self.note(one, name)

    def parts(self, blob: Blob, inner: Inner) -> Iterator[Part | Unreadable]:
        """What they hold; of those that cannot be read the first is named."""
        yield from members(blob, self._cells, inner)
        yield from spelt_members(blob, self._spelt, inner)


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


def spelt_members(
    blob: Blob, found: Iterable[tuple[str, bytes | str]], inner: Inner
) -> Iterator[Part | Unreadable]:
    """What letters in a file stand for: it belongs to the part that has the letters."""
    clear = []

    def packed() -> Iterator[tuple[str, bytes]]:
        for name, one in found:
            if isinstance(one, str):
                clear.append(one)
            else:
                yield name, one

    for part in members(blob, packed(), inner):
        yield part if isinstance(part, Unreadable) else replace(part, within=not part.aside)
    said = "\n".join(clear)
    yield Part(blob.name, "run of text in letters", text_rows(said), flowing=True, aside=True)


def is_plain(raw: bytes) -> bool:
    """Whether bytes are text in UTF-8, in no other encoding and not packed."""
    text = plainly(raw)
    return text is not None and _CONTROL.search(text) is None


def is_zlib(raw: bytes) -> bool:
    """Whether bytes begin as zlib packs: two that fit together, and what can be unpacked."""
    if raw[:1] != b"\x78" or int.from_bytes(raw[:2]) % 31:
        return False
    try:
        return bool(zlib.decompressobj().decompress(raw[:4096], 64))
    except zlib.error:
        return False


def encoded_in(text: str) -> Iterator[bytes | str]:
    """What stands in a text in base64 or in hexadecimal digits, on however many lines.

    Bytes are what packs, or texts of several lines or of a structure; a text is what stands in
    clear among other bytes. A text on a line is found where that line is read (`unescaped`).
    """
    if len(text) < _SHORT // 2:
        return
    if "\\" in text:
        text = text.replace("\\r", "").replace("\\n", "\n").replace("\\/", "/")
    seen: set[bytes | str] = set()
    for match in ENCODED.finditer(text):
        for found in _spelt(JOINT.split(match[0])):
            if found not in seen:
                seen.add(found)
                yield found


def _spelt(tokens: list[str]) -> Iterator[bytes | str]:
    if len(tokens) > 1 and HEX.fullmatch(tokens[0]) and not HEX.fullmatch(tokens[-1]):
        # A word stands behind the digits.
        tokens = tokens[:-1]
    whole = "".join(tokens)
    raws = bytes_of(whole)
    begins = {0, *accumulate(map(len, tokens[:-1]))}
    begins |= {m.start() for m in _BEGUN.finditer(whole)}
    told = 0
    for begin in sorted(begins):
        heads = bytes_of(whole[begin : begin + _HEAD]) if begin else raws
        for number, head in enumerate(heads):
            if _packs(head):
                told += 1
                if not begin:
                    yield head
                    continue
                # Where every line begins so, none can have all that follows.
                end = None if told <= _MOST else begin + _HEAD
                yield from islice(bytes_of(whole[begin:end]), number, number + 1)
    if told:
        return
    for raw in (*raws, *(bytes_of("".join(tokens[:-1])) if len(tokens) > 1 else ())):
        said = said_in(raw)
        if said is not None:
            told += 1
            if len(tokens) > 1 or "\n" in said or said.lstrip()[:1] in ("{", "[", "<"):
                yield raw
    if told:
        return
    apart = (raw for token in tokens for raw in bytes_of(token)) if len(tokens) > 1 else ()
    yield from (raw for raw in (*raws, *apart) if may_say(raw) and decoded(raw))
    if len(whole) >= _SHORT // 2:
        # What stands before it may have any number of letters.
        rest = (raw for begin in (1, 2, 3) for raw in bytes_of(whole[begin:])[-1:])
        clear = "\n".join(said for raw in (*raws, *rest) for said in _in_clear(raw))
        if clear:
            yield clear


def _in_clear(raw: bytes) -> Iterator[str]:
    """What stands in clear in bytes that are mostly no text, as far as sixteen letters do."""
    begin = end = 0
    for match in _CLEAR.finditer(raw):
        if match.start() > end + _AROUND and end:
            yield readable(raw[begin : end + _AROUND], clear=True)
            end = 0
        begin = begin if end else max(0, match.start() - _AROUND)
        end = match.end()
    if end:
        yield readable(raw[begin : end + _AROUND], clear=True)


def _packs(raw: bytes) -> bool:
    # Of tensors the head may be longer than what is given here.
    tensors = raw[8:9] == b"{" and 2 <= int.from_bytes(raw[:8], "little") <= _TENSORS
    if raw.startswith(_ARROW_STREAM):
        return 0 < int.from_bytes(raw[4:8], "little") <= _TENSORS
    return raw.startswith(_STARTS) or tensors or raw[257:262] == b"ustar" or is_zlib(raw)
