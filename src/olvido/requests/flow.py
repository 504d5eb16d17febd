"""Take a request from its records to the new model version: locate, plan, run."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from olvido.errors import InputError, MissingNeed, StateError
from olvido.ledger.facts import DECLARED, PRIVATE, Guarantee, Request, RequestKind, RequestStatus
from olvido.ledger.lineage import Holding, Lineage
from olvido.ledger.serving import SERVING
from olvido.methods import METHODS, Split, read_split
from olvido.requests.attempts import prepare, tried
from olvido.requests.certificate import issue
from olvido.requests.guidance import not_now
from olvido.requests.handlers import demand_forgetting, needs_decision
from olvido.requests.not_learned import (
    certify,
    conclude,
    destroy,
    destroys,
    not_learned,
    planned,
)
from olvido.requests.planner import Choice, Route, choose, routes
from olvido.requests.publishing import Prepared, publish
from olvido.requests.references import REFERENCES, lacking_references, repeated, unpaid
from olvido.requests.scope import corrections, lineage_of
from olvido.requests.types import (
    Attempt,
    Destroyed,
    NothingToForget,
    ProbeSets,
    ReferenceModel,
    RequestOutcome,
    Stage,
    Unchanged,
)
from olvido.requests.workflow.given import require_given, require_known
from olvido.schemas.options import RunOptions
from olvido.tasks import Example
from olvido.training.records import leaving, only
from olvido.workspace import LedgerModel, Workspace
from olvido.workspace.promise import promise_of

USUAL = RunOptions()
"""The default: the serving model forgets, by the methods that `choose` picks."""

PROMISED = (RequestKind.ERASURE, RequestKind.OPT_OUT)
"""Kinds that a private training's promise can answer: what is wrong or poisoned has to go."""


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
    how: RunOptions = USUAL,
    probes: ProbeSets | None = None,
) -> tuple[tuple[Route, ...], Choice]:
    """Price every route to answer requests together, and choose; no route where none is needed.

    Args:
        workspace: the workspace with the requests.
        identifiers: ids of one or more requests.
        how: the model that shall forget, the method to try first, and the time limit. References
            that are asked for are trained in any case, and count as no route's cost.
        probes: the holdout set that empirical methods stop by; None: from the datasets in `how`.

    Raises:
        UnknownName: no such request, model or dataset.
        InputError: the model holds no record of a subject.
        MissingNeed: no method applies.
        StateError: a request has ended, or waits.
    """
    require_given(identifiers, how)
    for identifier in identifiers:
        request = workspace.store.request(identifier)
        demand_forgetting(request)
        if request.kind is RequestKind.RECTIFICATION and not corrections(request):
            raise InputError(
                f"what is right was not entered yet: 'olvido request correct {identifier} --rows "
                "FILE --by ACCOUNT'"
            )
        _require_ready(workspace, request)
    require_known(workspace.store, how)
    lineages = [locate(workspace, identifier) for identifier in identifiers]
    asked = [workspace.store.request(identifier) for identifier in identifiers]
    reasons = [not_learned(workspace.store, request, how.model) for request in asked]
    if none := [why for why in reasons if why is not None]:
        if len(none) < len(asked):
            raise InputError(f"{none[0].because}: give the other requests without that one")
        for request, why in zip(asked, none, strict=True):
            if request.status is RequestStatus.LOCATED or needs_decision(request):
                workspace.store.advance_request(request.id, RequestStatus.PLANNED, planned(why))
        return (), Choice((), f"{none[0].because}; no model has to forget")
    loaded = workspace.load(how.model)
    split = _split(workspace, loaded, lineages, probes or _probes(workspace, how))
    found = routes(loaded.trained, split, loaded.task)
    evidence = None
    if how.references is None:
        evidence = unpaid(workspace, loaded, split, count=REFERENCES)
    choice = choose(
        found, method=how.method, options=how.options, within=how.within, evidence=evidence
    )
    choice = replace(
        choice,
        training=loaded.fact.training,
        lacking=_lacking(workspace, loaded, split, choice, how),
        promise=promise_of(workspace, loaded, _asked_of(loaded, lineages)),
    )
    if choice.promise is not None and choice.promise.suffices and _alone(asked, how):
        choice = Choice(
            (),
            f"what its training promised answers the request, and model {loaded.fact.id} stays as "
            "it is",
            training=choice.training,
            promise=choice.promise,
            unchanged=True,
        )
    for identifier in identifiers:
        request = workspace.store.request(identifier)
        if request.status is RequestStatus.LOCATED or needs_decision(request):
            detail = {"model": loaded.fact.id, "routes": [route.way.to_dict() for route in found]}
            workspace.store.advance_request(
                identifier, RequestStatus.PLANNED, detail | {"chosen": choice.chosen.to_dict()}
            )
    return found, choice


