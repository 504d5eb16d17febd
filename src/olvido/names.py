"""How people's names are written: spellings of one name, forms in texts, and similar names.

Nothing here knows a key. `olvido.ledger.identity` digests these forms.

Normalisation: texts that spell the same have one form, whatever keyboard or program wrote them.

Names are digested and copies are searched in this form, so both find a person who is written with
another apostrophe, without accents, in full-width digits or with characters that nobody sees.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from operator import eq, itemgetter

TITLES = frozenset(
    # English, Spanish, Catalan, German, French, Italian, Portuguese, Dutch; already folded.
    "mr mrs ms miss mx dr prof professor doctor sir dame rev mister "
    "sr sra srta don dona doctora profesor profesora senor senora senorita "
    "senyor senyora sta mn herr frau fraulein dipl-ing ing mme mlle mgr monsieur madame "
    "mademoiselle docteur sig signor signora signorina dott dottor dottoressa "
    "dra profa senhor senhora dhr mevr mevrouw meneer".split()
)
_PARTICLES = frozenset(
    "a al af av d da dal das de degli dei del della den der des di do dos du e el i la las le les "
    "li lo los of och ou san santa st ten ter the und van vom von y zu zum zur ben bin bint ibn "
    "abu".split()
)
_SUFFIXES = frozenset(
    "jr sr jnr snr junior senior filho ii iii iv phd md dds msc bsc esq "
    "inc ltd llc llp plc gmbh".split()
)
# A name has letters and separators; a text with digits or other signs is an id.
_ID = re.compile(r"[\d@_/\\:;|#=+*%&<>(){}\[\]\"~^$!?]")
# "ana.soler" is an account, "j.r.puig" is a name with its initials' points.
_ACCOUNT = re.compile(r"[^\W\d_]{2,}[.·][^\W\d_]")
_LIGATURE = re.compile(r"(?<![^\W\d_])l·")
_COMMA = re.compile(r"[,،]")
_LEADING, _TRAILING = re.compile(r"^[\s.,،]+"), re.compile(r"[\s.,،]+$")


@lru_cache(maxsize=16)
def canonical_name(text: str) -> str:
    """The form in which two usual spellings of one person's name, or of one id, are equal.

    It is `olvido.names.fold` and, for names (not ids), further: "Surname, First" is
    "First Surname"; a title at the front, points of initials, and a point or comma at the end do
    not count. An e-mail address, an account or anything with digits is folded and left as it is.
    Titles are dropped only where two words of a name remain: "Don Draper" is somebody called Don.

    >>> canonical_name("Puig i Ferrer, Dra. Núria")
    'nuria puig i ferrer'
    >>> canonical_name("Dr. J.R. O’Neill"), canonical_name("Ana.Soler@Example.org.")
    ("j r o'neill", 'ana.soler@example.org.')
    """
    folded = fold(text)
    if folded.replace(" ", "").isalpha():
        return " ".join(_untitled(folded.split()))
    if _is_id(folded):
        return folded
    pointless = _LIGATURE.sub("l ", folded).replace(".", " ")
    bare = _TRAILING.sub("", _LEADING.sub("", pointless))
    parts = [" ".join(part.split()) for part in _COMMA.split(bare)]
    if len(parts) > 1 and _is_suffix(parts[-1]):
        parts[-2:] = [f"{parts[-2]} {parts[-1]}"]
    if len(parts) == 2 and all(parts):
        parts.reverse()
        parts = [" ".join(parts)]
    return " ".join(_untitled(", ".join(parts).split())) or folded


def _untitled(said: list[str]) -> list[str]:
    """Words of a name without titles at their front."""
    while said and said[0] in TITLES and _names(said[1:]) >= 2:
        del said[0]
    return said


def _is_id(folded: str) -> bool:
    if _ID.search(folded):
        return True
    return " " not in folded and _ACCOUNT.search(folded) is not None and "l·l" not in folded


def _is_suffix(part: str) -> bool:
    return all(word in _SUFFIXES for word in part.split())


def _names(said: list[str]) -> int:
    """How many words are names, and neither particles nor suffixes."""
    return sum(word not in _PARTICLES and word not in _SUFFIXES for word in said)


def name_forms(name: str) -> frozenset[tuple[str, ...]]:
    """The runs of words under which a text names this person.

    The whole name; surname first; without middle names or second surnames; with apostrophes and
    hyphens and without; an e-mail address whole, and what stands before its @ where that is two
    words or more. Never one word alone, unless it has digits, as an account has: first names are
    common, and a text with one is not about this person.

    >>> sorted(name_forms("Núria Puig i Ferrer"))[0:2]
    [('ferrer', 'nuria'), ('nuria', 'ferrer')]
    >>> sorted(name_forms("Aoife O'Brien"))[0:2]
    [('aoife', 'o', 'brien'), ('aoife', 'obrien')]
    >>> name_forms("Ana"), name_forms("member-7741")
    (frozenset(), frozenset({('member', '7741')}))
    """
    canonical = canonical_name(name)
    if "@" in canonical:
        found = {tuple(words(canonical)), tuple(words(canonical.partition("@")[0]))}
    elif _is_id(canonical):
        found = {tuple(words(canonical))}
    else:
        found = set()
        for said in _orders(canonical.split()):
            found.add(tuple(part for word in said for part in words(word)))
            found.add(tuple("".join(words(word)) for word in said))
    return frozenset(form for form in found if len(form) > 1 or _is_account(form))


def whole_forms(name: str) -> frozenset[tuple[str, ...]]:
    """The runs of `name_forms` with every part of a name: a part alone may name somebody else.

    >>> sorted(whole_forms("Aoife O'Brien"))[:2]
    [('aoife', 'o', 'brien'), ('aoife', 'obrien')]
    """
    forms = name_forms(name)
    letters = max((len("".join(form)) for form in forms), default=0)
    return frozenset(form for form in forms if len("".join(form)) == letters)


def loose_forms(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Keys by which similar names are found, which may or may not be the same person's.

    Spaces, hyphens and apostrophes, doubled letters and ae, oe, ue for umlauts do not count; nor
    does what order two names stand in, which further names are left out, and whether the first is
    an initial.

    Returns:
        Keys to store of a name, and keys to search for; two names are near where a stored key of
            one is a search key of the other.
    """
    canonical = canonical_name(name)
    if "@" in canonical:
        canonical = " ".join(words(canonical.partition("@")[0]))
    for sign in _JOINED:
        canonical = canonical.replace(sign, "")
    said = _sound(canonical).split()
    telling = [word for word in said if word not in _PARTICLES and word not in _SUFFIXES]
    first, *others = telling[:_MOST] or [""]
    whole = [f"&{first} {other}" if first < other else f"&{other} {first}" for other in others]
    whole.append("=" + _sound("".join(said)))
    initial = first[:1]
    own, opposite = ("i", "f") if len(first) == 1 else ("f", "i")
    kept, sought = ([f"{side}{initial} {other}" for other in others] for side in (own, opposite))
    return frozenset(whole + kept), frozenset(whole + sought)


