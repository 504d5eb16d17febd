"""A request from its records to the new version: locate, plan, run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from olvido.audits import Report, Witness, audit
from olvido.audits.types import Level
from olvido.documents import write_document
from olvido.errors import InputError, ModelDestroyed, StateError, TrainingFailed
from olvido.forgetting import Outcome, Split, forget, kind_of, make_method, read_split
from olvido.learners import Trained
from olvido.ledger.facts import Guarantee, Model, Request, RequestKind, RequestStatus, Use
from olvido.ledger.lineage import Holding, Lineage, ModelState
from olvido.requests.burial import bury
from olvido.requests.calendar import DECISION
from olvido.requests.certificate import issue
from olvido.requests.desk import needs_decision
from olvido.requests.document import document
from olvido.requests.planner import Choice, Route, choose, routes
from olvido.requests.references import never_trained
from olvido.requests.scope import lineage_of
from olvido.requests.types import Attempt, Forgotten, Probes, Stage
from olvido.tasks import Example
from olvido.workspace import SERVING, Held, Workspace

REFERENCES = 3
"""Never-trained models that an empirical forgetting is audited against."""


def locate(workspace: Workspace, identifier: str) -> Lineage:
    """Find the records, datasets and models that a request touches.

    Raises:
        UnknownName: no such request.
        InputError: it is about a model, not about records.
    """
    request = workspace.store.request(identifier)
    found = lineage_of(workspace.store, request)
    if request.status in (RequestStatus.RECEIVED, RequestStatus.IDENTIFIED):
        detail = {"records": len(found.records), "models": [m.id for m in found.holding()]}
        workspace.store.advance_request(identifier, RequestStatus.LOCATED, detail)
    return found


def plan(
    workspace: Workspace,
    *identifiers: str,
    ref: str = SERVING,
    probes: Probes | None = None,
    within: float | None = None,
) -> tuple[tuple[Route, ...], Choice]:
    """Price every way to answer requests together, and choose.

    Args:
        workspace: whose ledger holds them.
        identifiers: one or more.
        ref: the model that shall forget.
        probes: whose holdout empirical methods stop by.
        within: seconds there are; None: no hurry.

    Raises:
        UnknownName: no such request or model.
        InputError: the model holds no record of a subject.
        MissingNeed: nothing applies.
    """
    lineages = [locate(workspace, identifier) for identifier in identifiers]
    held = workspace.load(ref)
    split = _split(workspace, held, lineages, probes or Probes())
    found = routes(held.trained, split, held.task)
    choice = choose(found, within=within)
    for identifier in identifiers:
        request = workspace.store.request(identifier)
        if request.status is RequestStatus.LOCATED or needs_decision(request):
            detail = {"model": held.fact.id, "routes": [route.to_dict() for route in found]}
            workspace.store.advance_request(
                identifier, RequestStatus.PLANNED, detail | {"chosen": choice.to_dict()}
            )
    return found, choice


def run(
    workspace: Workspace,
    *identifiers: str,
    ref: str = SERVING,
    probes: Probes | None = None,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    references: int | None = None,
    within: float | None = None,
    level: str | None = None,
    seed: int = 0,
    stage: Stage = lambda _: None,
) -> Forgotten:
    """Forget, audit what is not exact against never-trained models, and publish what passes.

    Methods are tried in turn until one passes; the last is exact. A failed attempt is written down
    and not published.

    Args:
        workspace: whose ledger holds the requests.
        identifiers: of the requests, answered together: whoever shares a shard shares its cost.
        ref: the model that shall forget.
        probes: further records for the audit.
        method, options: tried first; None: what `choose` says.
        references: never-trained models to audit against; they are trained now unless the ledger
            has them. None: three, and none at all for an exact method, which needs no audit.
        within: seconds there are; see `choose`.
        level: how much the audit tries; None: `standard` where forgetting is empirical, and `quick`
            where it is exact, which no audit can tell.
        seed: of the forgetting.
        stage: told what begins.

    Raises:
        StateError: a request has ended already.
        MissingNeed, UnknownName, InputError: as `forget` and `audit`; nothing is changed.
    """
    probes = probes or Probes()
    if not identifiers or len(set(identifiers)) < len(identifiers):
        raise InputError(f"give the ids of one or more requests, each once, got {identifiers}")
    if method is not None:
        make_method(method, options or {})
    elif options:
        raise InputError(f"options {sorted(options)} belong to a method: name it (method=...)")
    if references is not None and references < 1:
        raise InputError(f"references must be at least 1, got {references}")
    if level is not None:
        Level.named(level)
    asked = [workspace.store.request(identifier) for identifier in identifiers]
    for request in asked:
        _require_ready(request)
    stage("Planning")
    found, choice = plan(workspace, *identifiers, ref=ref, probes=probes, within=within)
    if method is not None:
        choice = choose(found, method=method, options=options or {}, within=within)
    held = workspace.load(ref)
    lineages = [locate(workspace, identifier) for identifier in identifiers]
    split = _split(workspace, held, lineages, probes)
    detail = {"model": held.fact.id, "methods": [name for name, _ in choice.order]}
    for identifier in identifiers:
        status = workspace.store.request(identifier).status
        if status is RequestStatus.PLANNED:
            # Whoever runs it by hand approves it.
            workspace.store.advance_request(identifier, RequestStatus.APPROVED, {})
        workspace.store.advance_request(identifier, RequestStatus.RUNNING, detail)
    examiner = _Examiner(workspace, held, split, probes, references or REFERENCES, level, stage)
    tried: list[Attempt] = []
    published: Model | None = None
    for name, chosen in choice.order:
        if kind_of(name).guarantee is not Guarantee.EXACT or references is not None:
            examiner.summon()
        attempt = _attempt(held, examiner, split, name, chosen, seed, stage)
        tried.append(attempt)
        if attempt.passed:
            assert attempt.outcome is not None
            # Called off meanwhile, a request refuses this step, and nothing is published.
            for identifier in identifiers:
                workspace.store.advance_request(
                    identifier, RequestStatus.AUDITED, {"method": attempt.method}
                )
            reasons = {request.kind.value for request in asked}
            published = _publish(
                workspace,
                held,
                attempt.outcome,
                asked,
                lineages,
                split,
                "; ".join(sorted(reasons)),
                seed,
            )
            break
    status = RequestStatus.PUBLISHED if published else RequestStatus.NEEDS_INPUT
    outcome: dict[str, Any] = {
        "model": published.id if published else None,
        "verdicts": [attempt.passed for attempt in tried],
    }
    if published is None:
        outcome |= {"for": DECISION, "why": "every attempt failed"}
    ended, paths, written = [], [], []
    for identifier, lineage in zip(identifiers, lineages, strict=True):
        report = document(
            identifier,
            identifiers,
            held,
            examiner.never,
            [dataset.name for dataset in lineage.datasets],
            found,
            choice,
            tried,
            published,
            split,
        )
        path = workspace.settings.reports / f"{identifier}.json"
        write_document(report, path)
        written.append(report)
        paths.append(path)
        ended.append(workspace.store.advance_request(identifier, status, outcome, report=str(path)))
    certified = [issue(workspace, identifier) for identifier in identifiers] if published else []
    return Forgotten(
        tuple(ended),
        held,
        examiner.never,
        published,
        tuple(tried),
        found,
        choice,
        written[0],
        tuple(paths),
        tuple(certified),
    )


def _require_ready(request: Request) -> None:
    """Hold a request to what may be run now, and one whose run was broken off or failed again."""
    status = request.status
    if status in (RequestStatus.WAITING, RequestStatus.NEEDS_INPUT) and not needs_decision(request):
        raise StateError(
            f"request {request.id} waits ({request.history[-1].detail.get('why')}): take it up "
            f"again with 'olvido request resume {request.id}'"
        )
    if not status.open:
        raise StateError(f"request {request.id} has ended: it is {status}; make a new one")
    if request.kind is RequestKind.DESTROY:
        raise InputError(f"request {request.id} wants a model destroyed: nothing is trained for it")


@dataclass
class _Examiner:
    """Audits every attempt against the same evidence, once there is somebody to compare with."""

    workspace: Workspace
    held: Held
    split: Split
    probes: Probes
    references: int
    level: str | None
    stage: Stage
    never: tuple[Held, ...] = ()

    def summon(self) -> None:
        """Have the never-trained models made, where they are not there yet."""
        if not self.never:
            ids = [example.id for example in self.split.forget]
            self.never = never_trained(
                self.workspace, self.held, ids, count=self.references, stage=self.stage
            )

    @cached_property
    def _evidence(self) -> dict[str, Any]:
        task = self.held.task
        return {
            "forget": self.split.forget,
            "retain": self.split.retain,
            "neighbours": self.probes.neighbours,
            "general": self.probes.general,
            "holdout": self.probes.attacked,
            "before": Witness(self.held.trained.model, task),
            "reference": [Witness(other.trained.model, task) for other in self.never],
            "task": task,
        }

    def examine(self, outcome: Outcome) -> Report | None:
        """The audit's report; None where no never-trained model was asked for."""
        if not self.never:
            return None
        usual = "quick" if outcome.guarantee is Guarantee.EXACT else "standard"
        return audit(outcome.model, level=self.level or usual, **self._evidence)