def _alone(asked: Sequence[Request], how: RunOptions) -> bool:
    """Whether a promise can answer: for one request, where no method or audit was asked for."""
    (first, *more) = asked
    free = how.method is None and how.references is None
    return free and not more and first.kind in PROMISED


def unchanged(workspace: Workspace, identifier: str, how: RunOptions) -> Choice | None:
    """The plan of a request that a private training's promise answers; None for any other.

    Raises:
        As `plan`.
    """
    model = workspace.store.model(how.model)
    if model.learner != PRIVATE or model.method is not None or how.method is not None:
        return None
    _, choice = plan(workspace, identifier, how=how)
    return choice if choice.unchanged else None


@dataclass(frozen=True)
class Attempted:
    """The result of all attempts, before anything is published.

    Attributes:
        loaded: the model that was asked to forget.
        never: the references that the attempts were compared with.
        attempts: the attempts in their order.
        found, choice: all routes, and the chosen ones.
        prepared: what is to be published.
    """

    loaded: LedgerModel
    never: tuple[ReferenceModel, ...]
    attempts: tuple[Attempt, ...]
    found: tuple[Route, ...]
    choice: Choice
    prepared: Prepared


def answer(
    workspace: Workspace,
    *identifiers: str,
    how: RunOptions = USUAL,
    stage: Stage = lambda _: None,
) -> RequestOutcome | Destroyed | NothingToForget | Unchanged:
    """Answer requests of any kind: by forgetting, by destroying a model, or without a change.

    A call by hand approves the requests, except a destruction, which two people approve.

    Args:
        workspace: the workspace with the requests.
        identifiers: ids of the requests, answered together; a destruction is answered by itself.
        how: the options, see `run`.
        stage: called with the name of each stage.

    Raises:
        StateError: a request has ended already, waits, or is not approved by two people.
        MissingNeed, UnknownName, InputError: as `run`; nothing is changed.
    """
    from olvido.requests.workflow.forgetting import alone

    store = workspace.store
    require_given(identifiers, how)
    require_known(store, how)
    if destroys(store, identifiers):
        request, models = destroy(workspace, identifiers[0])
        return Destroyed(request, models, issue(workspace, request.id))
    if all(not_learned(store, store.request(one), how.model) for one in identifiers):
        _, choice = plan(workspace, *identifiers, how=how)
        for one in identifiers:
            if store.request(one).status is RequestStatus.PLANNED:
                store.advance_request(one, RequestStatus.APPROVED)
        done = tuple(conclude(workspace, one) for one in identifiers)
        return NothingToForget(done, choice.because)
    with alone(workspace.settings):
        plans = [unchanged(workspace, one, how) for one in identifiers]
        if stand := [plan for plan in plans if plan is not None]:
            if len(stand) < len(plans):
                raise InputError(
                    f"{stand[0].because}. That answers some of these requests: run them apart"
                )
            return _certified(workspace, identifiers, stand, how)
        return run(workspace, *identifiers, how=how, stage=stage)


def _certified(
    workspace: Workspace, identifiers: Sequence[str], plans: Sequence[Choice], how: RunOptions
) -> Unchanged:
    store = workspace.store
    model = store.model(how.model)
    for one, plan in zip(identifiers, plans, strict=True):
        if store.request(one).status is RequestStatus.PLANNED:
            store.advance_request(one, RequestStatus.APPROVED)
        certify(workspace, one, model.id, plan.chosen, served=how.model == SERVING)
    return Unchanged(
        tuple(map(store.request, identifiers)),
        model,
        tuple(plan.promise for plan in plans if plan.promise is not None),
        tuple(issue(workspace, one) for one in identifiers),
    )


