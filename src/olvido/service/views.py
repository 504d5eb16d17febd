"""The plain values that the API and the pages show alike.

Also the inbox: requests by the days they have left, filtered and counted, in any number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from olvido.accounts import Accounts
from olvido.artifacts import KINDS, Disposal
from olvido.errors import InputError, StateError
from olvido.files import read_document
from olvido.ledger.facts import LogEntry, Request, RequestBrief, RequestKind, RequestStatus
from olvido.ledger.serving import SERVING
from olvido.ledger.signing import PublicKey, public_file
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.certificate import certificates_of, check
from olvido.requests.certificate.issue import uncertified
from olvido.requests.closure.places import UNDECIDED
from olvido.requests.guidance import (
    audits_of,
    bounded,
    certified_as,
    concluded_as,
    exported,
    identity_basis,
    identity_checked,
    next_step,
    not_now,
)
from olvido.requests.handlers import RequestContext, approvals, needs_decision
from olvido.requests.rights.deadlines import days_left, deadline_of, due_and_left, law_of, today
from olvido.requests.rights.letter import fitting, state_of
from olvido.requests.scope import corrections
from olvido.requests.workflow.filters import (
    RequestFilter,
    Row,
    ids_named,
    in_order,
    row_of,
    row_of_brief,
    search,
)
from olvido.requests.workflow.lists import summary
from olvido.schemas.options import RunOptions
from olvido.service.status import Receipt


def entry(found: LogEntry) -> dict[str, Any]:
    """One entry of the log."""
    return {
        "seq": found.seq,
        "at": found.at.isoformat(),
        "kind": found.kind,
        "detail": dict(found.detail),
        "commitment": str(found.commitment),
    }


def request(context: RequestContext, found: Request) -> dict[str, Any]:
    """One request: its content, its status, and its deadline."""
    due, step = _deadline(context, found), next_step(context, found)
    return {
        "id": found.id,
        "kind": found.kind.value,
        "status": found.status.value,
        "open": found.status.pending,
        "law": found.law,
        "subject": None if found.subject is None else str(found.subject),
        "scope": dict(found.scope),
        "received_at": found.received_at.isoformat(),
        "due": due and due.answer and due.answer.isoformat(),
        "confirm_by": due and due.confirm and due.confirm.isoformat(),
        "can_extend_until": due and due.extend and due.extend.isoformat(),
        "clock": due and ("running" if due.running else "standing still"),
        "because": due and due.because,
        "days_left": days_left(found, context.settings),
        "answered": found.status in (RequestStatus.PUBLISHED, RequestStatus.CLOSED),
        "identity": identity_basis(found),
        "next": asdict(step),
        "can": acts(found),
        "letters": list(fitting(context, found)),
        "owner": found.owner and {"id": found.owner, "label": _label(context, found.owner)},
        "notes": [
            {
                "at": one.at.isoformat(),
                "by": _label(context, one.by),
                "owner": one.owner and _label(context, one.owner),
                "text": one.text,
            }
            for one in found.notes
        ],
        "approvals": len(approvals(found)),
        "needs_decision": needs_decision(found),
        "history": [
            {"status": s.status.value, "at": s.at.isoformat(), "detail": dict(s.detail)}
            for s in found.history
        ],
    }


def _label(context: RequestContext, account: str) -> str:
    """The label of an account, from the file beside the ledger's key; else its id."""
    return Accounts.of(context.settings).labels().get(account, account)


def acts(found: Request) -> list[str]:
    """The acts that a request's status allows the team."""
    status = found.status
    aside = (RequestStatus.WAITING, RequestStatus.NEEDS_INPUT, RequestStatus.CANCELLED)
    may = {
        "identify": found.subject is not None
        and identity_checked(found) is None
        and status in (RequestStatus.RECEIVED, RequestStatus.LOCATED, *aside[:2]),
        "approve": status is RequestStatus.PLANNED,
        "resume": status in aside,
        "wait": status.open and status not in (RequestStatus.RUNNING, RequestStatus.AUDITED),
        "extend": status.open
        and found.law is not None
        and not any("extended" in step.detail for step in found.history),
        "refuse": status.open and status not in (RequestStatus.RUNNING, RequestStatus.AUDITED),
        "cancel": status.open,
        "close": found.kind is RequestKind.ACCESS
        and exported(found) is not None
        and status in (RequestStatus.IDENTIFIED, RequestStatus.LOCATED),
        "correct": found.kind is RequestKind.RECTIFICATION
        and not corrections(found)
        and identity_checked(found) is not None
        and status in (RequestStatus.IDENTIFIED, RequestStatus.LOCATED),
    }
    return [act for act, now in may.items() if now]


def _deadline(context: RequestContext, found: Request) -> Any:
    return deadline_of(found, context.settings)