def _attempt(
    held: Held,
    examiner: _Examiner,
    split: Split,
    name: str,
    options: Mapping[str, Any],
    seed: int,
    stage: Stage,
) -> Attempt:
    watch = stage(f"Forgetting by {name}")
    failure = None
    try:
        outcome: Outcome | None = forget(
            held.trained,
            forget=split.forget,
            retain=split.retain,
            holdout=split.holdout,
            task=held.task,
            method=name,
            seed=seed,
            watch=watch,
            **options,
        )
    except ModelDestroyed as error:
        outcome, failure = error.outcome, str(error)
    except (TrainingFailed, StateError) as error:
        return Attempt(name, options, None, None, str(error))
    assert outcome is not None
    if examiner.never:
        stage(f"Auditing {name}")
    return Attempt(name, options, outcome, examiner.examine(outcome), failure)


def _split(workspace: Workspace, held: Held, lineages: Sequence[Lineage], probes: Probes) -> Split:
    gone: set[str] = set()
    for lineage in lineages:
        states = {state.model.id: state for state in lineage.models}
        state = states.get(held.fact.id)
        if state is None or state.holding is not Holding.HOLDS:
            raise InputError(
                f"model {held.fact.id} holds no record of this subject: nothing to forget"
            )
        _refuse_inherited(workspace, held, states)
        gone |= {record.id for record in state.held}
    # Whoever is tombstoned leaves along: what another model forgot may not be trained on again.
    buried = {
        r.id for d in workspace.left(held.fact) for r in workspace.store.tombstoned(d.dataset)
    }
    gone |= buried
    forgotten: list[Example] = []
    kept: list[Example] = []
    for use in workspace.left(held.fact):
        dataset = workspace.store.dataset(use.dataset)
        for example in workspace.rows(dataset, exclude=use.excluded, buried=True):
            (forgotten if example.id in gone else kept).append(example)
    return read_split(forgotten, kept, probes.calibrating)


