"""One person under every usual spelling, and never two people under one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.ledger.identity import Key
from olvido.names import canonical_name, fold, split, words

KEY = Key(1, bytes(range(32)))
names = st.text(st.characters(exclude_categories=["Cs"]))
near_names = st.text(st.sampled_from("anl.·,'’- DrMJ1@éŀ\u200b"), max_size=14)

ONE = [
    ("Ana Soler", "ANA SOLER"),
    ("Ana Soler", "  Ana   Soler\t"),
    ("Ana Soler", "Ana\u00a0Soler"),
    ("Ana Soler", "Ana\u202fSoler"),
    ("Núria Puig", "Nu\u0301ria Puig"),
    ("Núria Puig", "Nuria Puig"),
    ("Begoña Ruíz", "Begona Ruiz"),
    ("Hans Müller", "Hans Muller"),
    ("STRASSER", "straßer"),
    ("ﬁona Glynn", "FIONA GLYNN"),
    ("Aoife O'Brien", "Aoife O’Brien"),
    ("Aoife O'Brien", "Aoife O‘Brien"),
    ("Aoife O'Brien", "Aoife O´Brien"),
    ("Aoife O'Brien", "Aoife Oʼbrien"),
    ("Jean-Luc Roca", "Jean\u2010Luc Roca"),
    ("Jean-Luc Roca", "Jean\u2011Luc Roca"),
    ("Jean-Luc Roca", "Jean–Luc Roca"),
    ("Ana Soler", "Soler, Ana"),
    ("Núria Puig i Ferrer", "Puig i Ferrer, Núria"),
    ("Ana Soler", "Ana Soler."),
    ("Ana Soler", "Ana Soler,"),
    ("Ana Soler", "Sra. Ana Soler"),
    ("Ana Soler", "Soler, Dra. Ana"),
    ("Joan Puig", "Don Joan Puig"),
    ("Hans Müller", "Herr Prof. Dr. Hans Müller"),
    ("Jeanne Morel", "Mme Jeanne Morel"),
    ("J. R. O'Neill", "J R O'Neill"),
    ("J. R. O'Neill", "J.R. O’Neill"),
    ("J. L. Lloret", "J.L. Lloret"),
    ("Ana Soler", "A\u034fna Soler"),
    ("Ana Soler", "Ana\ufe0f Soler"),
    ("Ana Soler", "Ana\u200b So\u00adler\u2060"),
    ("Marcel·la Vidal", "Marcel.la Vidal"),
    ("Marcel·la Vidal", "Marcel•la Vidal"),
    ("Marceŀla Vidal", "MARCEL·LA VIDAL"),
    ("Resident 12", "Resident ١٢"),
    ("Resident 12", "Resident １２"),
    ("BuzzA@Example.org", "buzza@example.ORG"),
    ("İrem Işık", "irem ışık"),
    ("נועה\u200f כהן", "נועה כהן"),
    ("علی\u200cرضا", "علیرضا"),
    ("علي كريمي", "علی کریمی"),
    ("John Smith Jr", "John Smith, Jr."),
]

TWO = [
    ("Anna Soler", "Ana Soler"),
    ("Hans Müller", "Hans Mueller"),
    ("Joan Puig", "Joan Puigdemont"),
    ("Anne-Marie Roca", "Annemarie Roca"),
    ("Anne-Marie Roca", "Anne Marie Roca"),
    ("Aoife O'Brien", "Aoife OBrien"),
    ("Joan Puig", "Joana Puig"),
    ("Don Draper", "Draper"),
    ("Don Van Vliet", "Van Vliet"),
    ("Dr. Who", "Who"),
    ("Ana Soler", "Soler Ana"),
    ("J. Puig", "Joan Puig"),
    ("ana.soler", "Ana Soler"),
    ("ana.soler@example.org", "anasoler@example.org"),
    ("r-1.", "r-1"),
    ("1,2", "2 1"),
    ("Li, Ma", "Li Ma"),
    ("John Smith Jr", "John Smith"),
]


@pytest.mark.parametrize(("one", "other"), ONE)
def test_a_person_is_one_person_under_the_usual_spellings(one: str, other: str) -> None:
    assert KEY.subject(one) == KEY.subject(other)


@pytest.mark.parametrize(("one", "other"), TWO)
def test_what_may_be_two_people_stays_two(one: str, other: str) -> None:
    assert KEY.subject(one) != KEY.subject(other)


@given(names | near_names)
def test_the_canonical_form_is_its_own(name: str) -> None:
    once = canonical_name(name)
    assert canonical_name(once) == once
    assert canonical_name(fold(name)) == once
    assert canonical_name(f"  {name}\t") == once


@given(names | near_names)
def test_the_words_of_the_canonical_form_stand_there_as_they_are(name: str) -> None:
    assert split(canonical_name(name)) == words(canonical_name(name))


@given(st.text(st.characters(max_codepoint=127)) | near_names.filter(str.isascii))
def test_the_short_way_for_ascii_is_the_long_way(name: str) -> None:
    # A format character is dropped, and forces the long way.
    assert canonical_name(name + "\u200b") == canonical_name(name)


@given(names)
def test_no_name_becomes_nothing(name: str) -> None:
    assert bool(canonical_name(name)) == bool(fold(name))