def plan(found: Request) -> dict[str, Any] | None:
    """The last plan of a request: every route with its price, and the choice.

    `otherwise` says whether the run made it, in place of an earlier plan.
    """
    plans = [step for step in found.history if "routes" in step.detail]
    if not plans:
        return None
    return {**plans[-1].detail, "otherwise": plans[-1].status is RequestStatus.RUNNING}


def report(context: RequestContext, identifier: str) -> dict[str, Any]:
    """What was done for a request and what the audits found.

    Raises:
        UnknownName: no such request.
        StateError: it has no report yet.
    """
    found = report_of(context, context.store.request(identifier))
    if found is None:
        why = "it has no report yet: a run writes one"
        raise StateError(not_now(context, context.store.request(identifier), why))
    return found


def report_of(context: RequestContext, found: Request) -> dict[str, Any] | None:
    """The report of a request; None where there is none."""
    if found.report is None:
        return None
    # The ledger has the report's path, but the workspace may have been moved since.
    return read_document(context.settings.reports / Path(found.report).name)


def attempts(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The attempts, each with its conclusion in a sentence."""
    return [
        {"method": one["method"], "verdict": one["verdict"], "says": concluded_as(one)}
        for one in report["attempts"]
    ]


def audits(context: RequestContext, identifier: str) -> list[dict[str, Any]]:
    """The audits in a request's report, in order, with the text of a page around each.

    Raises:
        StateError: there is no report, or what was done was exact and needed no audit.
    """
    found = audits_of(report(context, identifier))
    if not found:
        raise StateError(
            f"request {identifier} was answered exactly and not audited: equality leaves an audit "
            "nothing to find"
        )
    return found


def public(context: RequestContext, found: Request) -> dict[str, Any]:
    """The values of a status page: the status and the due day, and nothing else.

    `state` is a key of `Language.states`; `law` is the law whose recourse applies.
    """
    due = _deadline(context, found)
    return {
        "id": found.id,
        "kind": found.kind.value,
        "state": state_of(context, found),
        "law": law_of(found, context.settings),
        "open": found.status.pending,
        "received_at": found.received_at.isoformat(),
        "due": due and due.answer and due.answer.isoformat(),
    }


def receipt(context: RequestContext, found: Receipt) -> dict[str, Any]:
    """The values of a receipt's status page.

    They are the filing and its due day, whatever became of it, and the status once the identity was
    checked.
    """
    request = context.store.request(found.request)
    if found.first and any(s.status is RequestStatus.IDENTIFIED for s in request.history):
        return public(context, request) | {"id": None}
    return {
        "id": None,
        "kind": request.kind.value,
        "state": RequestStatus.RECEIVED.value,
        "law": None,
        "open": True,
        "received_at": found.filed_at.isoformat(),
        "due": found.due and found.due.isoformat(),
    }


def closure(context: RequestContext, identifier: str) -> list[dict[str, Any]]:
    """The artefacts that hold or held a request's data, with their exits; an open one has none."""
    return [
        {
            "item": item.item,
            "is": KINDS[item.item.partition(":")[0]].says,
            "about": _about(context.store, item.item),
            "who": KINDS[item.item.partition(":")[0]].who.value,
            "stated": KINDS[item.item.partition(":")[0]].way is Disposal.STATED,
            "undecided": item.item.partition(":")[0] in UNDECIDED,
            "exit": item.exit and item.exit.value,
            "detail": item.exit and item.detail,
            "by_word": item.by_word,
            "at": item.at.isoformat(),
        }
        for item in context.store.closure(identifier)
    ]


def _about(store: Store, item: str) -> str:
    """A description of an item whose name is an id of the ledger."""
    kind, _, place = item.partition(":")
    if kind in ("rows", "near"):
        dataset = store.dataset(place)
        return f"dataset {dataset.name} version {dataset.version}"
    names = [name for name, known in store.aliases().items() if known == place]
    return f"the model that is called {', '.join(sorted(names))}" if names else ""


def certificate(context: RequestContext, identifier: str) -> dict[str, Any]:
    """The newest certificate of a request: the signed envelope, and whether it holds.

    Raises:
        UnknownName: no such request.
        StateError: it has none.
    """
    found = certificates_of(context, identifier)
    if not found:
        raise StateError(uncertified(context, identifier))
    envelope = read_document(found[-1])
    checked = check(envelope, PublicKey.load(public_file(context.settings.signing_key)))
    predicate = checked.statement["predicate"] if checked.holds and checked.statement else None
    bound = predicate and predicate["guarantee"]["bound"]
    return {
        "holds": checked.holds,
        "reasons": list(checked.reasons),
        "statement": checked.statement,
        "says": predicate and certified_as(predicate),
        "bound": bound and bounded(bound),
        "replay": checked.replay,
        "file": found[-1].name,
        "identity": identity_basis(context.store.request(identifier)),
        "envelope": envelope,
    }


def approve(
    context: RequestContext, identifier: str, *, by: str, how: RunOptions | None = None
) -> Request:
    """Approve a request's plan for the worker, on the model that it was made for.

    Args:
        context: the ledger and settings with the request.
        identifier: the request's id.
        by: the account that approves.
        how: the options of the run, where they differ from the plan.

    Raises:
        UnknownName: no such request, or `how` names something unknown.
        InputError: it has no plan that waits, or the same person approved it before.
    """
    found = context.store.request(identifier)
    made = plan(found)
    if found.kind is RequestKind.DESTROY and how is not None:
        raise InputError("a model is destroyed in one way: approve it without options")
    if made is not None and found.kind is not RequestKind.DESTROY:
        how = how or RunOptions()
        how = how.but(model=made["model"]) if how.model == SERVING else how
    return handlers.approve(context, identifier, by=by, order=how)


FEW = 50
"""Up to this number changed requests are read one by one; more are read together."""
LISTS = 100
"""The number of filtered lists in the cache."""
PENDING = frozenset(status for status in RequestStatus if status.pending)

CHANGES = ("request-received", "request-advanced", "request-noted")
"""Kinds of log entries about a request."""

_Days = tuple[date | None, int | None]


@dataclass
class _Seen:
    """All requests at a length of the log, with the filtered lists."""

    day: date
    entries: int
    rows: list[Row]
    lists: dict[RequestFilter, list[Row]] = field(default_factory=dict)
    counts: dict[str, Any] | None = None


class Inbox:
    """Caches the days that each request has left until its history grows, or the day ends.

    Args:
        context: the ledger and settings with the requests.
    """

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self._seen: _Seen | None = None
        self._day: date | None = None
        self._left: dict[str, tuple[int, _Days]] = {}

    def rows(self, wanted: RequestFilter | None = None) -> list[Row]:
        """The rows of a list, those with the fewest days left first, then the oldest."""
        seen, wanted = self._now(), wanted or RequestFilter()
        if wanted not in seen.lists:
            made = wanted.of_rows(seen.rows)
            # One atomic assignment, for several threads may be here.
            seen.lists = {**(seen.lists if len(seen.lists) < LISTS else {}), wanted: made}
        return seen.lists[wanted]

    def summary(self) -> dict[str, Any]:
        """The summary of all requests: see `olvido.requests.workflow.lists`."""
        seen = self._now()
        if seen.counts is None:
            seen.counts = summary(seen.rows, seen.day)
        return seen.counts

    def search(self, text: str) -> str | RequestFilter | None:
        """Search by a text: see `olvido.requests.workflow.filters.search`."""
        store = self.context.store
        return search(self._now().rows, store.key, text, partial(ids_named, store))

    def _now(self) -> _Seen:
        day = today(self.context.settings)
        # Every change adds to the log: the new entries show which requests changed.
        entries, seen = self.context.store.events_count(), self._seen
        changed = None if seen is None or seen.day != day else self._changed(seen.entries, entries)
        if seen is None or changed is None:
            seen = _Seen(day, entries, in_order(self._all(day)))
        elif changed:
            fresh = [
                row_of(self.context.store.request(one), self.context.settings) for one in changed
            ]
            kept = [row for row in seen.rows if row["id"] not in changed]
            seen = _Seen(day, entries, in_order([*kept, *fresh]))
        elif entries != seen.entries:
            seen = _Seen(day, entries, seen.rows, seen.lists, seen.counts)
        self._seen = seen
        return seen

    def _changed(self, before: int, size: int) -> set[str] | None:
        """The requests that changed since a length of the log; None: unknown."""
        if not 0 <= size - before <= FEW:
            return None
        entries = self.context.store.events_between(after=before, limit=FEW)
        if any(entry.salt is None for entry in entries):
            # The content of a redacted entry cannot be read any more.
            return None
        return {str(e.detail["id"]) for e in entries if e.kind in CHANGES}

    def _all(self, day: date) -> list[Row]:
        found = self.context.store.requests_in_brief()
        left = self._days([one for one in found if one.status in PENDING], day)
        settings = self.context.settings
        return [
            row_of_brief(one, left.get(one.id, (0, (None, None)))[1], settings) for one in found
        ]

    def _days(self, found: Sequence[RequestBrief], day: date) -> dict[str, tuple[int, _Days]]:
        """The days of requests that are not closed, by the length of their histories."""
        settings, store = self.context.settings, self.context.store
        known = self._left if day == self._day else {}
        changed = [one for one in found if known.get(one.id, (0, None))[0] != one.steps]
        if len(changed) <= FEW:
            fresh = [store.request(one.id) for one in changed]
        else:
            fresh = list(store.requests(PENDING))
        read = {one.id: (len(one.history), due_and_left(one, settings)) for one in fresh}
        # Requests that came or changed since the list was read are in the next one.
        left = {one.id: read.get(one.id) or known.get(one.id, (0, (None, None))) for one in found}
        self._left, self._day = {**known, **read}, day
        return left
