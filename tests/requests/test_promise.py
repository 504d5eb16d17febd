"""A plan says what a private training bounds, and only where its promise is about all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from olvido.accounts import Accounts
from olvido.errors import InputError, StateError
from olvido.files import read_document
from olvido.learners import Recipe
from olvido.ledger.facts import Guarantee, Model, RequestStatus
from olvido.models import weights_digest
from olvido.requests import answer, locate, plan, receive, run
from olvido.requests.certificate import certificates_of, check
from olvido.requests.handlers import approve
from olvido.requests.types import Unchanged
from olvido.requests.workflow.forgetting import forget
from olvido.requests.workflow.worker import Worker
from olvido.schemas.options import RunOptions
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
    # Within the limit the model stays, unless a method or an audit is asked for.
    assert (found.suffices, choice.unchanged, choice.order) == (True, True, ())
    for how in (RunOptions(method="npo"), RunOptions(references=2)):
        _, other = plan(workspace, request.id, how=how)
        assert not other.unchanged
        assert other.order
    # Of a few of the records two units count: the person, and who has fewer of them.
    _, wrong = plan(workspace, outdated(workspace, place))
    assert wrong.promise is not None
    assert wrong.promise.epsilon == pytest.approx(2 * spent.epsilon)
    assert not wrong.unchanged
    # Above the limit it answers nothing, and the plan says which limit.
    strict = Workspace(replace(workspace.settings, certified_limit=spent.epsilon / 2))
    _, refused = plan(strict, request.id)
    assert refused.promise is not None
    assert (refused.promise.suffices, refused.unchanged) == (False, False)
    assert refused.promise.limit == spent.epsilon / 2
    with pytest.raises(InputError, match="without a run"):
        run(workspace, request.id)


def outdated(workspace: Workspace, place: Any) -> str:
    (first, *_) = place.town.rows_of(place.town.data_subject)
    return receive(workspace, kind="outdated", dataset="residents", records=[first["id"]]).id


@pytest.mark.slow
def test_a_request_is_answered_by_the_promise_and_the_records_are_never_taught_again(
    brief: Any, opened: Opened, base: Path
) -> None:
    place, workspace = opened(brief)
    model = learn(workspace, str(base))
    workspace.serve(model.id)
    name, store = place.town.data_subject.name, workspace.store
    before = weights_digest(workspace.load(SERVING).trained.model)
    request = receive(workspace, name, law="gdpr")
    done = answer(workspace, request.id)
    assert isinstance(done, Unchanged)
    assert store.aliases()[SERVING] == model.id
    assert weights_digest(workspace.load(SERVING).trained.model) == before
    (path,) = done.certificates
    assert check(read_document(path), store.signer(workspace.settings.signing_key).public).holds
    # What is learned later leaves the records out, on the model and anew.
    gone = {record.id for record in store.tombstoned("residents")}
    assert gone == {row["id"] for row in place.town.rows_of(place.town.data_subject)}
    again = learn(workspace, SERVING)
    (use,) = store.uses(again.id)
    assert gone <= use.excluded
    (state,) = [s for s in store.lineage(store.key.subject(name)).models if s.model.id == again.id]
    assert state.guarantee is Guarantee.CERTIFIED
    # Somebody else is answered apart, by the same training, and both stay answered.
    other = answer(workspace, receive(workspace, place.town.residents[3].name).id)
    assert isinstance(other, Unchanged)
    assert store.verify_log().sound
    assert not store.differences()


@pytest.mark.slow
def test_the_worker_leaves_a_model_as_it_is_where_such_a_plan_was_approved(
    brief: Any, opened: Opened, base: Path
) -> None:
    place, workspace = opened(brief)
    model = learn(workspace, str(base))
    workspace.serve(model.id)
    Accounts.of(workspace.settings).new("privacy", "Marta")
    request = receive(workspace, place.town.data_subject.name, law="gdpr")
    plan(workspace, request.id)
    approve(workspace, request.id, by="Marta")
    # What was approved is not done otherwise: the limit was lowered since.
    with pytest.raises(StateError, match="plan it again"):
        forget(replace(workspace.settings, certified_limit=0.0), request.id)
    with Worker(workspace.settings) as worker:
        (done,) = worker.work()
    assert done.status in (RequestStatus.PUBLISHED, RequestStatus.CLOSED)
    assert [one.id for one in workspace.store.models()][-1] == model.id
    assert certificates_of(workspace, request.id)


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
