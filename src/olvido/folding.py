"""One text in one form: what spells the same, whatever keyboard, editor or program wrote it.

Names are digested and copies are searched in this form, so both find a person who is written with
another apostrophe, without accents, in full-width digits or with characters that nobody sees.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_APOSTROPHES = "'’‘‛ʼʻʹ′`´＇׳ꞌ"
_HYPHENS = "-‐‑‒–—―−﹘﹣－⁃־᠆"
_DOTS = "··‧∙⋅•・"
# Not seen at all, though not of the category of format characters.
_FILLERS = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0)
_UNSEEN = frozenset([*_FILLERS, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
# One Arabic letter that Persian and Arabic keyboards write with two characters; and a mere line.
_ARABIC = {**{ord(a): b for a, b in zip("یىکەہ", "ييكهه", strict=True)}, ord("ـ"): None}
_SAME = {
    **dict.fromkeys(map(ord, _APOSTROPHES), "'"),
    **dict.fromkeys(map(ord, _HYPHENS), "-"),
    **dict.fromkeys(map(ord, _DOTS), "·"),
    # Letters with a stroke or a hook have no decomposition; who lacks the key writes the plain one.
    **{ord(a): b for a, b in zip("øłđħŧıðþŋæœ", "o l d h t i d th n ae oe".split(), strict=True)},
    **_ARABIC,
    **dict.fromkeys(_UNSEEN, None),
}
# Classes of combining characters: what lies over a letter; points of Hebrew and Arabic.
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
        kept = (_plain(c) for c in unicodedata.normalize("NFKD", spread).translate(_SAME))
        whole = unicodedata.normalize("NFC", "".join(kept))
        after = _GEMINATE.sub("·", " ".join(whole.split()))
    return after


def words(text: str) -> list[str]:
    """The words of a text in their folded form, without what stands between them.

    Of a script that writes without spaces, every character is a word: a run of words finds a name
    in the middle of a line.

    >>> words("L’Hospital d’en Pau,\\n12-B"), words("住在北京")
    (['l', 'hospital', 'd', 'en', 'pau', '12', 'b'], ['住', '在', '北', '京'])
    """
    return split(fold(text))


def split(text: str) -> list[str]:
    """The words of a text as its letters stand, accents and all."""
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
    """A text without the characters that nobody sees: joiners, marks of direction, fillers."""
    return "".join(c for c in text if ord(c) not in _UNSEEN and unicodedata.category(c) != "Cf")


def as_read(text: str) -> str:
    """A text as a reader takes it: the accents stay, and what no reader spells goes.

    That is points of Hebrew and Arabic, a line or a frame drawn through or around characters, and
    which of two Arabic letters a keyboard has; digits are those of ASCII.

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


def _plain(character: str) -> str:
    """A character as it counts: an ASCII digit, nothing for an accent or what is not seen."""
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