def run(
    workspace: Workspace,
    *identifiers: str,
    how: RunOptions = USUAL,
    probes: ProbeSets | None = None,
    stage: Stage = lambda _: None,
) -> RequestOutcome:
    """Forget, audit inexact methods against retrained models, and publish the model that passes.

    Methods are tried in turn until one passes; the last is exact. A failed attempt is written down
    and not published.

    Args:
        workspace: the workspace with the requests.
        identifiers: ids of the requests, answered together: those in one shard share its cost.
        how: the options. A given number of references is trained, unless the ledger has them;
            without one there are three, and none for an exact method, which needs no audit.
        probes: further records for the audit; None: from the datasets that `how` names.
        stage: called with the name of each stage.

    Raises:
        StateError: a request has ended already, or waits.
        MissingNeed, UnknownName, InputError: as `forget` and `audit`; nothing is changed.
    """
    done = attempt(workspace, *identifiers, how=how, probes=probes, stage=stage)
    requests, published = publish(workspace, done.prepared)
    paths = [workspace.settings.reports / f"{identifier}.json" for identifier in identifiers]
    certified = [issue(workspace, identifier) for identifier in identifiers] if published else []
    return RequestOutcome(
        requests,
        done.loaded,
        done.never,
        published,
        done.attempts,
        done.found,
        done.choice,
        done.prepared.documents[identifiers[0]],
        tuple(paths),
        tuple(certified),
    )


def attempt(
    workspace: Workspace,
    *identifiers: str,
    how: RunOptions = USUAL,
    probes: ProbeSets | None = None,
    stage: Stage = lambda _: None,
) -> Attempted:
    """Do what `run` does, except publishing; the requests have the status running then."""
    require_given(identifiers, how)
    require_known(workspace.store, how)
    # A worker that resumes this cannot find records again that no dataset holds.
    order = None if probes is not None else how
    probes = probes or _probes(workspace, how)
    asked = [workspace.store.request(identifier) for identifier in identifiers]
    for request in asked:
        demand_forgetting(request)
        _require_ready(workspace, request)
    stage("Planning")
    found, choice = plan(workspace, *identifiers, how=how, probes=probes)
    if not choice.order:
        raise InputError(
            f"{choice.because}: 'olvido request run' and the worker answer that without a run"
        )
    if choice.lacking is not None:
        raise MissingNeed(choice.lacking)
    loaded = workspace.load(how.model)
    lineages = [locate(workspace, identifier) for identifier in identifiers]
    split = _split(workspace, loaded, lineages, probes)
    running = {"model": loaded.fact.id, "methods": [name for name, _ in choice.order]}
    chosen: dict[str, Any] = choice.chosen.to_dict()
    planned_now = {"routes": [route.way.to_dict() for route in found], "chosen": chosen}
    for identifier in identifiers:
        request = workspace.store.request(identifier)
        if request.status is RequestStatus.PLANNED:
            # Whoever runs it by hand approves it.
            approved = {} if order is None else {"order": order.but(model=loaded.fact.id).to_dict()}
            workspace.store.advance_request(identifier, RequestStatus.APPROVED, approved)
        before = [s.detail["chosen"]["order"] for s in request.history if "chosen" in s.detail]
        # A run that differs from its plan is planned again, so that the log has its real plan.
        otherwise = not before or before[-1] != chosen["order"]
        detail = running | (planned_now if otherwise else {})
        workspace.store.advance_request(identifier, RequestStatus.RUNNING, detail)
    attempts, never = tried(workspace, loaded, split, choice, how=how, probes=probes, stage=stage)
    planned_ = (found, choice)
    ready = prepare(workspace, loaded, attempts, never, lineages, split, planned_, how.seed, asked)
    return Attempted(loaded, never, attempts, found, choice, ready)


