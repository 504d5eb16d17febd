"""Detect ids and sources that look like personal data, and bring their spellings to one form.

No key is used here: `olvido.ledger.identity.Key.pseudonym` digests the results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from string import ascii_letters, digits
from urllib.parse import unquote

from olvido.names import TITLES, canonical_name, fold, split, words

_EMAIL = re.compile(r"[^\s@<>\"',;:/]+@(?:[^\s@/.]+\.)+[^\W\d_]{2,}")
_INTERNATIONAL = re.compile(r"(?<!\w)\+[1-9](?:[ ().-]{0,2}\d){6,13}(?!\d)")
_GROUPED = re.compile(r"(?<![\w.-])\(?\d{2,4}\)?(?:[ .-]{1,2}\d{2,4}){2,4}(?!\d)")
_BARE = re.compile(
    r"(?<![\d.,])(?!20[2-9]\d(?:0[1-9]|1[0-2])[0-3]\d[0-2]\d[0-5]\d(?:[0-5]\d)?(?!\d))\d{9,15}(?!\d)"
    r"(?! ?(?:bytes|tokens|rows|records|steps|parameters|weights)\b)"
)
# Ids and digests that Olvido makes.
_GIVEN_ID = re.compile(r"(?<![^\W_])(?=\d*[a-f])[\da-f]{12,64}(?![^\W_])")
_GROUPS = 9
_DIGITS = re.compile(r"(?:\d.*){4}")
_DATE = re.compile(r"(?:19|20)\d\d[ .-]?[01]\d|[0-3]\d[ .-][01]\d[ .-](?:19|20)\d\d")
# Possessions before a name: "mails of Jane Roe", "Tagebuch von Jane Roe".
_OWNED = re.compile(
    r"\b(?:(?:e-?)?mails?|mailbox|inbox|letters?|messages?|chats?|diary|diaries|notes?|calls?|accounts?|"
    r"profile|posts?|photos?|interviews?|correos?|cartas?|mensajes?|diario|notas?|cartes|missatges|"
    r"briefe?|tagebuch|nachrichten|lettres?|courriels?|journal)"
    r" (?:of|from|by|with|to|de|del|di|von|vom|van)\b"
    r"(?! (?:the|a|an|all|our|my|your|this|these|that|every|public|social) )"
    r"(?: [^\W\d_][\w'.]*){2,}"
)
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_NIE = str.maketrans("XYZ", "012")
_FINNISH = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_NATIONAL: dict[re.Pattern[str], Callable[[str], bool]] = {
    # By form alone: Italy, the United Kingdom, India (PAN).
    re.compile(r"[A-Z]{6}\d{2}[ABCDEHLMPRST]\d{2}[A-Z]\d{3}[A-Z]"): lambda _: True,
    re.compile(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]"): lambda _: True,
    re.compile(r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"): lambda _: True,
    # By form and check digits: Spain, Finland, Sweden, France, China, and accounts (IBAN).
    re.compile(r"[XYZ\d]\d{7}[A-Z]"): lambda s: _DNI[int(s[:-1].translate(_NIE)) % 23] == s[-1],
    re.compile(r"[0-3]\d[01]\d{3}[+A-]\d{3}[\dA-Y]"): lambda s: (
        _FINNISH[int(s[:6] + s[7:10]) % 31] == s[-1]
    ),
    re.compile(r"\d{2}[01]\d[0-3]\d[+-]\d{4}"): lambda s: (
        sum(map(int, "".join(str(int(c) * (2 - i % 2)) for i, c in enumerate(s[:6] + s[7:])))) % 10
        == 0
    ),
    re.compile(r"[1278]\d{2}(?:0[1-9]|1[0-2]|20|3[1-9]|4[0-2])\d{10}"): lambda s: (
        97 - int(s[:13]) % 97 == int(s[13:])
    ),
    re.compile(
        r"\d{6}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dX]"
    ): lambda s: (
        sum(2 ** (17 - i) * (10 if c == "X" else int(c)) for i, c in enumerate(s)) % 11 == 1
    ),
    re.compile(r"(?:NO|BE)\d{13,14}|[A-Z]{2}\d{2}[A-Z\d]{14,30}"): lambda s: (
        sum(map(str.isdigit, s)) > 9
        and int("".join(str(int(c, 36)) for c in s[4:] + s[:4])) % 97 == 1
    ),
}
# Lengths of those numbers.
_LENGTHS = frozenset([9, 10, 11, *range(15, 35)])
_HEXADECIMAL = re.compile(r"(?=[\dA-F]*[A-F])[\dA-F]{2}(?=\d*[A-F])[\dA-F]{12,}")
# An id without any of these has none of the above: one search clears most ids.
_POSSIBLE = re.compile(
    r"[@%+ ]|[^\x20-\x7e]|\d{8}|\d{3}[A-Za-z](?![A-Za-z0-9])|\d{6}[-A-Za-z]\d{3}"
    r"|[A-Za-z]{2}\d\d[A-Za-z0-9]{11}|\d\d\)?[.-]{1,2}\d{2,4}[.-]{1,2}\d\d"
    r"|[A-Za-z][^A-Za-z0-9'.]+[A-Za-z]{2,4}[^A-Za-z0-9'.]+[A-Za-z][\w'.]*[^A-Za-z0-9'.]+[A-Za-z]"
)
# The shapes of national numbers without separators.
_SPREAD = re.compile(rb"(?=.{9,34}$)[0a]*000a|0{15}|0{17}[0a]|0{6}a000[0a]|aa00[0a]{11,30}")
# Two letters or a long number: without them an id names nobody.
_TELLING = re.compile(r"[A-Za-z]{2}|\d{7}|[^\x00-\x7f]")
# All this depends on the positions of letters and digits, in which most ids are alike.
_SHAPE = bytes.maketrans((digits + ascii_letters).encode(), b"0" * 10 + b"a" * 52)
_MOST_SHAPES = 10_000
_shapes: dict[bytes, tuple[bool, bool, bool]] = {}
_APART = re.compile(rb"[_/|:;,]+")
# Norwegian and Belgian accounts have the shape of a counter.
_COUNTED = re.compile(r"(?![A-Za-z]{2}[-.]?\d{13,14}$)[A-Za-z]*[-_:/.]?\d{0,14}")
# Digests, random ids, and the ids that `Key.record_id` gives (a copy's with a counter behind it):
# one in some thousands of those would pass for an account's number.
_DIGEST = re.compile(
    r"(?:\w+:)?[\da-f]{32,}|[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}|r-[\da-f]{16}(?:-\d+)?",
    re.IGNORECASE | re.ASCII,
)
_PLAIN = re.compile(r"[\w/: -]+", re.ASCII)
_LONG = 7


def looks_personal(text: str) -> bool:
    """Whether an id or a source is, or holds, an address, a number or a name of a person.

    It knows e-mail addresses, telephone numbers that are written as such (a country's code, or
    groups of digits), national numbers and bank accounts by their form and check digits, and
    names after a title or after "mails of", "letters of" and the like. A bare number is none.

    >>> [looks_personal(t) for t in ("ana@example.org", "+34 600 123 456", "mails of Jane Roe")]
    [True, True, True]
    >>> [looks_personal(t) for t in ("42", "r-000017", "2025-03-31", "Common Crawl")]
    [False, False, False, False]
    """
    return _shape(text)[2] and _is_one(text)


def _shape(text: str) -> tuple[bool, bool, bool]:
    """Judge an id's shape: may it name somebody, is it written plainly, may it be personal."""
    shape = text.encode().translate(_SHAPE)
    judged = _shapes.get(shape)
    if judged is None:
        possible = not _COUNTED.fullmatch(text) and bool(
            _POSSIBLE.search(text)
            or any(map(_SPREAD.fullmatch, _APART.split(shape.translate(None, b".-"))))
        )
        judged = bool(_TELLING.search(text)), bool(_PLAIN.fullmatch(text)), possible
        if len(_shapes) < _MOST_SHAPES:
            _shapes[shape] = judged
    return judged


