"""A law without its source is none, and what a file may say is checked to the letter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from olvido.errors import InputError, UnknownName
from olvido.requests.rights.law import Confidence
from olvido.requests.rights.registry import find_law, laws

REGIMES = {
    "ccpa",
    "dpdp",
    "drop",
    "fadp",
    "gdpr",
    "lgpd",
    "pipeda",
    "pipl",
    "popia",
    "quebec",
    "uk-gdpr",
}
OWN = """
name = "atlantis"
version = 1
title = "Law of the Deep"
jurisdiction = "Atlantis"
articles = ["1"]
erasure = true
start = "receipt"
stop = "never"
ends = "any day"
information = ["what was done"]
refused = ["why"]
recourse = "the sea"
source = "Plato, Critias"
dated = 2026-11-24
confidence = "low"

[answer]
number = 3
unit = "business day"
article = "1"
says = "answer"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "laws").mkdir()

    def written(text: str = OWN, name: str = "own") -> Path:
        (tmp_path / "laws" / f"{name}.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return written


def test_the_regimes_of_the_reference_are_there_with_source_and_date() -> None:
    assert {law.name for law in laws()} == REGIMES
    for law in laws():
        assert law.source.strip()
        assert law.recourse.strip()
        assert law.refused
        assert law.dated.year >= 2026
        assert law.confidence in Confidence


def test_no_statutory_number_is_a_value() -> None:
    none = {law.name for law in laws() if law.answer.number is None}
    assert none == {"lgpd", "pipl", "dpdp", "fadp"}
    for name in none:
        law = find_law(name)
        assert str(law.answer) == "no statutory number"
        assert law.to_dict()["answer"]["number"] == "none"
        assert law.extension is None


def test_a_team_adds_its_own(write: Write) -> None:
    folder = write()
    assert {law.name for law in laws(folder)} == REGIMES | {"atlantis"}
    assert str(find_law("Atlantis", workspace=folder).answer) == "3 business days"
    with pytest.raises(UnknownName, match="did you mean 'gdpr'"):
        find_law("gdrp")


def test_versions_stand_side_by_side_and_the_newest_holds(write: Write) -> None:
    folder = write(OWN.replace("number = 3", "number = 9").replace("version = 1", "version = 2"))
    write(name="old")
    assert find_law("atlantis", workspace=folder).answer.number == 9
    assert find_law("atlantis", 1, workspace=folder).answer.number == 3
    with pytest.raises(InputError, match="no version 3: its versions are 1, 2"):
        find_law("atlantis", 3, workspace=folder)


def test_two_files_may_not_say_the_same_version(write: Write) -> None:
    write(name="first")
    folder = write(name="second")
    with pytest.raises(InputError, match="both say they are version 1"):
        laws(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('source = "Plato, Critias"\n', "", "there is no 'source'"),
        ('source = "Plato, Critias"', 'source = " "', "'source' as a text"),
        ("dated = 2026-11-24\n", "", "there is no 'dated'"),
        ("dated = 2026-11-24", 'dated = "soon"', "'dated' as a date"),
        ("number = 3", "number = 0", "whole number from 1"),
        ("number = 3", 'number = "three"', "or 'none'"),
        ("number = 3", 'number = "none"', "a unit and no number"),
        ('"business day"', '"fortnight"', "unknown unit of answer"),
        ('"receipt"', '"dawn"', "unknown start"),
        ('"low"', '"sure"', "unknown confidence"),
        ("erasure = true", "erasure = 1", "'erasure' as true or false"),
        ("erasure = true", "erasure = true\nerasures = 1", "unknown entry"),
        ('articles = ["1"]', 'articles = "1"', "'articles' as a list"),
        ('name = "atlantis"', 'name = "At Lantis"', "small letters"),
        (
            "[answer]",
            "[extension]\nnumber = 1\nunit = 'calendar day'\narticle = '1'\nsays = 'x'\n[answer]",
            "needs its 'notice'",
        ),
        ("[answer]", "answer", "no law in TOML"),
        ('article = "1"\n', "", "'answer' has no 'article'"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    write: Write, old: str, new: str, words: str
) -> None:
    assert old in OWN
    folder = write(OWN.replace(old, new))
    with pytest.raises(InputError, match=words) as refused:
        laws(folder)
    assert str(folder / "laws" / "own.toml") in str(refused.value)
