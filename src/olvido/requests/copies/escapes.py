"""Undo the escapes that programs write into texts, to get the words that a person reads."""

from __future__ import annotations

import base64
import binascii
import html
import re
from urllib.parse import unquote_to_bytes

from olvido.requests.copies.decoding import (
    CONTROL_BYTES,
    FOLDED,
    decoded_once_more,
    plainly,
    widely,
)

_ESCAPE = re.compile(
    r"&[#A-Za-z]|\\.|%[0-9A-Fa-f]{2}|=(?:\r?\n|[89A-F][0-9A-F]|3D)|</?[A-Za-z!]"
    rf"|\x1b\[|(?i:{FOLDED})"
)
_BACKSLASH = re.compile(
    r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|U([0-9A-Fa-f]{8})|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))",
    re.DOTALL,
)
_PERCENT = re.compile(r"(?<![^\s%])[^\s%]*(?:%[0-9A-Fa-f]{2}[^\s%]*)+")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": " ", "f": " ", "v": " ", "0": " "}
_BYTES = re.compile(r"(?:\\x[0-9A-Fa-f]{2}){2,}|(?:\\[0-3][0-7]{2}){2,}")
_QUOTED = re.compile(r"(?:=[0-9A-F]{2})+")
_IS_QUOTED = re.compile(r"=(?:\r?\n|[89A-F][0-9A-F]|3D)")
_COLOURS = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]")
_FOLDED = re.compile(FOLDED, re.IGNORECASE)
_FOLD = re.compile(r"(?:\r\n?|\n)[ \t]")
_SOFT = re.compile(r"=\r?\n")
_PAIRS = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_TOKEN = r"[A-Za-z0-9+/_-]{20,}+"
_MARKS = r"(?:\\[nrt]|[^A-Za-z0-9+/_=-]){1,64}+"
JOINT = re.compile(rf"{_MARKS}(?:(?:[+/_-]{{1,3}}|[bBrRuU](?=[\"'])){_MARKS})?+")
"""Separators of two lines of letters: ends of lines, indentation, quote marks, commas."""
ENCODED = re.compile(
    rf"(?<![A-Za-z0-9+/_-]){_TOKEN}(?:{JOINT.pattern}{_TOKEN})*+"
    rf"(?:{JOINT.pattern}(?!--)[A-Za-z0-9+/_-]{{2,19}}+)?+={{0,2}}"
)
"""Possible base64 or hexadecimal digits: letters on one line or several, in a list, quoted."""
_SAFE = str.maketrans("-_", "+/")
_DIGITS = re.compile(r"[0-9A-Fa-f]{48,}+")
HEX = re.compile(r"[0-9A-Fa-f]*+")
_LETTERED = 24
_TAG = re.compile(
    r"""<(/?)([A-Za-z][\w.:-]*+)((?:\s(?:[^<>"']++|"[^"<]*+"|'[^'<]*+'|["'])*+|/)?)>"""
    r"|<!--|-->|<!\[CDATA\[|\]\]>|<[!?]([^<>]*)>"
)
_DECLARED = re.compile(
    r"""doctype html|xml version="1\.\d"(?: encoding="[\w-]{1,12}")?(?: standalone="\w+")?\s*\?""",
    re.IGNORECASE,
)
_NAMES = re.compile(r"""([\w.:-]+)\s*=\s*["']""")
_NAMED = re.compile(r"""["']?\s*[\w.:-]+\s*=\s*["']""")
_INLINE = frozenset(
    "a abbr b bdi bdo big cite code em font i ins kbd mark q r s samp small span strong sub sup t "
    "rpr tt u var wbr lang prooferr rfonts bookmarkstart bookmarkend lastrenderedpagebreak "
    "noproof szcs sz color iCs bcs del rstyle".lower().split()
)
_LINES = frozenset(
    "p br tr li div row table-row h1 h2 h3 h4 h5 h6 dt dd pre item record entry option line-break "
    "section article ul ol table blockquote".split()
)
_DEEP = 4


def unescaped(text: str) -> str:
    r"""The text without its escapes, however many times it was escaped; tags become white space.

    >>> unescaped("l&amp;#39;Hospital de <b>Grà</b>cia, N\\u00faria, a%20la%20dreta")
    "l'Hospital de Gràcia, Núria, a la dreta\t"
    """
    for _ in range(_DEEP):
        before = text
        if "\\/" in text:
            text = text.replace("\\/", "/")
        text = ENCODED.sub(spelt_out, text)
        if text == before and text.isascii() and _ESCAPE.search(text) is None:
            break
        if "\x1b" in text:
            text = _COLOURS.sub("", text)
        if "<" in text:
            text = untagged(text)
        if "&" in text:
            text = html.unescape(text)
        if "\\" in text:
            text = _without_backslashes(text)
        if "%" in text:
            # The decoded text ends where the escaped token ends.
            text = _PERCENT.sub(lambda m: _of_percent(m[0]) + "\t", text)
        if _IS_QUOTED.search(text):
            text = unquoted_printable(text)
        text = unfolded(text)
        if not text.isascii():
            text = decoded_once_more(text)
        if text == before:
            break
    return text


