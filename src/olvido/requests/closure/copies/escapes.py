"""Texts as programs write them: escapes undone, so that the words that a person reads are there."""

from __future__ import annotations

import base64
import binascii
import html
import re
from urllib.parse import unquote

from olvido.requests.closure.copies.decoding import CONTROL_BYTES, decoded

_ESCAPE = re.compile(
    r"&[#A-Za-z]|\\.|%[0-9A-Fa-f]{2}|=(?:\r?\n|[89A-F][0-9A-F]|3D)|</?[A-Za-z!]|[ÃÂâ][\x80-ſ€-™]"
)
_BACKSLASH = re.compile(
    r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|U([0-9A-Fa-f]{8})|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))",
    re.DOTALL,
)
_PERCENT = re.compile(r"(?<![^\s%])[^\s%]*(?:%[0-9A-Fa-f]{2}[^\s%]*)+")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": " ", "f": " ", "v": " ", "0": " "}
_BYTES = re.compile(r"(?:\\x[0-9A-Fa-f]{2}){2,}")
_QUOTED = re.compile(r"(?:=[0-9A-F]{2})+")
_IS_QUOTED = re.compile(r"=(?:\r?\n|[89A-F][0-9A-F]|3D)")
_SOFT = re.compile(r"=\r?\n")
_PAIRS = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
ENCODED = re.compile(
    r"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{4}(?:\r?\n)?){6,}(?:[A-Za-z0-9+/]{2,3}={0,2})?"
)
"""What may be base64 of some text: 24 characters or more, on one line or on several."""
_TAG = re.compile(
    r"<(/?)([A-Za-z][\w.:-]*)(?:\s[^<>]*|/)?>|<!--|-->|<!\[CDATA\[|\]\]>|<[!?][^<>]*>"
)
_INLINE = frozenset(
    "a abbr b bdi bdo big cite code em font i ins kbd mark q r s samp small span strong sub sup t "
    "rpr tt u var wbr lang prooferr rfonts bookmarkstart bookmarkend lastrenderedpagebreak "
    "noproof szcs sz color iCs bcs del rstyle".lower().split()
)
_LINES = frozenset(
    "p br tr li div row table-row h1 h2 h3 h4 h5 h6 dt dd pre item record entry option line-break "
    "section article ul ol table blockquote".split()
)
_MOJIBAKE = re.compile(r"[ÃÂâ][\x80-ſ€-™]")
_DEEP = 4


def unescaped(text: str) -> str:
    r"""The text without its escapes, however many times it was escaped; tags become white space.

    >>> unescaped("l&amp;#39;Hospital de <b>Grà</b>cia, N\\u00faria, a%20la%20dreta")
    "l'Hospital de Gràcia, Núria, a la dreta\t"
    """
    for _ in range(_DEEP):
        before = text
        text = ENCODED.sub(lambda m: "\n".join(from_base64(m)) or m[0], text)
        if text == before and _ESCAPE.search(text) is None:
            break
        if "<" in text:
            text = untagged(text)
        if "&" in text:
            text = html.unescape(text)
        if "\\" in text:
            text = _without_backslashes(text)
        if "%" in text:
            # Where the escaped token ends, what it says ends too.
            text = _PERCENT.sub(lambda m: unquote(m[0].replace("+", " ")) + "\t", text)
        if _IS_QUOTED.search(text):
            text = unquoted_printable(text)
        if _MOJIBAKE.search(text):
            text = _once_more_decoded(text)
        if text == before:
            break
    return text


def from_base64(match: re.Match[str]) -> list[str]:
    """What some base64 says, as a whole and line by line; nothing where it is no text."""
    lines = match[0].split()
    found = []
    # What follows on the next line may be a word and no more of it.
    for said in dict.fromkeys(("".join(lines), *(line for line in lines if len(line) >= 24))):
        bare = said.rstrip("=")
        bare = bare[: len(bare) - (len(bare) % 4 == 1)]
        raw = base64.b64decode(bare + "=" * (-len(bare) % 4))
        # Most of what looks like it are digests: they are told from text at once.
        if b"\x00" in raw or raw.translate(None, CONTROL_BYTES) == raw:
            found += [reading.text for reading in decoded(raw)[:1]]
    return found


def untagged(text: str) -> str:
    """Markup as text: cells apart by tabs, rows and paragraphs on lines of their own."""
    pieces, at, closed = [], 0, False
    for tag in _TAG.finditer(text):
        between = text[at : tag.start()]
        if between:
            pieces.append(between)
            closed = closed and not between.strip()
        at = tag.end()
        if tag[2] is None:
            continue
        name = tag[2].rpartition(":")[2].lower()
        if name in _INLINE:
            continue
        # Where an element ends that holds others, a row of them ends.
        pieces.append("\n" if name in _LINES or (tag[1] and closed) else "\t")
        closed = bool(tag[1])
    pieces.append(text[at:])
    return "".join(pieces)


def unquoted_printable(text: str) -> str:
    """Quoted-printable undone, in UTF-8 where that is what it says, else in Windows-1252."""
    return _QUOTED.sub(
        lambda m: _said(binascii.unhexlify(m[0].replace("=", ""))), _SOFT.sub("", text)
    )


def _without_backslashes(text: str) -> str:
    # Python's repr of bytes.
    text = _BYTES.sub(lambda m: _said(binascii.unhexlify(m[0].replace("\\x", ""))), text)
    text = _BACKSLASH.sub(_character, text)
    return _PAIRS.sub(lambda m: m[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3] or match[4]
    if code is None:
        return _LETTERS.get(match[5], match[5])
    return chr(int(code, 16)) if int(code, 16) < 0x110000 else " "


def _said(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _once_more_decoded(text: str) -> str:
    """UTF-8 that was taken for Windows-1252, line by line."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if _MOJIBAKE.search(line):
            try:
                lines[number] = line.encode("cp1252").decode()
            except ValueError:
                continue
    return "\n".join(lines)
