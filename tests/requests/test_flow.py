"""A request from the first word to the new version.

`elsewhere` is a method made for these tests: it trains again with another seed and claims no more
than an empirical guarantee, so that its model stands up to any audit that is fair.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from olvido.audits import Verdict
from olvido.data.importing import import_rows
from olvido.errors import InputError, NotFinite, StateError, UnknownName
from olvido.learners import Recipe, StepLog
from olvido.learners.monolith import Monolith
from olvido.learners.parts import begin, carry_out
from olvido.ledger.facts import DatasetUse, Guarantee, RequestKind, RequestStatus
from olvido.ledger.lineage import Holding
from olvido.methods import METHODS, Cost
from olvido.methods.gradient.calibration import remaining_trace
from olvido.methods.types import Run
from olvido.models import weights_digest
from olvido.requests import RequestOutcome, locate, plan, receive, run
from olvido.schemas.options import RunOptions
from olvido.workspace import PREVIOUS, SERVING, Workspace

Opened = Callable[[Any], tuple[Any, Workspace]]


class Elsewhere:
    """Training again with another seed, which nobody could tell from never having learned."""

    guarantee: ClassVar = Guarantee.EMPIRICAL
    needs: ClassVar[frozenset[Any]] = frozenset()
    summary: ClassVar = "for tests"

    def cost(self, trained: Any, split: Any, task: Any) -> Cost:
        return Cost(1.0)

    def run(self, trained: Any, split: Any, task: Any, *, seed: int, watch: Any) -> Run:
        (log,) = trained.trace.runs.values()
        model, _ = Monolith().run(
            log.origin.module(),
            split.retain,
            task,
            recipe=log.recipe,
            seed=log.seed + 50,
            watch=watch,
        )
        return Run(model, remaining_trace(trained.trace, split), 1.0, "trained elsewhere")


class Hopeless(Elsewhere):
    """Retraining whose numbers always go wrong."""

    guarantee: ClassVar = Guarantee.EXACT

    def run(self, trained: Any, split: Any, task: Any, *, seed: int, watch: Any) -> Run:
        raise NotFinite("the loss became nan at step 0")


@pytest.fixture(scope="module", autouse=True)
def _elsewhere() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "elsewhere", Elsewhere)
        yield


@pytest.fixture(scope="module")
def answered(
    tmp_path_factory: pytest.TempPathFactory, ready: Any, _elsewhere: None
) -> tuple[Any, RequestOutcome]:
    """The leaver asked and was forgotten empirically. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("answered") / "workspace"
    shutil.copytree(ready.folder, folder)
    place = type(ready)(folder, ready.town)
    with place.open() as workspace:
        request = receive(workspace, place.town.data_subject.name, law="gdpr")
        return place, run(
            workspace,
            request.id,
            how=RunOptions(method="elsewhere", references=2),
            probes=place.probes(workspace),
        )


def test_a_forgotten_model_is_published(answered: tuple[Any, RequestOutcome]) -> None:
    place, done = answered
    (attempt,) = done.attempts
    assert attempt.passed
    assert attempt.report is not None
    assert attempt.report.verdict is Verdict.PASS
    assert attempt.report.level == "standard"
    # The residents come without the false answers that TOFU has.
    assert set(attempt.report.not_examined) == {"truth"}
    assert done.request.status is RequestStatus.PUBLISHED
    assert done.published is not None
    with place.open() as workspace:
        aliases = workspace.store.aliases()
        assert aliases[SERVING] == done.published.id
        assert aliases[PREVIOUS] == done.before.fact.id
        serving = workspace.load(SERVING)
        assert serving.fact.parents == (done.before.fact.id,)
        assert serving.fact.method == "elsewhere"
        assert serving.trained.digest == attempt.outcome.digest  # type: ignore[union-attr]
        assert workspace.store.verify_log().sound


def test_the_records_are_buried_and_the_lineage_tells(answered: tuple[Any, RequestOutcome]) -> None:
    place, done = answered
    ids = {row["id"] for row in place.town.rows_of(place.town.data_subject)}
    with place.open() as workspace:
        assert {r.id for r in workspace.store.tombstoned("residents")} == ids
        assert workspace.store.tombstoned("city") == ()
        usable = {e.id for e in workspace.rows(workspace.store.dataset("residents"))}
        assert not usable & ids
        lineage = locate(workspace, done.request.id)
    states = {state.model.id: state for state in lineage.models}
    assert done.published is not None
    child = states[done.published.id]
    assert (child.holding, child.guarantee) == (Holding.FORGOTTEN, Guarantee.EMPIRICAL)
    assert {record.id for record, _ in child.forgotten} == ids
    assert states[done.before.fact.id].holding is Holding.HOLDS
    for reference in done.references:
        assert states[reference.fact.id].holding is Holding.WITHOUT


