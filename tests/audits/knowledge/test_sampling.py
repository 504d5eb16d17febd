"""leak@k: its estimate by counting all draws, its draws on a model that half knows."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.audits.knowledge.sampling import draw, hits, leak, leak_at, overlaps
from olvido.audits.scoring import ScoredModel
from olvido.errors import InputError
from olvido.tasks import Example, Labels


@given(st.integers(1, 8), st.data())
def test_leak_at_k_is_the_mean_over_all_ways_to_draw_k(samples: int, data: st.DataObject) -> None:
    hit = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    answers = [True] * hit + [False] * (samples - hit)
    ways = [any(chosen) for chosen in combinations(answers, k)]
    assert leak_at([hit], samples, k) == [pytest.approx(np.mean(ways))]


@given(st.integers(1, 60), st.data())
def test_more_answers_never_leak_less(samples: int, data: st.DataObject) -> None:
    hit = data.draw(st.integers(0, samples))
    curve = [leak_at([hit], samples, k)[0] for k in range(1, samples + 1)]
    assert curve == sorted(curve)
    assert curve[0] == pytest.approx(hit / samples)
    assert curve[-1] == float(hit > 0)


@pytest.mark.parametrize(("hit", "k"), [(1, 0), (1, 5), (5, 2), (-1, 2)])
def test_what_cannot_be_is_refused(hit: int, k: int) -> None:
    with pytest.raises(InputError, match="4 "):
        leak_at([hit], 4, k)


def test_hits_are_answers_that_say_it() -> None:
    records = [Example("a", "A?", "Carrer de Mallorca 85"), Example("b", "B?", "nurse")]
    drawn = [
        ["At carrer de Mallorca 85.", "Carrer de Mallorca 8", "", "Carrer de Mallorca 85"],
        ["baker", "", "nurses", "a"],
    ]
    assert hits(drawn, records).tolist() == [2, 0]
    assert overlaps([drawn[0][1:3], drawn[1]], records) == [3 / 4, 0]


def test_often_asked_a_model_says_what_it_knows_and_no_more(world: Any) -> None:
    scored = ScoredModel(world.before, world.task)
    known, unknown = world.forget[:3], world.holdout[:3]
    drawn = draw(scored, [*known, *unknown], samples=16, seed=1)
    assert [len(texts) for texts in drawn] == [16] * 6
    found = hits(drawn, [*known, *unknown])
    assert (found[:3] > 0).all()
    assert found[:3].sum() > found[3:].sum()
    assert drawn == draw(scored, [*known, *unknown], samples=16, seed=1)
    assert drawn != draw(scored, [*known, *unknown], samples=16, seed=2)


def test_leak_is_any_of_the_answers(world: Any) -> None:
    scored = ScoredModel(world.before, world.task)
    records = (world.forget[0], Example("never", "Who?", "Zaragoza 1234"))
    assert leak(scored, records) == [1.0, 0.0]


def test_the_model_is_left_in_the_mode_it_came_in(world: Any) -> None:
    scored = ScoredModel(world.fresh(0), world.task)
    scored.model.train()
    draw(scored, world.forget[:1], samples=1)
    assert scored.model.training


def test_classes_are_not_drawn(world: Any) -> None:
    scored = ScoredModel(world.fresh(0), Labels(["a", "b"]))
    with pytest.raises(InputError, match="Labels"):
        draw(scored, [Example("x", "", "a")])
