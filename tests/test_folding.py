"""Two spellings of one text fold to one form; two texts do not."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.names import fold, words

SAME = {
    "case": ("BuzzA@Example.org", "buzza@example.ORG"),
    "apostrophe": ("Aoife O'Brien", "Aoife O’Brien"),
    "accent for an apostrophe": ("Aoife O´Brien", "aoife o`brien"),
    "hyphen": ("Anne-Marie Roca", "Anne‐Marie Roca"),
    "no-break hyphen": ("Anne-Marie Roca", "Anne\u2011Marie Roca"),
    "no-break space": ("Ana\u00a0Soler", "Ana Soler"),
    "sharp s": ("Strauß", "STRAUSS"),
    "Turkish": ("İrem Işık", "irem ışık"),
    "geminate": ("Marcel·la", "MARCEL·LA"),
    "geminate letter": ("Marceŀla", "Marcel·la"),
    "geminate point": ("Marcel.la", "Marcel·la"),
    "right-to-left mark": ("נועה\u200f כהן", "נועה כהן"),
    "joiner": ("علی\u200cرضا", "علیرضا"),
    "Persian letters": ("علي كريمي", "علی کریمی"),
    "accents": ("Núria Puigdomènech", "Nuria Puigdomenech"),
    "decomposed": ("Núria", unicodedata.normalize("NFD", "Núria")),
    "stroke": ("Søren Łukasz", "Soren Lukasz"),
    "digits": ("flat ٣٢", "flat 32"),
    "full width": ("Ａｎａ　１２", "ana 12"),
    "vowel points": ("מֹשֶׁה", "משה"),
    "variation selector": ("Ana\ufe0f", "Ana"),
    "grapheme joiner": ("An\u034fa", "Ana"),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME.keys())
def test_one_text_in_two_spellings(pair: tuple[str, str]) -> None:
    assert fold(pair[0]) == fold(pair[1])


@pytest.mark.parametrize(
    "pair",
    [
        ("か", "が"),
        ("กิน", "กัน"),
        ("कि", "कु"),
        ("Ana", "Anna"),
        ("Ana Soler", "Anasoler"),
        ("각", "가"),
    ],
)
def test_two_texts_stay_two(pair: tuple[str, str]) -> None:
    assert fold(pair[0]) != fold(pair[1])


@given(st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_gives_what_the_long_way_gives(text: str) -> None:
    assert fold(text + "\u200b") == fold(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Marcel·la_Roca's e-mail", ["marcel·la", "roca", "s", "e", "mail"]),
        ("นาย สมชาย", list("นาย") + list("สมชาย")),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("山田太郎 12", ["山", "田", "太", "郎", "12"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(alphabet=" aBz09-'_`@l"))
def test_the_short_way_to_plain_words_is_the_long_way(text: str) -> None:
    assert words(text) == re.findall("[a-z0-9]+", text.lower())


@given(st.text())
def test_words_are_folded(text: str) -> None:
    assert words(fold(text)) == words(text)
