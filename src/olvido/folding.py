"""One text in one form: what spells the same, whatever keyboard, editor or program wrote it.

Names are digested and copies are searched in this form, so both find a person who is written with
another apostrophe, without accents, in full-width digits or with characters that nobody sees.
"""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = "'’‘‛ʼʻʹ′`´＇׳ꞌ"
_HYPHENS = "-‐‑‒–—―−﹘﹣－⁃־᠆"
_DOTS = "··‧∙⋅•・"
# Not seen at all, though not of the category of format characters.
_FILLERS = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0)
_UNSEEN = frozenset([*_FILLERS, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
_SAME = {
    **dict.fromkeys(map(ord, _APOSTROPHES), "'"),
    **dict.fromkeys(map(ord, _HYPHENS), "-"),
    **dict.fromkeys(map(ord, _DOTS), "·"),
    # Letters with a stroke or a hook have no decomposition; who lacks the key writes the plain one.
    **{ord(a): b for a, b in zip("øłđħŧıðþŋæœ", "o l d h t i d th n ae oe".split(), strict=True)},
    # One Arabic letter that Persian and Arabic keyboards write with two characters.
    **{ord(a): b for a, b in zip("یىکەہ", "ييكهه", strict=True)},
    ord("ـ"): None,
    **dict.fromkeys(_UNSEEN, None),
}
_GEMINATE = re.compile(r"(?<=l)[.·](?=l)")
# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, kana, Han and its extensions.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_SPACELESS += "\U00020000-\U0003ffff"
# Vowel signs of Indian scripts stand inside words, which Python's \w does not know.
_INSIDE = "\u0900-\u0963\u0966-\u0dff"
_LETTER = rf"(?:[^\W_{_SPACELESS}]|[{_INSIDE}])"
_WORD = re.compile(rf"[{_SPACELESS}]|{_LETTER}(?:{_LETTER}|\u00b7(?=l))*")


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


def unseen(text: str) -> str:
    """A text without the characters that nobody sees: joiners, marks of direction, fillers."""
    return "".join(c for c in text if ord(c) not in _UNSEEN and unicodedata.category(c) != "Cf")


def _plain(character: str) -> str:
    """A character as it counts: an ASCII digit, nothing for an accent or what is not seen."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Mn":
        # Accents of Latin, Greek and Cyrillic; points of Hebrew and Arabic. Not vowels of Thai or
        # Devanagari, nor the marks of kana, which make another letter.
        order = unicodedata.combining(character)
        return "" if 10 <= order <= 35 or order >= 200 else character
    if category in ("Cf", "Cc", "Cs"):
        return " " if character.isspace() else ""
    return character
