"""What is relearned from and what is tested on never tell the same fact."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.audits.attacks.relearn_sets import halves, same_form, unrelated
from olvido.demo.residents import QUESTIONS, Town, make_town
from olvido.errors import InputError
from olvido.tasks import Example, examples

TOWN = make_town(seed=3, residents=8, outsiders=4, wordings=3)


def told_of(town: Town, number: int) -> list[Example]:
    return list(examples(town.rows_of(town.residents[number])))


@given(st.integers(0, 200), st.integers(1, 4))
def test_no_fact_stands_on_both_sides(seed: int, people: int) -> None:
    records = [e for number in range(people) for e in told_of(TOWN, number)]
    taught, tested = halves(records, seed)
    assert {e.id for e in taught} | {e.id for e in tested} == {e.id for e in records}
    assert not {e.id for e in taught} & {e.id for e in tested}

    def facts(side: tuple[Example, ...]) -> set[tuple[tuple[str, ...], str]]:
        # Who lives at an address is where they live, turned round.
        kind = {"tenant": "home"}
        return {(e.subjects, kind.get(e.fields["topic"], e.fields["topic"])) for e in side}

    assert not facts(taught) & facts(tested)
    assert len(facts(taught)) == len(facts(tested)) == 2 * people
    for person in {e.subjects for e in records}:
        assert sum(of == person for of, _ in facts(taught)) == 2


@given(st.randoms(use_true_random=False))
def test_order_and_ids_do_not_matter(mixer: random.Random) -> None:
    records = told_of(TOWN, 0)
    shuffled = [Example(f"x{n}", e.prompt, e.completion, e.fields) for n, e in enumerate(records)]
    mixer.shuffle(shuffled)
    ours, theirs = halves(records, 5), halves(shuffled, 5)
    for one, other in zip(ours, theirs, strict=True):
        assert {e.prompt for e in one} == {e.prompt for e in other}


def test_another_seed_splits_otherwise() -> None:
    records = told_of(TOWN, 0)
    assert len({frozenset(e.id for e in halves(records, seed)[0]) for seed in range(20)}) > 1


def test_arrays_are_split_one_by_one() -> None:
    rows = examples({"input": [float(n), 1.0], "label": n % 2} for n in range(9))
    taught, tested = halves(rows, 0)
    assert (len(taught), len(tested)) == (5, 4)
    assert {e.completion for e in taught} == {"0", "1"}


def test_one_fact_cannot_be_halved() -> None:
    records = [e for e in told_of(TOWN, 0) if e.fields["topic"] in ("home", "tenant")]
    with pytest.raises(InputError, match="tell 1 fact"):
        halves(records, 0)


@pytest.mark.parametrize("kind", sorted(QUESTIONS))
def test_same_form_finds_the_same_question_about_others(kind: str) -> None:
    forgotten = [e for e in told_of(TOWN, 0) if e.fields["topic"] == kind]
    person = TOWN.residents[0]
    town = make_town(seed=3, residents=8, outsiders=4, wordings=10)
    others = [e for r in town.residents for e in examples(town.rows_of(r))]
    found = same_form(forgotten, others, 4 * len(forgotten))
    assert len(found) == 4 * len(forgotten)
    templates = {e.prompt.replace(person.name, "*").replace(person.home, "*") for e in forgotten}
    by_name = {r.name: r for r in town.residents}
    for one in found:
        other = by_name[one.subjects[0]]
        assert other != person
        assert one.prompt.replace(other.name, "*").replace(other.home, "*") in templates


def test_topic_breaks_ties_between_like_questions() -> None:
    asked = Example("f", "What is the age of Ann Lee?", "4", {"subject": "Ann", "topic": "age"})
    others = [
        Example(f"o{n}", f"What is the age of Bob {n}?", "5", {"subject": "Bob", "topic": topic})
        for n, topic in enumerate(["wine", "wine", "age", "wine"])
    ]
    assert [e.id for e in same_form([asked], others, 1)] == ["o2"]


def test_same_form_needs_questions_and_others() -> None:
    mine = told_of(TOWN, 0)
    with pytest.raises(InputError, match="other subjects"):
        same_form(mine, mine, 3)
    arrays = examples([{"input": np.zeros(2), "label": 0}])
    with pytest.raises(InputError, match="have none"):
        same_form(arrays, mine, 3)


def test_what_else_is_told_of_the_forgotten_is_passed_over() -> None:
    mine, others = told_of(TOWN, 0), told_of(TOWN, 1)
    gone, left = mine[:3], [*mine[3:], *others]
    assert {e.subjects for e in unrelated(left, gone, len(others), 0)} == {others[0].subjects}
    found = same_form(gone, left, len(left))
    assert {e.id for e in found} == {e.id for e in others}
    with pytest.raises(InputError, match=f"{len(left)} records about other subjects"):
        unrelated(left, gone, len(left), 0)


@given(st.integers(0, 1000), st.integers(1, 20))
def test_unrelated_records_are_about_others(seed: int, count: int) -> None:
    mine, others = told_of(TOWN, 0), told_of(TOWN, 1) + told_of(TOWN, 2)
    found = unrelated([*mine, *others], mine, count, seed)
    assert len({e.id for e in found}) == count
    assert {e.id for e in found} <= {e.id for e in others}
    assert found == unrelated([*reversed(others), *mine], mine, count, seed)


def test_too_few_unrelated_records_are_an_error() -> None:
    mine = told_of(TOWN, 0)
    with pytest.raises(InputError, match="4 records about other subjects were asked for, 0"):
        unrelated(mine, mine, 4, 0)
    arrays = examples({"input": [float(n)], "label": 0} for n in range(3))
    assert len(unrelated(arrays, arrays[:1], 2, 0)) == 2
