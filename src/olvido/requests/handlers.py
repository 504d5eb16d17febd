"""What the team does with a request: enter it, ask back, approve, postpone, refuse, cancel.

The ledger notes who acted by the id of their account, and names nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from olvido.accounts import Accounts, Right
from olvido.errors import AskedBefore, InputError, ParameterName, StateError, UnknownName, Words
from olvido.ledger.facts import Request, RequestKind, RequestStatus, Wish
from olvido.ledger.identity import SubjectId
from olvido.ledger.serving import SERVING
from olvido.ledger.store import Store
from olvido.requests.rights.clock import require_extension
from olvido.requests.rights.deadlines import (
    ASKED,
    DECISION,
    IDENTITY,
    again_by,
    as_received,
    deadline_of,
    law_of,
    terms,
    today,
    unedited,
)
from olvido.requests.rights.registry import FOLDER, find_law
from olvido.requests.scope import demand, kept, look_up, nameless, spelt, unsearched
from olvido.requests.workflow.given import require_given, require_known
from olvido.schemas.options import RunOptions
from olvido.settings import Settings

APPROVALS: Mapping[RequestKind, int] = {RequestKind.DESTROY: 2}
"""The number of people who must approve, by kind; one for other kinds."""


class RequestContext(Protocol):
    """A ledger and the settings around it: a workspace is one, and so is a `StoreContext`."""

    @property
    def store(self) -> Store: ...
    @property
    def settings(self) -> Settings: ...


@dataclass(frozen=True, slots=True)
class StoreContext:
    """A ledger with its settings alone, for what needs no model."""

    store: Store
    settings: Settings


OLDEST = timedelta(days=10 * 366)
"""The greatest age of a request: no certificate allows a longer wait."""

_S = RequestStatus
_WAY = (_S.RECEIVED, _S.IDENTIFIED, _S.LOCATED, _S.PLANNED, _S.APPROVED)


def receive(context: RequestContext, subject: str | None = None, **said: Any) -> Request:
    """Enter a request; the arguments are those of `wish`.

    Raises as `wish`, and InputError where an open request asks for the same; nothing is entered.
    """
    made = wish(context, subject, **said)
    (entered,) = context.store.add_requests([made])
    if isinstance(entered, AskedBefore):
        raise entered
    return entered


def wish(
    context: RequestContext,
    subject: str | None = None,
    *,
    also: Sequence[str] = (),
    kind: str = "erasure",
    source: str | None = None,
    dataset: str | None = None,
    records: Sequence[str] = (),
    model: str | None = None,
    law: str | None = None,
    received_at: datetime | None = None,
    nothing_found: bool = False,
) -> Wish:
    """Check and digest the content of a request. A subject's names are kept nowhere.

    Args:
        context: a workspace, or its ledger and settings.
        subject: the person or rights holder, as the data's subject column names them, or their
            digest; texts that mention the person are found only by a name.
        also: other names of the same person: the request is about all records of any of them.
        kind: erasure, opt-out and access are about a subject (an opt-out also about a source),
            poison about a source, outdated about records, rectification about records of a
            subject, destroy about a model.
        source: the source, as the data's source column names it.
        dataset, records: facts that are out of date, or wrong.
        model: the model to be destroyed.
        law: the law that the request falls under.
        received_at: when it came, with a time zone; None: now.
        nothing_found: enter it although no record is about the subject, to answer that nothing is
            held.

    Raises:
        InputError: the kind is unknown or needs other arguments, or the ledger has no such data.
        UnknownName: no such law, dataset, record or model.
    """
    if kind not in list(RequestKind):
        raise InputError(f"there is no such kind of request: give one of {', '.join(RequestKind)}")
    if kind == RequestKind.RETENTION:
        raise InputError(
            "requests of kind retention are made by the rules in olvido.toml when they are due: "
            "see 'olvido retention show'"
        )
    store = context.store
    given = {
        "subject": subject is not None,
        "source": source is not None,
        "records": bool(records) or dataset is not None,
        "model": model is not None,
    }
    about = _ABOUT[RequestKind(kind)]
    ways = [list(about)] if kind in _ALL else [[name] for name in about]
    if [name for name, is_given in given.items() if is_given] not in ways:
        link = " and " if kind in _ALL else " or "
        raise InputError(
            f"a request of kind {kind} is about one {link.join(about)}, and nothing else: give ",
            *_GIVEN[about[0]],
            *(part for name in about[1:] for part in (link, *_GIVEN[name])),
        )
    if also and subject is None:
        raise InputError(
            "other names are of a person: give the first as the subject (",
            ParameterName("subject"),
            ")",
        )
    if received_at is not None and received_at > datetime.now(UTC):
        raise InputError(f"a request cannot be received in the future, got {received_at}")
    if received_at is not None and received_at < datetime.now(UTC) - OLDEST:
        raise InputError(
            f"a request cannot be received more than {OLDEST.days // 366} years ago, got "
            f"{received_at:%Y-%m-%d}: check the year"
        )
    detail: dict[str, Any] = {}
    if law is not None:
        found = find_law(law, workspace=context.settings.workspace)
        if (context.settings.workspace / FOLDER).is_dir():
            unedited(found, reversed(store.requests()))
        law, detail = found.name, terms(found, context.settings)
    who = None
    if subject is not None:
        person = look_up(store, [subject, *also])
        demand(person, nothing_found=nothing_found)
        detail |= spelt(store.key, subject, *also)
        who, *others = person.subjects
        scope: dict[str, Any] = {"also": sorted(map(str, others))} if others else {}
        if dataset is not None or records:
            scope |= _wrong(store, person.subjects, dataset, records)
    else:
        scope = _scope(store, source, dataset, records, model)
    return Wish(
        kind=RequestKind(kind),
        subject=who,
        scope=scope,
        law=law,
        received_at=received_at,
        detail=detail,
    )


def again(context: RequestContext, identifier: str) -> Request:
    """Enter a closed request anew, where its law requires that (`Law.again`).

    It is about the same person, by digest: the name is not needed. It finds the data that came in
    since; where none did, that is its answer.

    Raises:
        InputError: it is not closed, its law does not require it, or that was entered already.
    """
    from olvido.requests.guidance import not_now

    store = context.store
    request = store.request(identifier)
    law = law_of(request, context.settings)
    if law is None or law.again is None:
        raise InputError(
            f"the law of request {identifier} wants nothing done again: 'olvido laws' says which do"
        )
    if again_by(request, context.settings) is None:
        raise InputError(not_now(context, request, "what is closed is done again"))
    for other in store.requests():
        if other.history[0].detail.get("repeats") == identifier:
            raise InputError(f"request {other.id} does {identifier} again already")
    now = find_law(law.name, workspace=context.settings.workspace)
    names: dict[str, Any] = {w: sorted(kept(request, w)) for w in ("names", "whole", "near")}
    names["unsearched"] = unsearched(request)
    return store.add_request(
        request.kind,
        subject=request.subject,
        scope=request.scope,
        law=now.name,
        received_at=None,
        detail={**terms(now, context.settings), **names, "repeats": identifier},
    )


_ABOUT = {
    RequestKind.ERASURE: ("subject",),
    RequestKind.OPT_OUT: ("subject", "source"),
    RequestKind.POISON: ("source",),
    RequestKind.OUTDATED: ("records",),
    RequestKind.DESTROY: ("model",),
    RequestKind.ACCESS: ("subject",),
    RequestKind.RECTIFICATION: ("subject", "records"),
}
_ALL = (RequestKind.RECTIFICATION,)
"""Kinds that need all of these arguments, and not one of them."""
_RECORDS: Words = (
    "the dataset and the ids of its records (",
    ParameterName("dataset"),
    ", ",
    ParameterName("record"),
    ")",
)
_GIVEN: dict[str, Words] = {
    "subject": ("who it is about (", ParameterName("subject"), ")"),
    "source": ("the source (", ParameterName("source"), ")"),
    "records": _RECORDS,
    "model": ("the model (", ParameterName("model"), ")"),
}


def _scope(
    store: Store,
    source: str | None,
    dataset: str | None,
    records: Sequence[str],
    model: str | None,
) -> dict[str, Any]:
    if source is not None:
        records_of = store.lineage_of_source(source).records
        if not records_of:
            raise InputError("no record in any dataset is from this source: check its name")
        raw = any(record.source == source for record in records_of)
        return {"source": source if raw else store.key.pseudonym(source)}
    if model is not None:
        found = store.model(model)
        if found.tombstone is not None:
            raise InputError(f"model {found.id} is gone already ({found.tombstone.reason})")
        return {"model": found.id}
    if dataset is None or not records:
        raise InputError("say which facts are out of date: give ", *_RECORDS)
    where = store.dataset(dataset).id
    wanted = list(store.stored_ids(where, records))
    store.lineage_of_records(where, wanted)
    return {"dataset": where, "records": wanted}


def _wrong(
    store: Store, people: Sequence[SubjectId], dataset: str | None, records: Sequence[str]
) -> dict[str, Any]:
    """The wrong records of a person, in every version of their dataset."""
    scope = _scope(store, None, dataset, records, None)
    name = store.dataset(scope["dataset"]).name
    wanted, versions = set(scope["records"]), {}
    for version in store.datasets():
        if version.name != name:
            continue
        theirs = {r.id for r in store.records(version.id) if not set(people).isdisjoint(r.subjects)}
        if version.id == scope["dataset"] and (others := wanted - theirs):
            raise InputError(
                f"{len(others)} of these records are not about this subject: whoever they are "
                "about asks for their own"
            )
        if wanted & theirs:
            versions[version.id] = sorted(wanted & theirs)
    return scope | {"versions": versions}


def identify(context: RequestContext, identifier: str, *, by: str) -> Request:
    """Note that the identity of who asks was checked: by an account that may decide, id or label.

    Raises InputError once it is planned, UnknownName where there is no such account.
    """
    why = "who asks is checked before it is planned"
    return _moved(context, identifier, _S.IDENTIFIED, {"by": deciding(context, by)}, why)


def _moved(
    context: RequestContext,
    identifier: str,
    status: RequestStatus,
    detail: Mapping[str, Any],
    why: str,
) -> Request:
    """Move a request to a status; where that is impossible, say why and what is next instead."""
    from olvido.requests.guidance import not_now

    try:
        return context.store.advance_request(identifier, status, detail)
    except UnknownName:
        raise
    except InputError as error:
        now = context.store.request(identifier)
        raise InputError(not_now(context, now, why)) from error


def approve(
    context: RequestContext, identifier: str, *, by: str, order: RunOptions | None = None
) -> Request:
    """Approve a plan; destruction takes two people.

    Args:
        context: the ledger and settings with the request.
        identifier: the id of a planned request.
        by: the id or label of the account that approves; its id is kept.
        order: the options of the run; None: the serving model shall forget, as planned.

    Raises:
        InputError: it is not planned, the account may not decide, or it approved before.
        UnknownName: there is no such account, or the order names something unknown.
    """
    from olvido.requests.guidance import not_now

    request = context.store.request(identifier)
    demand_forgetting(request)
    if request.status is not _S.PLANNED:
        raise InputError(not_now(context, request, "what is approved is a plan"))
    actor = deciding(context, by)
    given = approvals(request)
    if actor in given:
        raise InputError("the same person approved it before: somebody else has to")
    if order is not None:
        require_given([identifier], order)
        require_known(context.store, order)
    given = (*given, actor)
    detail: dict[str, Any] = {"approvals": list(given)}
    if len(given) < APPROVALS.get(request.kind, 1):
        return context.store.advance_request(identifier, _S.PLANNED, detail)
    serving = context.store.alias(SERVING)
    if order is None and request.kind is not RequestKind.DESTROY and serving is not None:
        order = RunOptions(model=serving.id)
    if order is not None:
        detail["order"] = order.to_dict()
    return context.store.advance_request(identifier, _S.APPROVED, detail)


def demand_forgetting(request: Request) -> None:
    """Refuse to change anything for a request for access. Raises InputError."""
    if not request.kind.forgets:
        raise InputError(
            f"request {request.id} is of kind {request.kind}: no model is changed and nothing is "
            f"erased for it. Write what is held with 'olvido request export {request.id} --out "
            "FOLDER --by ACCOUNT'"
        )


def demand_kind(request: Request, kind: RequestKind, why: str) -> None:
    """Refuse an act on a request of another kind than the act is for. Raises InputError."""
    if request.kind is not kind:
        raise InputError(
            f"request {request.id} is of kind {request.kind}: {why} of kind {kind} "
            f"('olvido request new --kind {kind}')"
        )


def approvals(request: Request) -> tuple[str, ...]:
    """The accounts that approved the present plan of a request."""
    for step in reversed(request.history):
        if step.status is _S.PLANNED and "approvals" not in step.detail:
            return ()
        if "approvals" in step.detail:
            return tuple(step.detail["approvals"])
    return ()


def wait(
    context: RequestContext,
    identifier: str,
    *,
    why: str,
    until: date | None = None,
    need: str | None = None,
) -> Request:
    """Suspend a request until a day, or until the person or the team has answered.

    Args:
        context: the ledger and settings with the request.
        identifier: the id of an open request whose run has not begun.
        why: the reason.
        until: the day on which to look again.
        need: identity, fee or clarification, asked of the person: the clock stands still meanwhile
            where the law says so.

    Raises:
        InputError: no reason, another need, a day that is past, or the request cannot wait now.
    """
    if not why.strip():
        raise InputError("a request waits for a reason: say why (", ParameterName("why"), ")")
    nameless(context.store, context.store.request(identifier), why)
    if until is not None and until <= today(context.settings):
        raise InputError(f"it would have waited until {until}: give a day to come")
    if need is not None and need not in ASKED:
        raise InputError(f"unknown need {need!r}: give one of {', '.join(ASKED)}")
    detail = {"why": why, "until": until and until.isoformat()}
    late = "it cannot be put aside"
    if need is None:
        return _moved(context, identifier, _S.WAITING, detail, late)
    return _moved(context, identifier, _S.NEEDS_INPUT, detail | {"for": need}, late)


def resume(context: RequestContext, identifier: str) -> Request:
    """Resume a request that was suspended or cancelled, from the status that it had."""
    from olvido.requests.guidance import not_now

    request = context.store.request(identifier)
    if request.status not in (_S.WAITING, _S.NEEDS_INPUT, _S.CANCELLED):
        raise InputError(not_now(context, request, "it waits for nothing"))
    identity = request.history[-1].detail.get("for") == IDENTITY
    before = [step.status for step in request.history if step.status in _WAY][-1]
    if before is _S.APPROVED:
        # The approval was of a plan, and the plan may be outdated by now.
        before = _S.PLANNED
    if identity and before is _S.RECEIVED:
        before = _S.IDENTIFIED
    return context.store.advance_request(identifier, before, {"resumed": request.status.value})


def extend(
    context: RequestContext, identifier: str, *, why: str, informed_on: date | None = None
) -> Request:
    """Note that the person was informed that the answer takes longer, and why.

    Raises:
        InputError: no law, no extension in it, informed too late, or extended before.
        StateError: it has ended.
    """
    from olvido.requests.guidance import not_now

    request = context.store.request(identifier)
    law = law_of(request, context.settings)
    if law is None:
        raise InputError(
            f"request {identifier} was entered under no law: there is nothing to extend"
        )
    if not why.strip():
        raise InputError(
            "say why the answer takes longer (",
            ParameterName("why"),
            "): the person has to be informed",
        )
    nameless(context.store, request, why)
    if not request.status.open:
        raise StateError(not_now(context, request, "its answer can take no longer"))
    if any("extended" in step.detail for step in request.history):
        raise InputError(f"request {identifier} was extended before: no law gives it twice")
    day = informed_on or today(as_received(request, context.settings))
    found = deadline_of(request, context.settings)
    require_extension(law, None if found is None else found.answer, day)
    if day < request.received_at.date():
        raise InputError(f"the person cannot have been informed on {day}, before the request came")
    return context.store.advance_request(
        identifier, request.status, {"extended": day.isoformat(), "why": why}
    )


def refuse(context: RequestContext, identifier: str, *, why: str) -> Request:
    """Refuse a request, with the reason that the person is given."""
    if not why.strip():
        raise InputError(
            "say why the request is refused (",
            ParameterName("why"),
            "): the person has to be informed",
        )
    nameless(context.store, context.store.request(identifier), why)
    return _moved(context, identifier, _S.REFUSED, {"why": why}, "it cannot be refused")


def cancel(context: RequestContext, identifier: str, *, why: str) -> Request:
    """Cancel a request; a run under way publishes nothing. `resume` takes it up again."""
    if not why.strip():
        raise InputError(
            "say why the request is called off (",
            ParameterName("why"),
            "): the log keeps the reason",
        )
    nameless(context.store, context.store.request(identifier), why)
    return _moved(context, identifier, _S.CANCELLED, {"why": why}, "it cannot be called off")


def needs_decision(request: Request) -> bool:
    """Whether a run ended without a model to publish, so that the team has to decide."""
    return request.status is _S.NEEDS_INPUT and request.history[-1].detail.get("for") == DECISION


def deciding(context: RequestContext, name: str) -> str:
    """The id of an account that may decide. Raises UnknownName and InputError."""
    return Accounts.of(context.settings).named(name, Right.DECIDE).id