def _lacking(
    workspace: Workspace, loaded: LedgerModel, split: Split, choice: Choice, how: RunOptions
) -> str | None:
    """What the audit of the first chosen method lacks; None where it lacks nothing."""
    name, _ = choice.order[0]
    if METHODS.find(name).guarantee is Guarantee.EXACT and how.references is None:
        return None
    ids = [example.id for example in split.forget]
    return lacking_references(workspace, loaded, ids, count=how.references or REFERENCES)


def _require_ready(workspace: Workspace, request: Request) -> None:
    """Refuse a request that may not be run now; one whose run broke off or failed may."""
    status = request.status
    if request.kind is RequestKind.DESTROY:
        raise InputError(f"request {request.id} wants a model destroyed: nothing is trained for it")
    aside = status in (RequestStatus.WAITING, RequestStatus.NEEDS_INPUT)
    if not status.open or (aside and not needs_decision(request)):
        raise StateError(not_now(workspace, request, "nothing is planned or run for it"))


def _probes(workspace: Workspace, how: RunOptions) -> ProbeSets:
    """The probe records from the datasets that are named."""

    def rows(name: str | None) -> tuple[Example, ...]:
        return () if name is None else tuple(workspace.rows(workspace.store.dataset(name)))

    return ProbeSets(rows(how.holdout), rows(how.neighbours), rows(how.general))


def _split(
    workspace: Workspace, loaded: LedgerModel, lineages: Sequence[Lineage], probes: ProbeSets
) -> Split:
    gone = _asked_of(loaded, lineages)
    # All tombstoned records are left out too: what another model forgot is never trained on again.
    tombstoned = {
        r.id for d in workspace.left(loaded.fact) for r in workspace.store.tombstoned(d.dataset)
    }
    gone |= tombstoned
    _require_seen(workspace, loaded, gone)
    elsewhere = {
        use.dataset
        for training in workspace.chain(loaded.fact)
        if training.learner == DECLARED
        for use in workspace.store.uses(training.id)
    }
    # A model from elsewhere may have learned what nothing may be taught from any more.
    barred = {d: workspace.store.withdrawn(d) - gone for d in elsewhere}
    rows = workspace.held(loaded.fact, without=barred, tombstoned=True)
    split = read_split(only(rows, gone), leaving(rows, gone), probes.calibrating)
    _tell_classes(loaded, split)
    return split


def _asked_of(loaded: LedgerModel, lineages: Sequence[Lineage]) -> set[str]:
    """The records of these requests that a model holds.

    Raises:
        InputError: it holds none of one of them.
    """
    asked: set[str] = set()
    for lineage in lineages:
        states = {state.model.id: state for state in lineage.models}
        state = states.get(loaded.fact.id)
        if state is None or state.holding is not Holding.HOLDS:
            raise InputError(
                f"model {loaded.fact.id} holds no record of this subject: nothing to forget"
            )
        asked |= {record.id for record in state.contained}
    return asked


def _tell_classes(loaded: LedgerModel, split: Split) -> None:
    """Warn of classes that nobody else has: their outputs stay, whatever forgets the records."""
    if not loaded.task.classes:
        return
    alone = {e.completion for e in split.forget} - {e.completion for e in split.retain}
    if alone:
        warnings.warn(
            f"{len(alone)} of the model's classes are those of the forgotten records alone: their "
            "names, and an output for each, stay in the model whatever forgets the records; train "
            "a model of the other classes to be rid of them",
            stacklevel=2,
        )


def _require_seen(workspace: Workspace, loaded: LedgerModel, ids: Collection[str]) -> None:
    """Refuse records that an earlier training of a chain learned which nobody witnessed: such a
    forgetting would rest on a declaration, and its certificate on the last training alone."""
    for training, _ in repeated(workspace, loaded.fact, ids)[:-1]:
        if training.learner == DECLARED:
            raise InputError(
                f"model {loaded.fact.id} was trained from model {training.id}, which was trained "
                "elsewhere and is declared to have learned records of this subject: make that one "
                "forget, and train again from it"
            )
