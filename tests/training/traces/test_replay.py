"""Replay: coins move nobody when one leaves; who was replayed is forgotten in both trainings."""

from __future__ import annotations

from typing import Any

import pytest

from olvido.errors import InputError
from olvido.learners import Recipe, replayed, train
from olvido.learners.parts import begin, carry_out
from olvido.methods import forget
from olvido.models import weights_digest
from olvido.tasks import Example, Language
from olvido.training.traces.chain import Continued
from olvido.training.traces.replay import drawn

SHARE = 0.5


def test_a_draw_without_one_is_the_draw_less_that_one() -> None:
    ids = [f"r{n}" for n in range(400)]
    before = drawn(ids, share=0.1, seed=3)
    for gone in ids:
        assert drawn([i for i in ids if i != gone], share=0.1, seed=3) == set(before) - {gone}
    assert drawn(reversed(ids), share=0.1, seed=3) == before != drawn(ids, share=0.1, seed=4)
    assert drawn(ids, share=1, seed=0) == set(ids)
    # A larger share adds to a smaller one. 40 are expected, with a deviation of 6.
    assert set(before) <= set(drawn(ids, share=0.2, seed=3))
    assert 16 < len(before) < 64


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="must lie above 0"):
        drawn(["a"], share=share, seed=0)


def test_who_was_replayed_is_found_in_both_trainings_and_leaves_as_if_never_there(
    small: Any, few: tuple[Example, ...], task: Language, short: Recipe
) -> None:
    old, new = few[:8], few[8:]
    first = train(small, records=old, task=task, recipe=short)
    again = replayed(first.trace, old, share=SHARE)
    assert 0 < len(again) < len(old)
    whole = train(first, records=(*new, *again), task=task, recipe=short, seed=5)
    gone = again[0]
    assert sorted(whole.trace.hit([gone.id])) == ["before-run", "run"]
    left = [record for record in few if record != gone]
    found = forget(whole, forget=[gone], retain=left, task=task, method="retrain")

    # The same two trainings with an empty place instead: she is in neither, nor is she drawn.
    model: Any = small
    assert isinstance(whole.trace, Continued)
    kept = replayed(found.trace.previous, [r for r in old if r != gone], share=SHARE)
    assert list(kept) == [r for r in again if r != gone]
    links: tuple[tuple[Any, list[Example]], ...] = (
        (first.trace, [r for r in old if r != gone]),
        (whole.trace.last, [*new, *kept]),
    )
    for log, records in links:
        plan = log.plan.without([gone.id])
        (done,) = carry_out(
            [begin(model, records, task, recipe=log.recipe, seed=log.seed, plan=plan)]
        )
        model = done.model
    assert found.digest == weights_digest(model) != whole.digest
    assert gone.id not in found.trace.taught


def test_what_the_model_forgot_is_not_drawn_and_what_it_holds_must_be_given(
    small: Any, few: tuple[Example, ...], task: Language, short: Recipe
) -> None:
    old = few[:8]
    first = train(small, records=old, task=task, recipe=short)
    less = forget(first, forget=old[:1], retain=old[1:], task=task, method="retrain")
    assert list(replayed(less.trace, old, share=1)) == list(old[1:])
    with pytest.raises(InputError, match="1 records that the model holds are missing"):
        replayed(first.trace, old[1:], share=1)
    with pytest.raises(InputError, match="none was drawn"):
        replayed(first.trace, old, share=1e-9)
