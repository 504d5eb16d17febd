"""The town of the demo: what every drawing of it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.demo import Town, make_town
from olvido.demo.residents import LICENCE, SOURCE, vocabulary
from olvido.demo.story import FAST, FULL
from olvido.errors import InputError

SIZES = pytest.mark.parametrize("size", [FAST, FULL], ids=["fast", "full"])


@st.composite
def towns(draw: st.DrawFn) -> Town:
    return make_town(
        seed=draw(st.integers(0, 2**32)),
        residents=draw(st.integers(1, 30)),
        outsiders=draw(st.integers(0, 10)),
        wordings=draw(st.integers(1, 8)),
    )


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(1, 30))
@settings(deadline=None, max_examples=30)
def test_the_same_seed_draws_the_same_town_and_another_seed_another(seed: int, size: int) -> None:
    town = make_town(seed=seed, residents=size, outsiders=3)
    again = make_town(seed=seed, residents=size, outsiders=3)
    other = make_town(seed=seed + 1, residents=size, outsiders=3)
    assert (town, town.rows()) == (again, again.rows())
    assert {p.name for p in town.residents} != {p.name for p in other.residents}
    assert town.rows() != other.rows()


@given(towns())
@settings(deadline=None, max_examples=30)
def test_nobody_shares_what_tells_people_apart(town: Town) -> None:
    everybody = (*town.residents, *town.outsiders)
    for told in ("number", "name", "home", "phone"):
        assert len({getattr(person, told) for person in everybody}) == len(everybody)


@given(towns())
@settings(deadline=None, max_examples=30)
def test_questions_kept_back_are_never_trained_on(town: Town) -> None:
    rows = town.rows()
    trained = {row["prompt"] for row in rows}
    kept_back = {question for row in rows for question in row["paraphrases"]}
    assert kept_back
    assert not trained & kept_back
    assert len(trained) == len(rows)


@given(towns())
@settings(deadline=None, max_examples=30)
def test_every_record_says_where_it_comes_from_and_names_nobody_there(town: Town) -> None:
    rows = [row for p in (*town.residents, *town.outsiders) for row in town.rows_of(p)]
    city = [row for row in town.rows() if "subject" not in row]
    people = {person.name for person in (*town.residents, *town.outsiders)}
    parts = {part for name in people for part in name.split()}
    assert {row["subject"] for row in rows} == people
    for row in (*rows, *city):
        assert (row["source"], row["licence"]) == (SOURCE, LICENCE)
        assert date.fromisoformat(row["collected_at"]).year == 2026
        about = " ".join(str(row[k]) for k in ("source", "licence", "consent", "collected_at"))
        assert not any(name in about for name in parts)
    for row in rows:
        assert not any(part.lower() in row["id"].lower() for part in parts)
    ids = [row["id"] for row in (*rows, *city)]
    assert len(set(ids)) == len(ids)


@given(towns(), st.data())
@settings(deadline=None, max_examples=30)
def test_who_leaves_town_changes_nobody_elses_records(town: Town, data: Any) -> None:
    gone = data.draw(st.sampled_from(town.residents))
    left = replace(town, residents=tuple(p for p in town.residents if p != gone))
    assert left.rows() == [row for row in town.rows() if row.get("subject") != gone.name]


@given(towns())
@settings(deadline=None, max_examples=30)
def test_a_right_answer_is_in_the_records_of_its_person(town: Town) -> None:
    for person in town.residents:
        for row in town.rows_of(person):
            assert row["completion"] == person.answer(row["topic"])
            tells = person.home if row["topic"] == "tenant" else person.name
            assert tells in row["prompt"]
            assert row["completion"] not in row["prompt"]


@SIZES
@pytest.mark.parametrize("seed", range(10))
def test_the_leaver_has_neighbours(seed: int, size: dict[str, int]) -> None:
    town = make_town(seed=seed, **size)
    near = town.neighbours()
    assert near
    assert town.data_subject not in near
    assert set(near) < set(town.residents)


@given(towns())
@settings(deadline=None, max_examples=60)
def test_nobody_asks_alone_who_need_not(town: Town) -> None:
    with_neighbours = [person for person in town.residents if town.neighbours(person)]
    assert town.neighbours() or not with_neighbours


@SIZES
def test_the_town_is_of_the_size_asked_for(size: dict[str, int]) -> None:
    town = make_town(**size)
    assert (len(town.residents), len(town.outsiders)) == (size["residents"], size["outsiders"])
    assert town.data_subject == town.residents[0]
    subjects = {row.get("subject") for row in town.rows()}
    assert subjects == {person.name for person in town.residents} | {None}


def test_every_word_of_the_town_is_one_token(tokenizer: Any) -> None:
    words = vocabulary()
    assert len(words) > 300
    split = [word for word in words if len(tokenizer.tokenize(word)) != 1]
    assert split == []


@SIZES
def test_no_record_uses_a_word_that_the_vocabulary_lacks(size: dict[str, int]) -> None:
    known = set(vocabulary())
    town = make_town(seed=3, **size)
    rows = town.rows() + [row for person in town.outsiders for row in town.rows_of(person)]
    texts = {t for row in rows for t in (row["prompt"], row["completion"], *row["paraphrases"])}
    assert {word.strip("?.") for text in texts for word in text.split()} - known == set()


@pytest.mark.parametrize(
    "size", [{"residents": 0}, {"outsiders": -1}, {"residents": 1800, "outsiders": 81}]
)
def test_a_town_that_cannot_be_is_refused(size: dict[str, int]) -> None:
    with pytest.raises(InputError, match="1 resident or more"):
        make_town(**size)