_JOINED = "-'·._"
_MOST = 6
_DIGRAPH, _DOUBLED = re.compile("([aou])e"), re.compile(r"([^\W\d_])\1+")


def _sound(letters: str) -> str:
    # A function takes half the time that a template takes, and most names have no doubled letter.
    shortened = _DIGRAPH.sub(itemgetter(1), letters)
    if any(map(eq, shortened, shortened[1:])):
        return _DOUBLED.sub(itemgetter(1), shortened)
    return shortened


def _orders(said: list[str]) -> list[list[str]]:
    """A name's words as they may stand in a text, whole or shortened."""
    first, rest = said[:1], [word for word in said[1:] if word not in _SUFFIXES]
    found = [said, first + rest, rest + first]
    for at, word in enumerate(rest):
        if word in _PARTICLES:
            continue
        # A surname may have particles before it: "de la Cruz".
        since = at
        while since and rest[since - 1] in _PARTICLES:
            since -= 1
        for surname in ([word], rest[since : at + 1]):
            found += [first + surname, surname + first]
    # An initial alone with a surname may be anybody's.
    whole = (said, first + rest)
    return [o for o in found if o in whole or (len(o[0]) > 1 and len(o[-1]) > 1)]


def _is_account(form: tuple[str, ...]) -> bool:
    return len(form) == 1 and any(c.isdigit() for c in form[0]) and len(form[0]) > 3


