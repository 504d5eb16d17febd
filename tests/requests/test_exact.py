"""Requests to models that were made for forgetting: the cheapest exact way, and together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.sharing import Shared

from olvido.errors import InputError
from olvido.learners import Placement, Recipe
from olvido.ledger.facts import Guarantee, RequestStatus
from olvido.ledger.lineage import Holding
from olvido.models import weights_digest
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.requests import batches, locate, plan, receive, run
from olvido.requests.planner import EMPIRICAL
from olvido.schemas.options import RunOptions
from olvido.workspace import SERVING, Workspace

Opened = Callable[[Any], tuple[Any, Workspace]]
RECIPE = Recipe(epochs=4, batch_size=16, lr=3e-3)
MADE = {
    "sharded": {"shards": 3, "slices": 2},
    "modular": {"per_module": 4, "embedding": "ngrams"},
}
FORGETS = {"sharded": "shard", "modular": "module"}


@pytest.fixture(params=sorted(MADE))
def town(
    request: Any, shared: Shared, learned: Any, opened: Opened, base: Path
) -> tuple[Any, Workspace, str]:
    learner = request.param

    def learn(folder: Path) -> None:
        place = replace(learned, folder=folder / "workspace")
        shutil.copytree(learned.folder, place.folder)
        with place.open() as workspace:
            made = workspace.learn(
                ["residents"],
                model=str(base),
                recipe=RECIPE,
                seed=3,
                learner=learner,
                options=MADE[learner],
            )
            workspace.serve(made.id)

    place, workspace = opened(replace(learned, folder=shared.folder(learn, learner) / "workspace"))
    return place, workspace, learner


def people(place: Any, workspace: Workspace, *, together: bool) -> tuple[Any, Any]:
    """Two residents who share a part of the model, or do not."""
    trace = workspace.load(SERVING).trained.trace
    assert isinstance(trace, Placement)
    first = place.town.residents[0]
    (home,) = trace.hit([row["id"] for row in place.town.rows_of(first)])
    for other in place.town.residents[1:]:
        same = home in trace.hit([row["id"] for row in place.town.rows_of(other)])
        if same == together:
            return first, other
    raise AssertionError("everybody lives in one place")


@pytest.mark.slow
def test_the_exact_way_is_chosen_and_needs_no_reference(
    town: tuple[Any, Workspace, str],
) -> None:
    place, workspace, learner = town
    before = len(workspace.store.models())
    request = receive(workspace, place.town.data_subject.name)
    done = run(workspace, request.id)
    (attempt,) = done.attempts
    assert attempt.method == FORGETS[learner]
    assert attempt.outcome is not None
    assert attempt.outcome.guarantee is Guarantee.EXACT
    assert attempt.report is None
    assert done.request.status is RequestStatus.PUBLISHED
    assert done.references == ()
    assert len(workspace.store.models()) == before + 1
    assert "is the cheapest exact way" in done.choice.because
    assert done.document["chosen"]["order"] == [FORGETS[learner]]
    assert not any("only these audits" in line for line in done.document["does_not_prove"])
    # It is what it says after a way through the disk, and somebody else can leave it.
    serving = workspace.load(SERVING)
    assert str(done.published.digest) == weights_digest(serving.trained.model)  # type: ignore[union-attr]
    ids = {row["id"] for row in place.town.rows_of(place.town.data_subject)}
    assert isinstance(serving.trained.trace, Placement)
    assert not ids & set(serving.trained.trace.present)
    states = {state.model.id: state for state in locate(workspace, request.id).models}
    assert states[serving.fact.id].holding is Holding.WITHOUT
    # Somebody else leaves after them, and both stay gone.
    other = receive(workspace, place.town.residents[1].name)
    second = run(workspace, other.id).published
    assert second is not None
    for asked in (request, other):
        states = {state.model.id: state for state in locate(workspace, asked.id).models}
        assert states[second.id].holding is Holding.WITHOUT
    found, choice = plan(workspace, receive(workspace, place.town.data_subject.name).id)
    assert (found, choice.order) == ((), ())
    assert f"model {second.id}, which serves, holds none of its" in choice.because


def test_it_equals_training_again_and_costs_less(town: tuple[Any, Workspace, str]) -> None:
    place, workspace, _ = town
    original = workspace.load(SERVING).fact.id
    request = receive(workspace, place.town.data_subject.name)
    done = run(workspace, request.id)
    # The older version is still asked to forget: by training everything again.
    again = receive(workspace, place.town.data_subject.name)
    whole = run(workspace, again.id, how=RunOptions(model=original, method="retrain"))
    assert done.published is not None
    assert whole.published is not None
    assert done.published.digest == whole.published.digest
    spent, most = (d.attempts[0].outcome.cost.tokens for d in (done, whole))  # type: ignore[union-attr]
    assert 0 < spent < 0.5 * most


@pytest.mark.slow
def test_who_shares_a_part_is_found_and_answered_together(
    town: tuple[Any, Workspace, str],
) -> None:
    place, workspace, learner = town
    pair = people(place, workspace, together=True)
    alone = people(place, workspace, together=False)[1]
    ids = [receive(workspace, person.name).id for person in (*pair, alone)]
    found = batches(workspace)
    assert [batch.requests for batch in found] == [(ids[0], ids[1]), (ids[2],)]
    assert "together it is trained again once" in found[0].because
    one, _ = plan(workspace, ids[0])
    both, choice = plan(workspace, *ids[:2])
    cost = {
        name: next(r.cost.tokens for r in routes if r.method == FORGETS[learner] and r.cost)
        for name, routes in (("one", one), ("both", both))
    }
    # A second person of the same part costs nothing more: there is even less left to train on.
    assert cost["both"] <= cost["one"]
    assert choice.order[0][0] == FORGETS[learner]
    done = run(workspace, *ids[:2])
    assert [request.status for request in done.requests] == [RequestStatus.PUBLISHED] * 2
    assert [path.name for path in done.paths] == [f"{i}.json" for i in ids[:2]]
    assert done.document["together"] == ids[:2]
    assert all(path.is_file() for path in done.paths)
    gone = {row["id"] for person in pair for row in place.town.rows_of(person)}
    assert {r.id for r in workspace.store.tombstoned("residents")} == gone
    assert [batch.requests for batch in batches(workspace)] == [(ids[2],)]


@pytest.mark.slow
def test_a_deadline_chooses_the_exact_way_for_a_model_of_one_piece(
    learned: Any, opened: Opened
) -> None:
    place, workspace = opened(learned)
    request = receive(workspace, place.town.data_subject.name)
    # Where nothing fits, not what looks cheaper than it is: its audit needs three more trainings.
    _, hurried = plan(workspace, request.id, how=RunOptions(within=0.001))
    assert [name for name, _ in hurried.order] == ["retrain"]
    assert "does not fit into 0.0 s" in hurried.because
    # Who has them made in any case does not pay for them.
    found, given = plan(workspace, request.id, how=RunOptions(within=0.001, references=1))
    assert [name for name, _ in given.order] == [EMPIRICAL, "retrain"]
    assert given.order[0][1] == next(r.options for r in found if r.method == EMPIRICAL)
    _, patient = plan(workspace, request.id, how=RunOptions(within=3600))
    assert [name for name, _ in patient.order] == ["retrain"]
    assert "fits into 1 h 0 min" in patient.because


def test_nobody_is_asked_twice(learned: Any, opened: Opened) -> None:
    place, workspace = opened(learned)
    request = receive(workspace, place.town.data_subject.name)
    with pytest.raises(InputError, match="each once"):
        run(workspace, request.id, request.id)
    with pytest.raises(InputError, match="one or more"):
        run(workspace)


@pytest.mark.slow
def test_where_everybody_leaves_the_base_model_is_served(
    town: tuple[Any, Workspace, str], base: Path
) -> None:
    place, workspace, _ = town
    ids = [receive(workspace, person.name).id for person in place.town.residents]
    done = run(workspace, *ids)
    assert done.published is not None
    model = tiny_model(len(tiny_tokenizer()), seed=0, width=64, layers=2)
    assert str(done.published.digest) == weights_digest(model)
    assert workspace.load(SERVING).trained.digest == weights_digest(model)


class Crash(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.slow
@pytest.mark.parametrize("town", ["sharded"], indirect=True)
@pytest.mark.parametrize(
    "at",
    [
        "olvido.learners.parts.carry_out",
        "olvido.workspace.base.save",
        "olvido.workspace.base.write_trace",
        "olvido.workspace.reading.Store.add_model",
        "olvido.workspace.reading.Store.set_aliases",
    ],
)
def test_a_crash_anywhere_leaves_the_old_model_served(
    town: tuple[Any, Workspace, str], at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, workspace, _ = town
    before = workspace.load(SERVING)
    request = receive(workspace, place.town.data_subject.name)

    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(at, crash)
        with pytest.raises(Crash):
            run(workspace, request.id)
    served = workspace.load(SERVING)
    assert (served.fact.id, served.trained.digest) == (before.fact.id, before.trained.digest)
    folders = {path.name for path in workspace.settings.models.iterdir()}
    assert not [name for name in folders if name.startswith(".")]
    # Whatever it was, the request can be run again.
    assert run(workspace, request.id).request.status is RequestStatus.PUBLISHED
