"""A plan says what a private training bounds, and only where its promise is about all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from olvido.learners import Recipe
from olvido.ledger.facts import Model
from olvido.requests import locate, plan, receive
from olvido.schemas.plan import Promise
from olvido.training.private.accounting import Spent
from olvido.workspace import SERVING, Workspace
from olvido.workspace.promise import promise_of

pytest.importorskip("opacus")
Opened = Callable[[Any], tuple[Any, Workspace]]
NOISE: dict[str, Any] = {"noise": 5.0, "accountant": "rdp"}


def learn(workspace: Workspace, base: str, **options: Any) -> Model:
    """A private model of the residents, trained for a step or two."""
    recipe = Recipe(epochs=1, batch_size=6, lr=1e-3)
    return workspace.learn(
        ["residents"], model=base, recipe=recipe, learner="private", options={**NOISE, **options}
    )


def promised(workspace: Workspace, model: Model, name: str) -> Promise | None:
    request = receive(workspace, name)
    ids = {record.id for record in locate(workspace, request.id).records}
    return promise_of(workspace, workspace.load(model.id), ids)


@pytest.mark.slow
def test_a_plan_says_what_the_weights_bound_of_this_person(
    brief: Any, opened: Opened, base: Path
) -> None:
    place, workspace = opened(brief)
    model = learn(workspace, str(base))
    workspace.serve(model.id)
    request = receive(workspace, place.town.data_subject.name)
    _, choice = plan(workspace, request.id)
    spent = Spent.from_dict(model.recipe["privacy"])
    found = choice.promise
    assert found is not None
    assert (found.refusal, found.units) == (None, 1)
    assert (found.epsilon, found.delta) == (spent.epsilon, spent.delta)
    assert found.true_positives == spent.of_group(1).true_positives(0.01)
    planned = workspace.store.request(request.id).history[-1]
    assert Promise.read(planned.detail["chosen"]["promise"]) == found
    # It is no method, and nothing is left undone for it.
    assert choice.order


@pytest.mark.slow
def test_a_person_with_several_records_has_as_many_units_of_one_record(
    brief: Any, opened: Opened, base: Path
) -> None:
    place, workspace = opened(brief)
    name = place.town.data_subject.name
    model = learn(workspace, str(base), unit="record")
    found = promised(workspace, model, name)
    count = len(place.town.rows_of(place.town.data_subject))
    assert found is not None
    assert (found.refusal, found.units) == (None, count)
    spent = Spent.from_dict(model.recipe["privacy"])
    assert found.epsilon == pytest.approx(count * spent.epsilon)


@pytest.mark.slow
def test_nothing_is_bounded_of_what_another_training_learned_or_a_seed_undoes(
    brief: Any, opened: Opened, base: Path
) -> None:
    place, workspace = opened(brief)
    name = place.town.data_subject.name
    request = receive(workspace, name)
    ids = {record.id for record in locate(workspace, request.id).records}
    assert promise_of(workspace, workspace.load(SERVING), ids) is None

    seeded = workspace.load(learn(workspace, str(base), noise_seed=3).id)
    # Learned by a training that kept no promise, and then once more by one that did.
    again = workspace.load(learn(workspace, SERVING).id)
    # A method went on from it, with records that it chose.
    changed = replace(again, fact=replace(again.fact, method="npo", parents=(again.fact.id,)))
    for loaded, why in ((seeded, "seed"), (again, "learned"), (changed, "npo changed")):
        found = promise_of(workspace, loaded, ids)
        assert found is not None
        assert found.refusal is not None
        assert why in found.refusal
        assert (found.epsilon, found.true_positives, found.units) == (None, None, None)
    # Somebody whom no record is about has no unit.
    fresh = workspace.load(learn(workspace, str(base)).id)
    none = promise_of(workspace, fresh, {"no such record"})
    assert none is not None
    assert none.refusal is not None