def test_the_history_of_the_request_is_complete(answered: tuple[Any, RequestOutcome]) -> None:
    _, done = answered
    assert [step.status for step in done.request.history] == [
        RequestStatus.RECEIVED,
        RequestStatus.LOCATED,
        RequestStatus.PLANNED,
        RequestStatus.APPROVED,
        RequestStatus.RUNNING,
        RequestStatus.AUDITED,
        RequestStatus.PUBLISHED,
    ]
    assert done.request.law == "gdpr"
    assert done.request.report == str(done.path)


def test_the_report_is_written_as_it_was_returned(answered: tuple[Any, RequestOutcome]) -> None:
    place, done = answered
    assert json.loads(done.path.read_text("utf-8")) == done.document
    json.dumps(done.document, allow_nan=False)
    assert [p.name for p in done.path.parent.iterdir()] == [f"{done.request.id}.json"]
    document = done.document
    assert document["verdict"] == "pass"
    assert document["records"]["forgotten"] == len(place.town.rows_of(place.town.data_subject))
    assert document["records"]["datasets"] == ["residents"]
    assert document["digest"]["before"] != document["digest"]["after"]
    assert len(document["never_trained"]) == 2
    assert {r["method"] for r in document["plan"]} == set(METHODS)
    assert any("weights equal" in limit for limit in document["does_not_prove"])


def test_no_person_is_named_anywhere(answered: tuple[Any, RequestOutcome]) -> None:
    """A scan of every byte but the rows' own: who asked, what they were, where they lived."""
    place, _ = answered
    data_subject = place.town.data_subject
    spellings = [
        spelling.encode()
        for text in (data_subject.name, data_subject.home, data_subject.phone)
        for spelling in (text, text.casefold(), json.dumps(text)[1:-1])
    ]
    scanned = place.everything()
    assert any(name.endswith(".json") for name in scanned)
    assert "ledger.db" in scanned
    assert any(name.startswith("certificates/") for name in scanned)
    for name, content in scanned.items():
        if name.startswith("certificates/"):
            content = base64.b64decode(json.loads(content)["payload"])
        if not name.endswith(".parquet"):
            assert not [s for s in spellings if s in content], name


@pytest.mark.slow
def test_a_second_person_leaves_the_model_that_forgot_the_first(
    answered: tuple[Any, RequestOutcome], opened: Opened
) -> None:
    place, workspace = opened(answered[0])
    first = {row["id"] for row in place.town.rows_of(place.town.data_subject)}
    second = {row["id"] for row in place.town.rows_of(place.town.residents[1])}
    serving = workspace.load(SERVING)
    request = receive(workspace, place.town.residents[1].name)
    probes = place.probes(workspace)
    done = run(
        workspace,
        request.id,
        how=RunOptions(method="elsewhere", level="quick", references=1),
        probes=probes,
    )
    assert done.request.status is RequestStatus.PUBLISHED
    assert done.published is not None
    assert done.published.parents == (serving.fact.id,)
    assert {r.id for r in workspace.store.tombstoned("residents")} == first | second
    trace = workspace.load(SERVING).trained.trace
    assert trace.leaving(())[1] == first | second
    assert not (first | second) & set(trace.present)
    # What it is measured against saw neither of them.
    (reference,) = done.references
    trace = workspace.load(reference.fact.id).trained.trace
    assert isinstance(trace, StepLog)
    assert not set(trace.plan.slots) & (first | second)


