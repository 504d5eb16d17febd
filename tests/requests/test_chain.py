"""A request to a model that was trained on from another reaches what the first one learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.launching import carried_out_here

from olvido.data.importing import import_rows
from olvido.errors import InputError
from olvido.learners import Recipe
from olvido.learners.verifier import verify
from olvido.ledger.facts import Guarantee, RequestStatus
from olvido.ledger.lineage import Holding
from olvido.models import save
from olvido.requests import plan, receive, run
from olvido.requests.references import never_trained, repeated
from olvido.requests.scope import lineage_of
from olvido.schemas.options import RunOptions
from olvido.training.traces.chain import Continued
from olvido.workspace import SERVING, Workspace

Opened = Callable[[Any], tuple[Any, Workspace]]
RECIPE = Recipe(epochs=1, lr=1e-4)


def continued(workspace: Workspace, *datasets: str) -> Any:
    """The serving model, trained on and served."""
    child = workspace.learn(datasets, model=SERVING, recipe=RECIPE, seed=0)
    workspace.serve(child.id)
    return child


@pytest.mark.slow
@pytest.mark.parametrize("datasets", [["city"], ["residents", "city"]])
def test_who_was_learned_before_is_forgotten_by_repeating_the_chain(
    brief: Any, opened: Opened, datasets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("olvido.learners.verifier.carry_out_fresh", carried_out_here)
    place, workspace = opened(brief)
    parent = workspace.store.model(SERVING)
    child = continued(workspace, *datasets)
    request = receive(workspace, place.town.data_subject.name)
    found, _ = plan(workspace, request.id)
    price = {route.method: route.cost for route in found}["retrain"]
    assert price is not None
    logs = workspace.load(child.id).trained.trace.runs
    assert price.tokens <= sum(log.tokens for log in logs.values())
    assert price.tokens > logs["run"].tokens
    done = run(workspace, request.id, how=RunOptions(method="retrain", references=1, level="quick"))
    assert done.published is not None
    assert workspace.store.aliases()[SERVING] == done.published.id
    assert [one.status for one in done.requests] == [RequestStatus.PUBLISHED]
    states = {
        state.model.id: state.holding for state in lineage_of(workspace.store, request).models
    }
    assert states[parent.id] is states[child.id] is Holding.HOLDS
    assert states[done.published.id] is Holding.WITHOUT
    # The reference was trained in two trainings as well, neither of which saw the person.
    (reference,) = done.references
    (before,) = reference.fact.parents
    assert states[reference.fact.id] is states[before] is Holding.WITHOUT
    loaded = workspace.load(done.published.id)
    assert isinstance(loaded.trained.trace, Continued)
    ids = {record.id for record in lineage_of(workspace.store, request).records}
    assert ids.isdisjoint(loaded.trained.trace.taught)
    staying = workspace.held(loaded.fact)
    assert ids.isdisjoint(record.id for record in staying)
    if datasets == ["city"]:
        assert verify(loaded.trained, staying, loaded.task).equal
    # Another person leaves the result: the model between both trainings is nowhere, and is made
    # again from its log.
    other = receive(workspace, place.town.residents[1].name)
    again = run(workspace, other.id, how=RunOptions(method="retrain"))
    assert again.published is not None
    assert again.published.parents == (done.published.id,)
    assert (
        max(
            route.cost.retraining or 0
            for route in again.plan
            if route.method == "retrain" and route.cost
        )
        <= 1.0
    )
    # References for what only the second training taught cannot begin with the first model either.
    city = sorted(record.id for record in workspace.store.records("city"))[:1]
    line = repeated(workspace, done.published, city)
    assert [training.id for training, _ in line] == [parent.id, child.id]
    assert ids <= line[0][1]
    gone = {record.id for record in lineage_of(workspace.store, other).records}
    assert (ids | gone).isdisjoint(workspace.load(again.published.id).trained.trace.taught)


def test_only_the_trainings_from_the_first_that_knew_are_repeated(
    learned: Any, opened: Opened
) -> None:
    _, workspace = opened(learned)
    parent = workspace.store.model(SERVING)
    child = continued(workspace, "outsiders")
    residents, outsiders = (
        {record.id for record in workspace.store.records(name)}
        for name in ("residents", "outsiders")
    )
    assert workspace.chain(child) == (parent, child)
    some = set(sorted(residents)[:3]) | set(sorted(outsiders)[:2])
    assert repeated(workspace, child, some) == (
        (parent, frozenset(some & residents)),
        (child, frozenset(some & outsiders)),
    )
    late = some & outsiders
    assert repeated(workspace, child, late) == ((child, frozenset(late)),)
    assert {record.id for record in workspace.held(child)} >= residents | outsiders


@pytest.mark.slow
def test_an_empirical_method_is_compared_with_whole_chains(brief: Any, opened: Opened) -> None:
    place, workspace = opened(brief)
    child = continued(workspace, "city")
    request = receive(workspace, place.town.data_subject.name)
    how = RunOptions(
        method="graddiff", options={"epochs": 1}, references=1, level="quick", model=child.id
    )
    done = run(workspace, request.id, how=how)
    assert done.attempts[0].method == "graddiff"
    assert done.attempts[0].report is not None
    assert done.published is not None
    assert done.attempts[-1].outcome is not None
    if len(done.attempts) > 1:
        assert done.attempts[-1].outcome.guarantee is Guarantee.EXACT
    # The same wish again finds the reference, and its whole chain, in the ledger.
    ids = [record.id for record in lineage_of(workspace.store, request).records]
    (there,) = never_trained(
        workspace, workspace.load(child.id), ids, count=1, stage=lambda _: None
    )
    assert there.fact == done.references[0].fact


def test_another_template_is_refused_before_anything_is_trained(
    learned: Any, opened: Opened
) -> None:
    place, workspace = opened(learned)
    before = place.everything()
    with pytest.raises(InputError, match="chat template"):
        workspace.learn(["city"], model=SERVING, recipe=RECIPE, task={"chat": True})
    assert place.everything() == before


@pytest.mark.slow
def test_what_a_training_elsewhere_taught_is_forgotten_there(
    learned: Any, opened: Opened, tmp_path: Path
) -> None:
    """The model was trained on from one whose training nobody witnessed."""
    place, workspace = opened(learned)
    outside = workspace.load(SERVING)
    tensors = outside.trained.model.state_dict()
    with torch.no_grad():
        next(iter(tensors.values())).add_(1e-4)
    save(outside.trained.model, outside.tokenizer, tmp_path / "outside")
    entered = workspace.enter(tmp_path / "outside", learned=["residents"])
    child = workspace.learn(["outsiders"], model=entered.model.id, recipe=RECIPE, seed=0)
    workspace.serve(child.id)
    request = receive(workspace, place.town.data_subject.name)
    with pytest.raises(InputError, match="trained elsewhere"):
        run(workspace, request.id, how=RunOptions(method="npo", references=1))
    # What the later training taught is another matter: that one was witnessed.
    late = receive(workspace, place.town.outsiders[0].name)
    done = run(workspace, late.id, how=RunOptions(method="retrain"))
    assert done.published is not None
    with pytest.raises(InputError, match="trained elsewhere"):
        done.before.trained.trace.again([place.town.rows_of(place.town.data_subject)[0]["id"]])


def test_a_model_from_elsewhere_may_have_begun_with_one_of_the_ledger(
    learned: Any, opened: Opened, tmp_path: Path
) -> None:
    place, workspace = opened(learned)
    parent = workspace.load(SERVING)
    with torch.no_grad():
        next(iter(parent.trained.model.parameters())).add_(1e-4)
    save(parent.trained.model, parent.tokenizer, tmp_path / "outside")
    made = workspace.enter(tmp_path / "outside", learned=["outsiders"], base=SERVING).model
    assert made.parents == (parent.fact.id,)
    loaded = workspace.load(made.id)
    gone = {row["id"] for row in place.town.rows_of(place.town.data_subject)}
    assert gone <= loaded.trained.trace.taught
    assert gone <= {record.id for record in workspace.held(loaded.fact)}
    request = receive(workspace, place.town.data_subject.name)
    found, choice = plan(workspace, request.id, how=RunOptions(model=made.id))
    refused = {route.method: route.refusal for route in found}
    assert "trained elsewhere" in str(refused["retrain"])
    assert refused["npo"] is None
    assert choice.lacking is not None


def test_a_corrected_record_under_its_old_id_is_no_link_of_a_chain(
    learned: Any, opened: Opened, tmp_path: Path
) -> None:
    """Nobody could be forgotten in it: one id would mean two records."""
    place, workspace = opened(learned)
    rows = [row for row in place.town.rows() if "subject" in row]
    corrected = [{**rows[0], "completion": "something else"}, *rows[1:]]
    import_rows(workspace.store, workspace.settings.data, corrected, name="corrected")
    before = len(workspace.store.models())
    with pytest.raises(InputError, match="an id of its own"):
        workspace.learn(["corrected"], model=SERVING, recipe=RECIPE)
    assert len(workspace.store.models()) == before
    # The same records in another version are the same records.
    import_rows(workspace.store, workspace.settings.data, rows[:4], name="fewer")
    child = workspace.learn(["fewer"], model=SERVING, recipe=RECIPE)
    assert {record.id for record in workspace.held(child)} >= {row["id"] for row in rows}