def _is_one(text: str) -> bool:
    if _DIGEST.fullmatch(text):
        return False
    seen = fold(unquote(text))
    if _EMAIL.search(seen) or _INTERNATIONAL.search(seen):
        return True
    if _OWNED.search(re.sub(r"[^\w'.]+|_", " ", seen)):
        return True
    if any(_is_telephone(found[0]) for found in _GROUPED.finditer(seen)):
        return True
    first, *rest = seen.split(" ")
    if rest and first.rstrip(".") in TITLES:
        return True
    return _has_national(seen)


def _has_national(seen: str) -> bool:
    whole = seen.upper()
    apart = re.split(r"[\s_/|:;,]+", whole)
    parts = {*re.split(r"[\s_/|:;,.-]+", whole), *apart}
    parts |= {re.sub(r"[\s.-]", "", part) for part in (*apart, whole)}
    return any(map(_is_national, parts))


def holds_number(text: str) -> bool:
    """Whether a text that people wrote contains somebody's address or number.

    It detects those of `looks_personal` anywhere, in groups too, and takes every bare number of 9
    to 15 digits for one. Days, amounts and times are none.

    >>> [holds_number(t) for t in ("ring 600123456", "(ana@example.org)", "her NIE: X 1234567 L")]
    [True, True, True]
    >>> [holds_number(t) for t in ("since 2026-11-30 14:05", "12,500 rows of 3", "to legal")]
    [False, False, False]
    """
    seen = fold(unquote(text))
    if _EMAIL.search(seen) or _INTERNATIONAL.search(seen):
        return True
    if _BARE.search(_GIVEN_ID.sub(" ", seen)):
        return True
    if any(_is_telephone(f[0]) and not _is_counted(f[0]) for f in _GROUPED.finditer(seen)):
        return True
    said = re.split(r"[\s,;:!?()\[\]{}<>\"']+", unquote(text))
    # In groups only in capitals: "on 201126 a letter came" has the form of a British number.
    runs = (
        " ".join(said[at : at + length]).rstrip(".")
        for at in range(len(said))
        for length in range(1, min(_GROUPS, len(said) - at) + 1)
    )
    return any(
        _has_national(fold(run))
        for run in runs
        if _DIGITS.search(run) and (" " not in run or run == run.upper())
    )