def _refuse_inherited(workspace: Workspace, held: Held, states: Mapping[str, ModelState]) -> None:
    """Every method and every never-trained model begins where this training began: what was known
    there already can neither be retrained away nor audited."""
    for parent in workspace.training(held.fact).parents:
        state = states.get(parent)
        if state is not None and state.holding is not Holding.WITHOUT:
            raise InputError(
                f"model {held.fact.id} was trained from model {parent}, which learned records of "
                "this subject itself: make that one forget by retraining, and train again from it"
            )


def _publish(
    workspace: Workspace,
    held: Held,
    outcome: Outcome,
    asked: Sequence[Request],
    lineages: Sequence[Lineage],
    split: Split,
    reason: str,
    seed: int,
) -> Model:
    gone = {example.id for example in split.forget}
    uses = []
    for use in workspace.left(held.fact):
        ids = gone & {record.id for record in workspace.store.records(use.dataset)}
        if ids:
            uses.append(
                Use(dataset=use.dataset, forgotten=frozenset(ids), guarantee=outcome.guarantee)
            )
    model = workspace.publish(
        held,
        Trained(outcome.model, outcome.digest, outcome.trace),
        method=outcome.method,
        options=dict(outcome.options),
        uses=uses,
        seed=seed,
    )
    # In every dataset, learned from or not: nobody shall learn from them again.
    for request, lineage in zip(asked, lineages, strict=True):
        bury(workspace, request, lineage, reason)
    return model
