"""Decode bytes as text in any encoding, and decide whether they are text at all."""

from __future__ import annotations

import codecs
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np

_MARKS = (
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
_SAMPLE = 1024
_EAST = frozenset(
    ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH")
)
_EAST_HIGH = bytes([0, 0x20, *range(0x2E, 0xA0), *range(0xAC, 0xD8), 0xF9, 0xFA, 0xFF])
_LEGACY = {
    "LATIN": ("cp1250", "iso8859_2", "cp1254", "cp1257", "mac_roman", "cp850", "cp852"),
    "CYRILLIC": ("cp1251", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic"),
    "GREEK": ("cp1253", "iso8859_7"),
    "HEBREW": ("cp1255",),
    "ARABIC": ("cp1256", "iso8859_6"),
    "THAI": ("cp874",),
    "EAST": ("gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949"),
}
"""Encodings from before Unicode, by the script that they were made for: docs name them."""
_SEVEN_BITS = (
    (b"\x1b$", "iso2022_jp_2004"),
    (b"~{", "hz"),
    (b"+", "utf_7"),
)
_MISREAD = (
    *(("cp1252", True), ("cp1250", True), ("cp850", True), ("mac_roman", True)),
    *(("cp1251", False), ("koi8_r", False), ("cp1253", False)),
)
"""Encodings as which UTF-8 is misread; whether one misread letter alone can be no real word."""
_LONE = b"\xc2\xc3\xc4\xc5\xe2"
_UNSPACED = ("EAST", "THAI")
_CUT, _LEAST_SAID = 4, 28
_LONG_WORD, _LONGEST_WORD, _FEWEST, _LINES = 25, 60, 3, 48
_USUAL = {"CYRILLIC": frozenset("оеаинтсрвл"), "GREEK": frozenset("αοιετσνηυρ")}
_SHARE, _AS_USUAL, _MANY_LETTERS = 0.55, 0.7, 60
_SIGNS = frozenset("’‘“”„«»‹›–—…·•°№©®™€£§¿¡º†※、。「」")
FOLDED = r"(?:^|[\r\n])(?:\xef\xbb\xbf|\ufeff)?[ \t>]*+(?:BEGIN:V[A-Z]|dn::?[ \t]*[a-z])"
"""First lines, in any case, of calendars, address books and directories, which break lines anywhere
and inside words and letters too (RFC 5545, 3.1; RFC 6350, 3.3; RFC 2849)."""
_FOLDED = re.compile(FOLDED.replace(r"|\ufeff", "").encode(), re.IGNORECASE)
_FOLD = re.compile(rb"(?:\r\n?|\n)[ \t]")
_HIGH, _ASCII = re.compile(rb"[\x80-\xff]"), re.compile(rb"[\x00-\x7f]")
_BEFORE, _PIECE = 200, 600
_BEYOND = re.compile(r"[^\W\d_a-zA-Z]+")
_LETTERS, _SCRIPT, _MIXED, _INSIDE = 0.75, 0.9, 0.2, 0.1
_PLAIN = bytes(range(128))
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
        text: the text without a byte order mark.
        encoding: the encoding that gives the bytes back, after `mark`; None where none does.
        mark: the byte order mark.
    """

    text: str
    encoding: str | None
    mark: bytes = b""


def decoded(raw: bytes) -> list[Decoded]:
    """The possible readings of bytes, the likeliest first; none where they are no text.

    >>> decoded("Gràcia".encode())[0].encoding, decoded("això".encode("cp1252"))[0].text
    ('utf-8', 'això')
    >>> decoded("Where does Ana live?".encode("utf-16-be"))[0].encoding
    'utf-16-be'
    """
    if raw.startswith(codecs.BOM_UTF8):
        text = _strictly(raw[len(codecs.BOM_UTF8) :], "utf-8")
        if text is not None:
            return [Decoded(text, "utf-8", codecs.BOM_UTF8)]
    if wide := widely(raw):
        return wide
    text = _strictly(raw, "utf-8")
    if text is not None:
        if _is_text(text[:_HEAD]):
            return [Decoded(text, "utf-8"), *_seven_bits(raw)]
        return _wide_guesses(raw)
    wide = _wide_guesses(raw)
    if not _may_be_text(raw):
        return wide
    readings = [_by_line(raw)]
    if _FOLDED.search(raw) and (whole := plainly(_FOLD.sub(b"", raw))) is not None:
        # Lines may have been broken inside a letter.
        readings.insert(0, Decoded(whole, None))
    for name in _guesses(raw):
        read = _read(raw, name) or Decoded(raw.decode(name, errors="replace"), None)
        if all(read.text != other.text for other in readings):
            readings.append(read)
    return readings + wide


def plainly(raw: bytes) -> str | None:
    """Decode bytes as UTF-8, with a letter cut at either end; None where they are none, or have
    further readings in the seven bits of old mail."""
    if any(sign in raw for sign, name in _SEVEN_BITS if name != "utf_7"):
        return None
    text = _strictly(raw, "utf-8")
    if text is None and len(raw) > _CUT:
        # A letter may be cut where the bytes begin or end.
        begin = next((i for i in range(_CUT) if raw[i] & 0xC0 != 0x80), 0)
        ends = (_strictly(raw[begin : len(raw) - i], "utf-8") for i in range(_CUT))
        text = next((text for text in ends if text), None)
    return text


def decoded_once_more(text: str) -> str:
    r"""Repair a text in which UTF-8 was read as a one-byte encoding.

    >>> decoded_once_more("GrÃ\xa0cia\nÐ\x90Ð½Ð½Ð°\ncaf├®\nЕё"), decoded_once_more("РђРЅРЅР°")
    ('Gràcia\nАнна\ncafé\nЕё', 'Анна')
    """
    for encoding, lone in _MISREAD:
        pattern, codes = _misreading(encoding)
        pieces, at = [], 0
        for match in pattern.finditer(text):
            if match.start() >= at:
                begin = text.rfind("\n", at, match.start()) + 1 or at
                end = text.find("\n", match.end())
                end = len(text) if end < 0 else end
                pieces += [text[at:begin], _reread(text[begin:end], pattern, codes, lone)]
                at = end
        text = "".join([*pieces, text[at:]])
    return text


@cache
def _misreading(encoding: str) -> tuple[re.Pattern[str], dict[str, int]]:
    """The pattern of UTF-8 misread in an encoding, and the byte of each character."""
    codes = {chr(byte): byte for byte in range(0x80, 0xA0)}
    for byte in range(0x80, 0x100):
        # Programs pass bytes through that the encoding leaves undefined.
        codes[bytes([byte]).decode(encoding, errors="ignore") or chr(byte)] = byte
    within, *leads = (
        "".join(re.escape(c) for c, byte in codes.items() if low <= byte < high)
        for low, high in ((0x80, 0xC0), (0xC2, 0xE0), (0xE0, 0xF0), (0xF0, 0xF5))
    )
    said = "|".join(f"[{lead}][{within}]{{{n}}}" for n, lead in enumerate(leads, 1))
    return re.compile(rf"(?<![^\x00-\x7f])(?:{said})++(?![^\x00-\x7f])"), codes


def _reread(line: str, pattern: re.Pattern[str], codes: dict[str, int], lone: bool) -> str:
    meant: dict[str, str] = {}
    runs = pattern.findall(line)
    for run in runs:
        raw = bytes(codes[c] for c in run)
        text = _strictly(raw, "utf-8")
        if text is not None:
            meant[run] = text
            lone = lone and (len(raw) > 2 or raw[0] in _LONE)
    beyond = sum(c > "\x7f" for c in line)
    # One letter may be a real word; several, or all letters of a line, are not.
    several = any(len(text) > 1 for text in meant.values())
    whole = len(runs) > 1 and sum(len(r) for r in runs if r in meant) == beyond
    if not (lone or several or whole):
        return line
    return pattern.sub(lambda run: meant.get(run[0], run[0]), line)


def readable(raw: bytes, *, clear: bool = False) -> str:
    """Text in clear among bytes that are no text: runs of six letters or more.

    Args:
        raw: the bytes.
        clear: whether a reader knows the file's format: then letters beyond ASCII count only in
            UTF-8 or inside a word, for half of compressed bytes would look like text.
    """
    pieces: list[str] = []
    if len(raw.translate(None, CONTROL_BYTES)) < _LEAST:
        return ""
    for match in (_CLEAR if clear else _NARROW).finditer(raw):
        text = _strictly(match[0], "utf-8")
        pieces.append(match[0].decode("cp1252", errors="replace") if text is None else text)
    pieces += [match[0].decode("utf-16-le") for match in _WIDE.finditer(raw)]
    return "\n".join(pieces)


def widely(raw: bytes) -> list[Decoded]:
    """Decode UTF-16 and UTF-32, recognised by their mark, zeros, or spaces between words."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            text = _strictly(raw[len(mark) :], encoding)
            if text is not None and _is_text(text[:_HEAD]):
                return [Decoded(text, encoding, mark)]
    if b"\x00" not in raw:
        return []
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
    read = [_read(raw, name) for name in found]
    return [d for d in read if d is not None and _is_text(d.text[:_HEAD])]


def may_say(raw: bytes) -> bool:
    """A quick test whether bytes that are no UTF-8 may still be a record: few digests pass."""
    if len(raw) < _LEAST_SAID:
        return False
    if len(raw.translate(None, CONTROL_BYTES)) < len(raw):
        return _may_be_wide(raw)
    high = len(raw.translate(None, _PLAIN))
    spaced = raw.count(b" ") * _LONG_WORD >= len(raw)
    return high == 0 or spaced or high * 4 >= len(raw) * 3


def _may_be_wide(raw: bytes) -> bool:
    """A quick test whether bytes can be UTF-16 or UTF-32: the first, or the last, of each two has
    few values, or values of Han, kana and Hangul."""
    if len(raw) % 2:
        return False
    for highs in (raw[1 : 2 * _SAMPLE : 2], raw[: 2 * _SAMPLE : 2]):
        other = len(highs.translate(None, _EAST_HIGH))
        if 10 * other <= len(highs) or len(set(highs)) * 3 <= len(highs):
            return True
    return False


def _wide_guesses(raw: bytes) -> list[Decoded]:
    """Decode UTF-16 without zeros or spaces: the readings with letters of almost one script."""
    head = raw[:_HEAD]
    if _printed(head) >= 0.7 or b"\x00\x00" in head or not _may_be_wide(raw):
        return []
    read = [_read(raw, name) for name in ("utf-16-le", "utf-16-be")]
    return [d for d in read if d is not None and _is_text(d.text) and _is_of_one_script(d.text)]


def _printed(raw: bytes) -> float:
    return 1 - len(raw.translate(None, bytes(range(32, 127)))) / len(raw)


def _by_line(raw: bytes) -> Decoded:
    """Decode each line as UTF-8 or else as Windows-1252: programs mix them in one file."""
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
    """Other encodings in which some line that is no UTF-8 would have letters of one script."""
    lines = [piece for piece in _high_pieces(raw) if _strictly(piece, "utf-8") is None]
    # Most bytes of a non-Latin script are high; few of Latin.
    foreign = [line for line in lines if 2 * len(line.translate(None, _PLAIN)) > len(line)]
    some = {line for these in (foreign, lines) for line in these[:: len(these) // _LINES + 1]}
    found = {name for line in some for name in _likely(line)}
    return [name for names in _LEGACY.values() for name in names if name in found]


def _high_pieces(raw: bytes) -> Iterator[bytes]:
    """Lines with bytes beyond ASCII; of long lines, pieces that begin and end beside ASCII."""
    at = 0
    while (match := _HIGH.search(raw, at)) is not None:
        begin = max(at, match.start() - _BEFORE, raw.rfind(b"\n", at, match.start()) + 1)
        end = raw.find(b"\n", match.start(), match.start() + _PIECE)
        if end < 0:
            after = _ASCII.search(raw, match.start() + _PIECE)
            end = after.start() if after is not None else len(raw)
        yield raw[begin : min(end, match.start() + 2 * _PIECE)]
        at = end


def _likely(line: bytes) -> Iterator[str]:
    """Encodings that a line may be in; for a long line, those with enough usual letters."""
    read = [
        (name, script, text)
        for script, names in _LEGACY.items()
        for name in names
        if _reads(text := line.decode(name, errors="replace"), script)
    ]
    usual = [_usual(text, script) for _, script, text in read]
    many = len(line.translate(None, _PLAIN)) >= _MANY_LETTERS
    least = _AS_USUAL * max(usual, default=0.0) if many else 0.0
    return (name for (name, _, _), share in zip(read, usual, strict=True) if share >= least)


def _usual(text: str, script: str) -> float:
    """The share of the script's ten most frequent letters, 1 for the usual share."""
    if script not in _USUAL:
        return 1.0
    letters = [c for c in text.lower() if _script(c) == script]
    return min(1.0, sum(c in _USUAL[script] for c in letters) / (_SHARE * len(letters)))


def _reads(text: str, script: str) -> bool:
    """Whether a text reads as one script: beyond ASCII only its letters, in words without other
    letters and without capitals inside; in Latin, most letters are ASCII."""
    beyond, of = _scripts(text)
    count = of[script]
    runs = _BEYOND.findall(text) if script not in _UNSPACED else ()
    broken = text.count("\ufffd")
    if broken > _CUT and broken * 50 > beyond:
        return False
    if count < _LETTERS * beyond or max(map(len, runs), default=0) > _LONGEST_WORD:
        return False
    if script == "LATIN":
        return 0 < 2 * count <= sum(map(str.isalpha, text))
    mixed = sum((a < "\x80") != (b < "\x80") for a, b in pairwise(text) if _are_letters(a, b))
    inside = sum(a.islower() and b.isupper() for a, b in pairwise(text))
    return count >= _FEWEST and mixed <= _MIXED * count and inside <= _INSIDE * count


def _scripts(text: str) -> tuple[int, Counter[str]]:
    """The number of characters beyond ASCII, without signs that any text may have, and the number
    of letters among them by script."""
    beyond = [c for c in text if c > "\x7f" and not c.isspace() and c not in _SIGNS]
    return len(beyond), Counter(map(_script, beyond))


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """The script as in Unicode's names; "EAST" for Han, kana and Hangul; "" for no letter."""
    first = unicodedata.name(character, "").partition(" ")[0]
    if first in _EAST:
        return "EAST"
    return first if unicodedata.category(character)[0] in "LM" else ""


def _are_letters(one: str, other: str) -> bool:
    return unicodedata.category(one)[0] in "LM" and unicodedata.category(other)[0] in "LM"


def _is_of_one_script(text: str) -> bool:
    beyond, of = _scripts(text[:_SAMPLE])
    del of[""]
    return beyond > 0 and of.total() > 0 and of.most_common(1)[0][1] >= _SCRIPT * beyond


def _seven_bits(raw: bytes) -> Iterator[Decoded]:
    """The readings of ASCII in the encodings of old mail."""
    for sign, name in _SEVEN_BITS:
        if sign in raw:
            text = _strictly(raw, name)
            if text is not None and _is_of_one_script(text):
                yield Decoded(text, name if _gives_back(text, name, raw) else None)


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
    """Whether many control characters lie together somewhere in the bytes, as in packed data.

    A tenth of packed or encrypted bytes are controls; a text has few, and apart.
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
    """Entropy in bits a byte: some thousand bytes above 7.5 are compressed or encrypted.

    >>> entropy(bytes(range(256)))
    8.0
    """
    counts = [count for b in range(256) if (count := raw.count(b))]
    return sum(c / len(raw) * math.log2(len(raw) / c) for c in counts)
