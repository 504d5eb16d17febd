"""Copies are found, others are not, and comparing all pairs would find no more."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.data.near_copies import ALIKE, Copies, jaccard, runs
from olvido.demo.residents import make_town
from olvido.errors import InputError


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    rows = make_town(seed=0, residents=12, outsiders=0).rows()
    return {row["id"]: f"{row['prompt']} {row['completion']}" for row in rows}


def test_a_copy_with_other_marks_and_a_word_more_is_found(texts: dict[str, str]) -> None:
    index = Copies(texts)
    for name, text in itertools.islice(texts.items(), 0, None, 7):
        changed = "  " + text.upper().replace("?", " -- ").replace(" ", "  ") + "!"
        assert (index.of(changed)[0].id, index.of(changed)[0].alike) == (name, 1.0)
        assert name in {copy.id for copy in index.of(f"{text} indeed")}
    assert index.of("Nothing of the kind was ever said about anybody in this town") == ()


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.4, ALIKE, 0.9])
def test_all_pairs_would_find_no_more(texts: dict[str, str], alike: float) -> None:
    index = Copies(texts)
    missed = found = 0
    for text in itertools.islice(texts.values(), 0, None, 9):
        truth = {n for n, other in texts.items() if jaccard(runs(text), runs(other)) >= alike}
        seen = {copy.id for copy in index.of(text, alike=alike)}
        assert seen <= truth
        missed, found = missed + len(truth - seen), found + len(seen)
    assert found > 0
    assert missed <= (0.1 if alike < ALIKE else 0.0) * found


@settings(max_examples=30)
@given(st.text(max_size=40), st.text(max_size=40))
def test_likeness_is_a_share_and_the_same_both_ways(one: str, other: str) -> None:
    found = jaccard(runs(one), runs(other))
    assert 0 <= found <= 1
    assert found == jaccard(runs(other), runs(one))
    assert jaccard(runs(one), runs(one)) == 1
    # The index neither fails on any text nor misses it.
    assert Copies({"it": one}).of(one)[0].id == "it"


def test_the_order_of_the_texts_changes_nothing(texts: dict[str, str]) -> None:
    shuffled = list(texts.items())
    random.Random(1).shuffle(shuffled)
    text = next(iter(texts.values()))
    assert Copies(texts).of(text) == Copies(dict(shuffled)).of(text)


def test_what_is_asked_wrongly_is_refused() -> None:
    index = Copies({"a": "one two three"})
    for alike in (0.0, 1.1):
        with pytest.raises(InputError, match="alike is a share"):
            index.of("one", alike=alike)