@pytest.mark.slow
def test_another_model_that_holds_the_same_person_can_still_be_cleaned(
    answered: tuple[Any, RequestOutcome], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, workspace = opened(answered[0])
    other = DatasetUse(dataset=workspace.store.dataset("residents").id)
    before = answered[1].before
    with monkeypatch.context() as patch:
        # It was there before she was forgotten by the first: nobody could enter it now.
        patch.setattr("olvido.ledger.store.models.refuse_holding", lambda *_: None)
        twin = workspace.store.add_model(
            replace(before.fact, seed=99), [other, *workspace.store.uses(before.fact.id)[1:]]
        )
    request = receive(workspace, place.town.data_subject.name)
    done = run(
        workspace,
        request.id,
        how=RunOptions(model=twin.id, method="elsewhere", level="quick", references=1),
        probes=place.probes(workspace),
    )
    assert done.request.status is RequestStatus.PUBLISHED
    states = {s.model.id: s for s in locate(workspace, request.id).models}
    assert states[done.published.id].holding is not Holding.HOLDS


@pytest.mark.slow
def test_a_person_is_buried_in_datasets_that_no_model_learned_from(
    ready: Any, opened: Opened
) -> None:
    place, workspace = opened(ready)
    extra = {"prompt": "Who?", "completion": "Nobody", "subject": place.town.data_subject.name}
    import_rows(workspace.store, workspace.settings.data, [extra], name="later")
    request = receive(workspace, place.town.data_subject.name)
    run(
        workspace,
        request.id,
        how=RunOptions(method="elsewhere", level="quick", references=1),
        probes=place.probes(workspace),
    )
    assert len(workspace.store.tombstoned("later")) == 1
    assert workspace.rows(workspace.store.dataset("later")) == ()


def test_who_has_left_cannot_leave_again(
    answered: tuple[Any, RequestOutcome], opened: Opened
) -> None:
    place, workspace = opened(answered[0])
    with pytest.raises(StateError, match="is published: nothing is planned or run"):
        run(workspace, answered[1].request.id)
    again = receive(workspace, place.town.data_subject.name)
    with pytest.raises(InputError, match=r"forgot it before \(empirical\); no model has to forget"):
        run(workspace, again.id)


def test_what_is_learned_later_is_learned_without_who_left(
    answered: tuple[Any, RequestOutcome], opened: Opened, base: Path
) -> None:
    _, workspace = opened(answered[0])
    recipe = Recipe(epochs=1, lr=1e-3)
    later = workspace.learn(["residents", "city"], model=str(base), recipe=recipe, seed=0)
    lineage = locate(workspace, answered[1].request.id)
    states = {state.model.id: state for state in lineage.models}
    assert states[later.id].holding is Holding.WITHOUT


def test_retraining_is_exact_and_equals_having_never_had_the_records(
    ready: Any, opened: Opened
) -> None:
    place, workspace = opened(ready)
    request = receive(workspace, place.town.data_subject.name)
    held = workspace.load(SERVING)
    probes = place.probes(workspace)
    done = run(workspace, request.id, how=RunOptions(method="retrain", references=2), probes=probes)
    assert done.request.status is RequestStatus.PUBLISHED
    assert done.published is not None
    (use,) = workspace.store.uses(done.published.id)
    assert use.guarantee is Guarantee.EXACT
    lineage = locate(workspace, request.id)
    state = next(s for s in lineage.models if s.model.id == done.published.id)
    assert state.holding is Holding.WITHOUT
    assert not any("weights equal" in limit for limit in done.document["does_not_prove"])
    # The same plan, with holes from the start.
    log = held.trained.trace
    assert isinstance(log, StepLog)
    ids = {row["id"] for row in place.town.rows_of(place.town.data_subject)}
    kept = [
        example
        for name in ("residents", "city")
        for example in workspace.rows(workspace.store.dataset(name))
    ]
    job = begin(
        log.origin.module(),
        kept,
        held.task,
        recipe=log.recipe,
        seed=log.seed,
        plan=log.plan.without(ids),
    )
    (never,) = carry_out([job])
    assert str(done.published.digest) == weights_digest(never.model)


@pytest.mark.slow
def test_a_destroying_method_fails_and_retraining_takes_over(ready: Any, opened: Opened) -> None:
    place, workspace = opened(ready)
    request = receive(workspace, place.town.data_subject.name)
    stages: list[str] = []
    done = run(
        workspace,
        request.id,
        how=RunOptions(method="ascent", options={"lr": 0.01, "regulariser": "none"}, references=2),
        probes=place.probes(workspace),
        stage=stages.append,
    )
    first, last = done.attempts
    assert (first.method, first.passed) == ("ascent", False)
    assert "destroyed" in str(first.failure)
    assert first.report is not None
    assert any("collateral damage" in reason for reason in first.report.reasons)
    assert (last.method, last.passed) == ("retrain", True)
    assert done.published is not None
    assert done.published.method == "retrain"
    assert [a["verdict"] for a in done.document["attempts"]] == ["fail", "pass"]
    assert not any("Training a model" in stage for stage in stages), "the ledger had them"
    assert stages.index("Forgetting by ascent") < stages.index("Forgetting by retrain")


@pytest.mark.slow
def test_when_everything_fails_nothing_is_published(
    ready: Any, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "retrain", Hopeless)
    place, workspace = opened(ready)
    request = receive(workspace, place.town.data_subject.name)
    before = (workspace.store.aliases(), workspace.store.models())
    done = run(
        workspace,
        request.id,
        how=RunOptions(method="ascent", options={"lr": 1e-09, "epochs": 1}, references=1),
    )
    assert done.request.status is RequestStatus.NEEDS_INPUT
    assert done.published is None
    assert ["forgot nothing" in str(done.attempts[0].failure)] == [True]
    assert "nan" in str(done.attempts[1].failure)
    assert (workspace.store.aliases(), workspace.store.models()) == before
    assert workspace.store.tombstoned("residents") == ()
    assert done.document["verdict"] == "fail"
    assert json.loads(done.path.read_text("utf-8")) == done.document
    # What failed may be tried again.
    monkeypatch.undo()
    monkeypatch.setitem(METHODS, "elsewhere", Elsewhere)
    probes = place.probes(workspace)
    again = run(
        workspace,
        request.id,
        how=RunOptions(method="elsewhere", level="quick", references=1),
        probes=probes,
    )
    assert again.request.status is RequestStatus.PUBLISHED


def test_a_request_is_located_and_planned_once(learned: Any, opened: Opened) -> None:
    place, workspace = opened(learned)
    request = receive(workspace, f"  {place.town.data_subject.name.upper()} ", kind="opt-out")
    assert request.kind is RequestKind.OPT_OUT
    assert place.town.data_subject.name not in str(request)
    lineage = locate(workspace, request.id)
    assert {r.id for r in lineage.records} == {
        row["id"] for row in place.town.rows_of(place.town.data_subject)
    }
    assert [m.id for m in lineage.holding()] == [workspace.store.aliases()[SERVING]]
    found, choice = plan(workspace, request.id)
    assert {route.method for route in found} == set(METHODS)
    assert choice.because
    assert plan(workspace, request.id) == (found, choice)
    statuses = [step.status for step in workspace.store.request(request.id).history]
    assert statuses == [RequestStatus.RECEIVED, RequestStatus.LOCATED, RequestStatus.PLANNED]
    with pytest.raises(UnknownName, match="request"):
        plan(workspace, "req-9999")


@pytest.mark.slow
def test_who_came_with_the_fine_tuning_can_leave_it(
    learned: Any, opened: Opened, base: Path
) -> None:
    place, workspace = opened(learned)
    newcomer = place.town.outsiders[0]
    rows = place.town.rows_of(newcomer)
    import_rows(workspace.store, workspace.settings.data, rows, name="newcomers")
    recipe = Recipe(epochs=6, lr=2e-3)
    parent = workspace.store.aliases()[SERVING]
    child = workspace.learn(["newcomers", "city"], model=SERVING, recipe=recipe, seed=0)
    workspace.serve(child.id)
    assert workspace.load(child.id).fact.parents == (parent,)
    request = receive(workspace, newcomer.name)
    done = run(workspace, request.id, how=RunOptions(method="retrain", references=1))
    assert done.attempts[0].outcome is not None
    assert done.attempts[0].outcome.guarantee is Guarantee.EXACT
    assert done.attempts[0].report is not None
    assert done.attempts[0].report.find("recall", "exact match").value < 0.2


@pytest.mark.slow
def test_forgetting_in_an_unserved_model_leaves_the_served_one(
    ready: Any, opened: Opened, base: Path
) -> None:
    place, workspace = opened(ready)
    old = workspace.store.aliases()[SERVING]
    recipe = Recipe(epochs=1, lr=1e-3)
    new = workspace.learn(["city"], model=str(base), recipe=recipe, seed=9)
    workspace.serve(new.id)
    request = receive(workspace, place.town.data_subject.name)
    probes = place.probes(workspace)
    done = run(
        workspace,
        request.id,
        how=RunOptions(model=old, method="elsewhere", level="quick", references=2),
        probes=probes,
    )
    assert done.published is not None
    assert workspace.store.aliases() == {SERVING: new.id, PREVIOUS: old}


@pytest.mark.slow
def test_a_search_that_finds_nothing_leaves_the_request_to_an_exact_method(
    ready: Any, opened: Opened
) -> None:
    place, workspace = opened(ready)
    request = receive(workspace, place.town.data_subject.name)
    probes = place.probes(workspace)
    options = {"within": 1e-6}
    done = run(
        workspace,
        request.id,
        how=RunOptions(method="auto", options=options, level="quick", references=1),
        probes=probes,
    )
    first, last = done.attempts
    assert (first.method, first.passed, first.outcome) == ("auto", False, None)
    assert "the 1e-06 s there were have passed" in str(first.failure)
    assert (last.method, last.passed) == ("retrain", True)
    assert done.published is not None
