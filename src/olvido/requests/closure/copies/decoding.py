"""Bytes as text, whatever encoding wrote them, and whether they are text at all."""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass

import numpy as np

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HEAD = 64 * 1024
_TEXT_ENTROPY = 7.3
_MANY = 1 << 20
_WINDOW, _TOGETHER = 64, 5
_LEAST = 6
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff]")
_EASTERN = re.compile(r"[\n\r -~\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]")
CONTROL_BYTES = bytes([*range(9), *range(14, 27), *range(28, 32), 127])
_CLEAR = re.compile(
    rb"(?:[\x20-\x7e\t\r\n]|[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|(?<=[A-Za-z])[\xc0-\xff](?=[A-Za-z .,\r\n])){6,}"
)
_NARROW = re.compile(rb"[\x20-\x7e\t\r\n\x80-\xff]{6,}")
_WIDE = re.compile(rb"(?:[\x20-\x7e\t\r\n\xa0-\xff]\x00){6,}")


@dataclass(frozen=True, slots=True)
class Decoded:
    """One reading of some bytes.

    Attributes:
        text: without a byte order mark.
        encoding: that gives the bytes back, after `mark`; None where it does not give them back.
        mark: the byte order mark.
    """

    text: str
    encoding: str | None
    mark: bytes = b""


def decoded(raw: bytes) -> list[Decoded]:
    """The readings of bytes that may be right, the likeliest first; none where they are no text.

    >>> decoded("Gràcia".encode())[0].encoding, decoded("això".encode("cp1252"))[0].text
    ('utf-8', 'això')
    >>> decoded("Where does Ana live?".encode("utf-16-be"))[0].encoding
    'utf-16-be'
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            text = _strictly(raw[len(mark) :], encoding)
            if text is not None:
                return [Decoded(text, encoding, mark)]
    wide = _wide(raw)
    if wide:
        return wide
    text = _strictly(raw, "utf-8")
    if text is not None:
        return [Decoded(text, "utf-8")] if _is_text(text[:_HEAD]) else []
    if not _may_be_text(raw):
        return []
    readings = [_by_line(raw)]
    readings += [d for name in _guesses(raw) if (d := _read(raw, name)) is not None]
    return readings


def readable(raw: bytes, *, clear: bool = False) -> str:
    """What stands in clear between bytes that are no text: runs of six letters or more.

    Args:
        raw: the bytes.
        clear: of a file that a reader knows: letters beyond ASCII only where they are UTF-8 or
            stand in a word, for of what is compressed half would look like text.
    """
    pieces: list[str] = []
    if len(raw.translate(None, CONTROL_BYTES)) < _LEAST:
        return ""
    for match in (_CLEAR if clear else _NARROW).finditer(raw):
        text = _strictly(match[0], "utf-8")
        pieces.append(match[0].decode("cp1252", errors="replace") if text is None else text)
    pieces += [match[0].decode("utf-16-le") for match in _WIDE.finditer(raw)]
    return "\n".join(pieces)


def _wide(raw: bytes) -> list[Decoded]:
    """UTF-16 and UTF-32 without a mark: where the zeros stand, or else how the words are apart."""
    head = raw[: _HEAD // 4 * 4]
    if len(head) < 4 or len(raw) % 2:
        return []
    found = []
    zeros = [head[i::4].count(0) / max(len(head[i::4]), 1) for i in range(4)]
    if len(raw) % 4 == 0:
        if zeros[3] > 0.98 and zeros[2] > 0.9:
            found.append("utf-32-le")
        elif zeros[0] > 0.98 and zeros[1] > 0.9:
            found.append("utf-32-be")
    if not found:
        little, big = (zeros[1] + zeros[3]) / 2, (zeros[0] + zeros[2]) / 2
        if little > 0.3 and big < 0.05:
            found.append("utf-16-le")
        elif big > 0.3 and little < 0.05:
            found.append("utf-16-be")
        elif head.count(b"\x20\x00") > len(head) / 60 and b"\x00\x00" not in head:
            found.append("utf-16-le")
        elif head.count(b"\x00\x20") > len(head) / 60 and b"\x00\x00" not in head:
            found.append("utf-16-be")
    if (
        not found
        and _printed(head) < 0.7
        and b"\x00\x00" not in head
        and _strictly(raw, "utf-8") is None
    ):
        # Of scripts without spaces: whichever reading has letters of East Asia almost alone.
        for name in ("utf-16-le", "utf-16-be"):
            text = _strictly(head, name) or ""
            if len(_EASTERN.findall(text)) > 0.85 * len(text):
                found.append(name)
    read = [_read(raw, name) for name in found]
    return [d for d in read if d is not None and _is_text(d.text[:_HEAD])]


def _printed(raw: bytes) -> float:
    return 1 - len(raw.translate(None, bytes(range(32, 127)))) / len(raw)


def _by_line(raw: bytes) -> Decoded:
    """Lines in UTF-8 where they are that, else in Windows-1252: programs mix them in one file."""
    lines = []
    for line in raw.split(b"\n"):
        text = _strictly(line, "utf-8")
        lines.append(_western(line) if text is None else text)
    text = "\n".join(lines)
    return Decoded(text, "cp1252" if _gives_back(text, "cp1252", raw) else None)


def _western(raw: bytes) -> str:
    text = _strictly(raw, "cp1252")
    return raw.decode("latin-1") if text is None else text


def _guesses(raw: bytes) -> list[str]:
    """Other encodings that the bytes may be in."""
    from charset_normalizer import from_bytes

    best = from_bytes(raw[:_HEAD], threshold=0.3).best()
    names = ["mac_roman", "cp850"] if best is None else [best.encoding, "mac_roman", "cp850"]
    return [name for name in dict.fromkeys(names) if name not in ("cp1252", "utf_8", "ascii")]


def _read(raw: bytes, encoding: str) -> Decoded | None:
    text = _strictly(raw, encoding)
    if text is None:
        return None
    return Decoded(text, encoding if _gives_back(text, encoding, raw) else None)


def _gives_back(text: str, encoding: str, raw: bytes) -> bool:
    try:
        return text.encode(encoding) == raw
    except UnicodeEncodeError:
        return False


def _strictly(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _is_text(head: str) -> bool:
    return len(_CONTROLS.findall(head)) * 50 <= len(head)


def _may_be_text(raw: bytes) -> bool:
    head = raw[:_HEAD]
    controls = len(head) - len(head.translate(None, CONTROL_BYTES))
    if controls * 100 > len(head):
        return False
    return entropy(head) < _TEXT_ENTROPY and not _packed_within(raw)


def _packed_within(raw: bytes) -> bool:
    """Whether anywhere in some bytes many controls stand together, as in what is packed.

    A tenth of what is packed or encrypted are controls; a text has few, and apart.
    """
    is_control = np.zeros(256, dtype=np.int32)
    is_control[list(CONTROL_BYTES)] = 1
    for at in range(0, len(raw), _MANY):
        piece = np.frombuffer(raw[at : at + _MANY + _WINDOW], dtype=np.uint8)
        total = np.concatenate([[0], np.cumsum(is_control[piece])])
        if len(piece) > _WINDOW:
            total = total[_WINDOW:] - total[:-_WINDOW]
        if total.max() >= _TOGETHER:
            return True
    return False


def entropy(raw: bytes) -> float:
    """Bits a byte: above 7.5 of some thousand bytes, they are compressed or encrypted.

    >>> entropy(bytes(range(256)))
    8.0
    """
    counts = [count for b in range(256) if (count := raw.count(b))]
    return sum(c / len(raw) * math.log2(len(raw) / c) for c in counts)