_APOSTROPHES = "'’‘‛ʼʻʹ′`´＇׳ꞌ"
_HYPHENS = "-‐‑‒–—―−﹘﹣－⁃־᠆"
_DOTS = "··‧∙⋅•・"
# Not seen at all, though not of the category of format characters.
_FILLERS = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0)
_UNSEEN = frozenset([*_FILLERS, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
# One Arabic letter that Persian and Arabic keyboards write with two characters; a bare line.
_ARABIC = {**{ord(a): b for a, b in zip("یىکەہ", "ييكهه", strict=True)}, ord("ـ"): None}
_SAME = {
    **dict.fromkeys(map(ord, _APOSTROPHES), "'"),
    **dict.fromkeys(map(ord, _HYPHENS), "-"),
    **dict.fromkeys(map(ord, _DOTS), "·"),
    # Letters with a stroke or a hook have no decomposition; many people write the plain letter.
    **{ord(a): b for a, b in zip("øłđħŧıðþŋæœ", "o l d h t i d th n ae oe".split(), strict=True)},
    **_ARABIC,
    **dict.fromkeys(_UNSEEN, None),
}
# Classes of combining characters: marks over a letter; points of Hebrew and Arabic.
_OVERLAY, _POINTS = 1, range(10, 36)
_GEMINATE = re.compile(r"(?<=l)[.·](?=l)")
# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, Tai, Balinese, kana, Yi,
# Javanese, Han and its extensions; and what ends sentences or parts names in them.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f"
_SPACELESS += "\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u9fff\ua000-\ua4cf\ua980-\ua9ff"
_SPACELESS += "\uaa60-\uaadf\uf900-\ufaff\U00020000-\U0003ffff"
_STOPS = "\u0e4f\u0e5a\u0e5b\u104a-\u104f\u17d4-\u17d6\u17d8-\u17da\u1aa0-\u1aa6\u1aa8-\u1aad"
_STOPS += "\u1b5a-\u1b60\u30a0\u30fb\ua9c1-\ua9cd\ua9de\ua9df\uaade\uaadf"
# Vowel signs of Indian scripts stand inside words, which Python's \w does not know.
_INSIDE = "\u0900-\u0963\u0966-\u0dff"
_LETTER = rf"(?:[^\W_{_SPACELESS}]|[{_INSIDE}])"
_WORD = re.compile(rf"(?![{_STOPS}])[{_SPACELESS}]|{_LETTER}(?:{_LETTER}|\u00b7(?=l))*")
_ALONE = re.compile(f"[{_SPACELESS}]")


def fold(text: str) -> str:
    """The form in which two spellings of one text are equal.

    Compatibility forms, case, accents, vowel points, typographic apostrophes, hyphens and middle
    dots, digits of other scripts, white space and characters that are not seen make no difference.
    Signs that are letters of their script (of Thai, Devanagari, kana and others) stay. Folding what
    is folded changes nothing.

    >>> fold("  Aoife O’BRIEN\\u00ad ") == fold("aoife o'brien")
    True
    >>> fold("Núria  Puigdomènech, ٣٢"), fold("Marceŀla") == fold("Marcel·la")
    ('nuria puigdomenech, 32', True)
    """
    if text.isascii():
        seen = text
        if not text.isprintable():
            seen = "".join(c for c in text if c.isprintable() or c.isspace())
        plain = " ".join(seen.lower().replace("`", "'").split())
        return _GEMINATE.sub("·", plain) if "l.l" in plain else plain
    before, after = None, text
    while after != before:
        before = after
        # Apostrophes first: some decompose to a space with an accent, which would be lost.
        spread = unicodedata.normalize("NFKD", after.translate(_SAME)).casefold()
        kept = map(_plain, unicodedata.normalize("NFKD", spread).translate(_SAME))
        whole = unicodedata.normalize("NFC", "".join(kept))
        after = _GEMINATE.sub("·", " ".join(whole.split()))
    return after


def words(text: str) -> list[str]:
    """The words of a text in their folded form, without separators.

    Of a script that writes without spaces, every character is a word: a run of words finds a name
    in the middle of a line.

    >>> words("L’Hospital d’en Pau,\\n12-B"), words("住在北京")
    (['l', 'hospital', 'd', 'en', 'pau', '12', 'b'], ['住', '在', '北', '京'])
    """
    return split(fold(text))


def split(text: str) -> list[str]:
    """The words of a text, with case and accents."""
    if text.isascii() and text.replace(" ", "").isalnum():
        # Most names, in a tenth of the time.
        return text.split()
    return _WORD.findall(text)


def measured(said: Sequence[str]) -> float:
    """How many words these would be in a script with spaces: there, two characters make one.

    >>> measured(words("Yes, I do.")), measured(words("是的，我接受。"))
    (3.0, 2.5)
    """
    return sum(0.5 if _ALONE.fullmatch(word) else 1.0 for word in said)


def unseen(text: str) -> str:
    """A text without invisible characters: joiners, marks of direction, fillers."""
    return "".join(c for c in text if ord(c) not in _UNSEEN and unicodedata.category(c) != "Cf")


def as_read(text: str) -> str:
    """A text as a reader takes it: with accents, without marks that no reader spells.

    These marks are points of Hebrew and Arabic, and a line or a frame drawn through or around
    characters. The two forms of an Arabic letter become one; digits become those of ASCII.

    >>> as_read("مُحَمَّد"), as_read("José ٤٢"), as_read("4\u20e3")
    ('محمد', 'José 42', '4')
    """
    return text if text.isascii() else "".join(map(_read, text.translate(_ARABIC)))


def _read(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    order = unicodedata.combining(character)
    drawn = category == "Me" or order == _OVERLAY
    return "" if drawn or order in _POINTS else character


@lru_cache(4096)
def _plain(character: str) -> str:
    """A character in its plain form: an ASCII digit, or nothing for an accent or invisible one."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Mn":
        # Accents of Latin, Greek and Cyrillic; points of Hebrew and Arabic. Not vowels of Thai or
        # Devanagari, nor the marks of kana, which make another letter.
        order = unicodedata.combining(character)
        return "" if order in _POINTS or order >= 200 else character
    if category in ("Cf", "Cc", "Cs"):
        return " " if character.isspace() else ""
    return character