def spelt_out(match: re.Match[str]) -> str:
    """Decode letters of base64 or digits; return the letters where they encode nothing.

    Lines make one text; tokens on the same line are texts by themselves.
    """
    tokens = JOINT.split(match[0])
    whole = "".join(tokens)
    if len(tokens) > 1 and ("\n" in match[0] or "\\n" in match[0]):
        # The next line may begin with a word that is no longer part of it.
        for kept, rest in ((whole, ""), ("".join(tokens[:-1]), f"\n{tokens[-1]}")):
            for raw in bytes_of(kept):
                said = said_in(raw)
                if said is not None:
                    return said + rest
    said_by = [_said_by(token) for token in tokens]
    if not any(said_by):
        return match[0]
    return "\n".join(said or token for said, token in zip(said_by, tokens, strict=True))


def _said_by(token: str) -> str | None:
    return next(filter(None, map(said_in, bytes_of(token))), None)


def bytes_of(letters: str) -> list[bytes]:
    """The bytes that letters may encode: hexadecimal from either of the first two, and base64.

    Digits alone are no base64.
    """
    if len(letters) < _LETTERED:
        return []
    runs = _DIGITS.findall(letters)
    # An even number of digits alone has no letter before it.
    begins = (0,) if runs == [letters] and len(letters) % 2 == 0 else (0, 1)
    found = [
        bytes.fromhex(digits[begin : len(digits) - (len(digits) - begin) % 2])
        for digits in runs
        for begin in begins
    ]
    if not HEX.fullmatch(letters):
        bare = letters.rstrip("=").translate(_SAFE)
        bare = bare[: len(bare) - (len(bare) % 4 == 1)]
        found.append(base64.b64decode(bare + "=" * (-len(bare) % 4)))
    return found


def said_in(raw: bytes) -> str | None:
    """Decode bytes that are surely text: UTF-8, or UTF-16 by its marks and zeros.

    Most base64-like tokens are digests, or words with a sign between them.
    """
    if len(raw.translate(None, CONTROL_BYTES)) == len(raw):
        return plainly(raw)
    return next((reading.text for reading in widely(raw)), None)


def untagged(text: str) -> str:
    r"""Turn markup into text: cells separated by tabs, rows and paragraphs on lines of their own.

    The other content of tags (values of attributes, declarations, anything in angle brackets)
    follows at the end, for it would separate words of a text.

    >>> untagged("<p id='a1'>Plaça <b>del</b> Nord</p><!DOCTYPE x [Bru]>")
    '\nPlaça del Nord\n\na1\nDOCTYPE x [Bru]'
    """
    pieces, at, closed = [], 0, False
    beside: list[str] = []
    for tag in _TAG.finditer(text):
        between = text[at : tag.start()]
        if between:
            pieces.append(between)
            closed = closed and not between.strip()
        at = tag.end()
        said = tag[3] or tag[4]
        if (
            said
            and not _DECLARED.fullmatch(said)
            and (said := _NAMED.sub("\n", said).strip("\n\"'= \t/?"))
        ):
            beside.append(said)
        if tag[2] is None:
            continue
        name = tag[2].rpartition(":")[2].lower()
        if name in _INLINE:
            continue
        # The end of an element that contains others ends a row.
        pieces.append("\n" if name in _LINES or (tag[1] and closed) else "\t")
        closed = bool(tag[1])
    pieces.append(text[at:])
    return "\n".join(["".join(pieces), *beside])


def names_in(text: str) -> set[str]:
    """The names of elements and attributes in a text with markup."""
    found = {
        name for tag in _TAG.finditer(text) for name in (tag[2], *_NAMES.findall(tag[3] or ""))
    }
    return {name for name in found if name}


def unfolded(text: str) -> str:
    """Join the lines that calendars, address books and directories break anywhere, inside words too
    (RFC 5545, 3.1; RFC 2849); any other text is unchanged."""
    return _FOLD.sub("", text) if _FOLDED.search(text) else text


def unquoted_printable(text: str) -> str:
    """Decode quoted-printable, as UTF-8 where it is valid, else as Windows-1252."""
    return _QUOTED.sub(
        lambda m: _said(binascii.unhexlify(m[0].replace("=", ""))), _SOFT.sub("", text)
    )


def _without_backslashes(text: str) -> str:
    # Python's repr of bytes, and octal digits as C, git and Postgres write them.
    text = _BYTES.sub(lambda m: _said(_of_bytes(m[0])), text)
    text = _BACKSLASH.sub(_character, text)
    return _PAIRS.sub(lambda m: m[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _of_percent(token: str) -> str:
    return _said(unquote_to_bytes(token.replace("+", " ")))


def _of_bytes(escapes: str) -> bytes:
    if escapes[1] == "x":
        return bytes.fromhex(escapes.replace("\\x", ""))
    return bytes(int(digits, 8) for digits in escapes[1:].split("\\"))


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3] or match[4]
    if code is None:
        # Text that is no escape may be a path, whose names stay apart.
        return _LETTERS.get(match[5], f" {match[5]}" if match[5].isalpha() else match[5])
    return chr(int(code, 16)) if int(code, 16) < 0x110000 else " "


def _said(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")
