"""A request from the first word to the new version: receive, locate, plan, run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.audits import Report, Verdict, Witness, audit
from olvido.documents import write_document
from olvido.errors import InputError, ModelDestroyed, StateError, TrainingFailed
from olvido.forgetting import METHODS, Outcome, Split, forget, make_method, read_split
from olvido.learners import Trained, Watcher
from olvido.ledger.facts import Guarantee, Model, Request, RequestKind, RequestStatus, Use
from olvido.ledger.lineage import Holding, Lineage, ModelState
from olvido.models import weights_digest
from olvido.requests.planner import Route, attempts, routes
from olvido.requests.references import never_trained
from olvido.tasks import Example
from olvido.workspace import SERVING, Held, Workspace

Examine = Callable[[Module], Report]
"""Audits a model against the same evidence every time."""

Stage = Callable[[str], Watcher | None]
"""Called with what begins; gives back who is to be told of its steps."""


@dataclass(frozen=True)
class Probes:
    """Records an audit asks about besides the forgotten and the retained.

    Attributes:
        holdout: of the same making, never seen by any model; a method stops by half of them and
            the audit attacks with the other half.
        neighbours: kept, and near the forgotten.
        general: what everybody may know.
    """

    holdout: tuple[Example, ...] = ()
    neighbours: tuple[Example, ...] = ()
    general: tuple[Example, ...] = ()

    @property
    def calibrating(self) -> tuple[Example, ...]:
        """Half of the holdout, for the method to stop by."""
        return self._half(0)

    @property
    def attacked(self) -> tuple[Example, ...]:
        """The other half, about other people, for the audit."""
        return self._half(1)

    def _half(self, which: int) -> tuple[Example, ...]:
        owners = [
            str(e.fields.get("subjects") or e.fields.get("subject") or e.id) for e in self.holdout
        ]
        half = set(list(dict.fromkeys(owners))[which::2])
        return tuple(e for e, o in zip(self.holdout, owners, strict=True) if o in half)


@dataclass(frozen=True)
class Attempt:
    """One method that was tried, and what the audit said.

    Attributes:
        method, options: what ran.
        outcome: what it made; None where it failed outright.
        report: the audit; None where there was nothing to audit.
        failure: why it failed outright; None where it did not.
    """

    method: str
    options: Mapping[str, Any]
    outcome: Outcome | None
    report: Report | None
    failure: str | None

    @property
    def passed(self) -> bool:
        """Whether this may be published."""
        return self.failure is None and self.report is not None and self.report.passed

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        return {
            "method": self.method,
            "options": dict(self.options),
            "failure": self.failure,
            "outcome": None if self.outcome is None else self.outcome.to_dict(),
            "audit": None if self.report is None else self.report.to_dict(),
            "verdict": "pass" if self.passed else "fail",
        }


@dataclass(frozen=True)
class Forgotten:
    """How a request ended.

    Attributes:
        request: as the ledger has it now.
        before: the model that was asked to forget.
        published: the new version; None where every attempt failed.
        attempts: in the order in which they were tried.
        plan: what could have been done, priced beforehand.
        document: all of this as plain values; `path` is where it was written.
    """

    request: Request
    before: Held
    references: tuple[Held, ...]
    published: Model | None
    attempts: tuple[Attempt, ...]
    plan: tuple[Route, ...]
    document: dict[str, Any]
    path: Path


def receive(
    workspace: Workspace, subject: str, *, kind: str = "erasure", law: str | None = None
) -> Request:
    """Enter a request. The subject's name is digested at once and kept nowhere.

    Raises:
        InputError: no record is about this subject, or the kind is unknown; nothing is entered.
    """
    if kind not in list(RequestKind):
        raise InputError(f"unknown kind {kind!r}: give one of {', '.join(RequestKind)}")
    who = workspace.store.key.subject(subject)
    if not workspace.store.records_of(who):
        raise InputError(
            "no record in any dataset is about this subject: check how the name is written in the "
            "data's subject column"
        )
    return workspace.store.add_request(RequestKind(kind), subject=who, law=law)


def locate(workspace: Workspace, identifier: str) -> Lineage:
    """Find the records, datasets and models that a request touches.

    Raises:
        UnknownName: no such request.
        InputError: it names nobody.
    """
    request = workspace.store.request(identifier)
    if request.subject is None:
        raise InputError(f"request {identifier} names no subject")
    found = workspace.store.lineage(request.subject)
    if request.status is RequestStatus.RECEIVED:
        detail = {"records": len(found.records), "models": [m.id for m in found.holding()]}
        workspace.store.advance_request(identifier, RequestStatus.LOCATED, detail)
    return found


def plan(
    workspace: Workspace, identifier: str, *, ref: str = SERVING, probes: Probes | None = None
) -> tuple[Route, ...]:
    """Price every way to answer a request.

    Raises:
        UnknownName: no such request or model.
        InputError: the model holds no record of the subject.
    """
    lineage = locate(workspace, identifier)
    held = workspace.load(ref)
    found = routes(held.trained, _split(workspace, held, lineage, probes or Probes()), held.task)
    if workspace.store.request(identifier).status is RequestStatus.LOCATED:
        detail = {"model": held.fact.id, "routes": [route.to_dict() for route in found]}
        workspace.store.advance_request(identifier, RequestStatus.PLANNED, detail)
    return found


def run(
    workspace: Workspace,
    identifier: str,
    *,
    ref: str = SERVING,
    probes: Probes | None = None,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    references: int = 3,
    seed: int = 0,
    stage: Stage = lambda _: None,
) -> Forgotten:
    """Forget, audit against never-trained models, and publish what passes.

    Methods are tried in turn until one passes; the last is retraining. A failed attempt is written
    down and not published.

    Args:
        workspace: whose ledger holds the request.
        identifier: of the request.
        ref: the model that shall forget.
        probes: further records for the audit.
        method, options: tried first; None: the best empirical method.
        references: never-trained models to audit against; they are trained now unless the ledger
            has them.
        seed: of the forgetting.
        stage: told what begins.

    Raises:
        StateError: the request has ended already.
        MissingNeed, UnknownName, InputError: as `forget` and `audit`; nothing is changed.
    """
    probes = probes or Probes()
    if method is not None:
        make_method(method, options or {})
    elif options:
        raise InputError(f"options {sorted(options)} belong to a method: name it (method=...)")
    if references < 1:
        raise InputError(f"references must be at least 1, got {references}")
    asked = workspace.store.request(identifier)
    if asked.status in (RequestStatus.DONE, RequestStatus.REFUSED):
        raise StateError(f"request {identifier} has ended: make a new one")
    stage("Planning")
    found = plan(workspace, identifier, ref=ref, probes=probes)
    order = attempts(found, method, options or {})
    held = workspace.load(ref)
    lineage = locate(workspace, identifier)
    split = _split(workspace, held, lineage, probes)
    workspace.store.advance_request(
        identifier, RequestStatus.RUNNING, {"model": held.fact.id, "methods": [n for n, _ in order]}
    )
    never = never_trained(
        workspace, held, [e.id for e in split.forget], count=references, stage=stage
    )
    examine = partial(
        audit,
        forget=split.forget,
        retain=split.retain,
        neighbours=probes.neighbours,
        general=probes.general,
        holdout=probes.attacked,
        before=Witness(held.trained.model, held.task),
        reference=[Witness(other.trained.model, held.task) for other in never],
        task=held.task,
    )
    tried: list[Attempt] = []
    published: Model | None = None
    for name, chosen in order:
        attempt = _attempt(held, examine, split, name, chosen, seed, stage)
        tried.append(attempt)
        if attempt.passed:
            assert attempt.outcome is not None
            published = _publish(
                workspace, held, attempt.outcome, lineage, split, asked.kind.value, seed
            )
            break
    document = _document(identifier, held, never, lineage, found, tried, published, split)
    path = workspace.settings.reports / f"{identifier}.json"
    write_document(document, path)
    status = RequestStatus.DONE if published else RequestStatus.FAILED
    request = workspace.store.advance_request(
        identifier,
        status,
        {"model": published.id if published else None, "verdicts": [a.passed for a in tried]},
        report=str(path),
    )
    return Forgotten(request, held, never, published, tuple(tried), found, document, path)


def _attempt(
    held: Held,
    examine: Examine,
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
    stage(f"Auditing {name}")
    return Attempt(name, options, outcome, examine(outcome.model), failure)


def _split(workspace: Workspace, held: Held, lineage: Lineage, probes: Probes) -> Split:
    states = {state.model.id: state for state in lineage.models}
    state = states.get(held.fact.id)
    if state is None or state.holding is not Holding.HOLDS:
        raise InputError(f"model {held.fact.id} holds no record of this subject: nothing to forget")
    _refuse_inherited(workspace, held, states)
    # Whoever is tombstoned leaves along: what another model forgot may not be trained on again.
    buried = {
        r.id for d in workspace.left(held.fact) for r in workspace.store.tombstoned(d.dataset)
    }
    gone = {record.id for record in state.held} | buried
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
    lineage: Lineage,
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
    for dataset in lineage.datasets:
        about = [record.id for record in lineage.records if record.dataset == dataset.id]
        workspace.store.tombstone(about, reason, dataset=dataset.id)
    return model


def _document(
    identifier: str,
    held: Held,
    never: Iterable[Held],
    lineage: Lineage,
    found: Sequence[Route],
    tried: Sequence[Attempt],
    published: Model | None,
    split: Split,
) -> dict[str, Any]:
    return {
        "request": identifier,
        "verdict": Verdict.PASS.value if published else Verdict.FAIL.value,
        "model": {"before": held.fact.id, "after": published.id if published else None},
        "digest": {"before": str(held.fact.digest), "after": published and str(published.digest)},
        "never_trained": [
            {"id": h.fact.id, "seed": h.fact.seed, "digest": weights_digest(h.trained.model)}
            for h in never
        ],
        "records": {
            "forgotten": len(split.forget),
            "retained": len(split.retain),
            "datasets": [d.name for d in lineage.datasets],
        },
        "plan": [route.to_dict() for route in found],
        "attempts": [attempt.to_dict() for attempt in tried],
        "does_not_prove": [
            "that no other question could bring the records back: only these audits were made",
            "anything about copies of the data or of earlier model versions elsewhere",
        ]
        + (
            ["that the weights equal those of a model that never learned the records"]
            if published and METHODS[tried[-1].method].guarantee is not Guarantee.EXACT
            else []
        ),
    }