def _is_counted(found: str) -> bool:
    """Whether groups of digits are an IP address, years, amounts, or consecutive numbers."""
    groups = re.findall(r"\d+", found)
    numbers = [int(group) for group in groups]
    if found.count(".") == 3 == len(groups) - 1 and max(numbers) < 256:
        return True
    if all(1900 <= n < 2100 and len(g) == 4 for n, g in zip(numbers, groups, strict=True)):
        return True
    if re.fullmatch(r"\d+\.\d\d(?:[ -]\d+\.\d\d)*(?:[ -]\d+)?", found):
        return True
    return all(after - n == 1 for n, after in pairwise(numbers))


def _is_telephone(found: str) -> bool:
    """Whether groups of digits are no date and no counter."""
    groups = re.findall(r"\d+", found)
    if not 9 <= sum(map(len, groups)) <= 13 or _DATE.match(found):
        return False
    return not all(group.startswith("0") for group in groups)


def _is_national(number: str) -> bool:
    if len(number) not in _LENGTHS or _HEXADECIMAL.fullmatch(number):
        return False
    return any(form.fullmatch(number) and check(number) for form, check in _NATIONAL.items())


def canonical_id(text: str) -> str:
    """The canonical form of an address, number or name, equal for its usual spellings.

    >>> canonical_id("+34 600-123-456") == canonical_id("tel:+34600123456")
    True
    >>> canonical_id(" ANA@Example.org") == canonical_id("mailto:ana@example.org")
    True
    """
    seen = fold(unquote(text)).removeprefix("mailto:").removeprefix("tel:").strip()
    if _INTERNATIONAL.fullmatch(seen) or _GROUPED.fullmatch(seen):
        number = re.sub(r"\D", "", seen)
        return f"+{number.removeprefix('00')}" if seen.startswith(("+", "00")) else number
    number = re.sub(r"[\s.-]", "", seen.upper())
    return number if _is_national(number) else canonical_name(seen)


class Naming:
    """Detects ids and sources that name one of some people, by the names in clear.

    >>> Naming(["Jane Roe"]).in_text("mails/ROE_Jane-3")
    True
    >>> Naming(["Ana"]).in_text("banana-3"), Naming(["Ana"]).in_text("ana-3")
    (False, True)
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names: list[list[str]] = []
        self._runs: set[str] = set()
        for name in names:
            canonical = canonical_name(name)
            parts = (canonical, canonical.partition("@")[0]) if "@" in canonical else (canonical,)
            for said in map(split, parts):
                whole = "".join(said)
                # A short number in a name would be found in every other id.
                if len(whole) > 1 and not (whole.isdigit() and len(whole) < _LONG):
                    self._names.append(said)
        self._first = [said[0] for said in self._names]

    def _know(self, said: list[str]) -> None:
        """Keep a name's words: rotated, the first and the last alone, and in one word."""
        for order in (said, said[1:] + said[:1], [said[0], said[-1]], [said[-1], said[0]]):
            joined = "".join(order)
            self._runs |= {f" {' '.join(order)} ", f" {joined} "}
            if joined.isalpha() and len(said) > 1 and len(joined) >= _LONG:
                self._runs.add(joined)

    def personal(self, text: str) -> bool:
        """Whether the text names one of the people, or looks personal in any case."""
        telling, plain, possible = _shape(text)
        if telling:
            lower = text.lower() if plain else ""
            for first in self._first:
                # This runs for every id: most have no part of a name.
                if (not plain or first in lower) and self.in_text(text):
                    return True
        return possible and _is_one(text)

    def in_text(self, text: str) -> bool:
        """Whether the text has the words of a name, or one word made of them."""
        while self._names:
            self._know(self._names.pop())
        said = words(unquote(text).replace("_", " "))
        spread, joined = f" {' '.join(said)} ", "".join(said)
        return any(run in (spread if run[0] == " " else joined) for run in self._runs)
