"""SQL for requests, their histories and closures, and the suppression list."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, case, delete, func, insert, or_, select, true, update

from olvido.errors import AskedBefore, InputError, UnknownName
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import (
    ClosureItem,
    Ending,
    Exit,
    HistoryEntry,
    Request,
    RequestBrief,
    RequestKind,
    RequestNote,
    RequestStatus,
    Wish,
)
from olvido.ledger.identity import Key, SubjectId
from olvido.ledger.store import schema
from olvido.ledger.store.datasets import chunks, next_pk
from olvido.schemas.events import event

if TYPE_CHECKING:
    from olvido.ledger.store.log import WriteTransaction


_S = RequestStatus
_ASIDE = frozenset({_S.NEEDS_INPUT, _S.WAITING, _S.REFUSED, _S.CANCELLED})
_BEFORE = frozenset({_S.RECEIVED, _S.IDENTIFIED, _S.LOCATED, _S.PLANNED, _S.APPROVED})
_NEXT: Mapping[RequestStatus, frozenset[RequestStatus]] = {
    _S.RECEIVED: _ASIDE | {_S.IDENTIFIED, _S.LOCATED},
    _S.IDENTIFIED: _ASIDE | {_S.LOCATED},
    _S.LOCATED: _ASIDE | {_S.IDENTIFIED, _S.PLANNED},
    _S.PLANNED: _ASIDE | {_S.LOCATED, _S.APPROVED},
    _S.APPROVED: _ASIDE | {_S.PLANNED, _S.RUNNING},
    _S.RUNNING: frozenset({_S.AUDITED, _S.NEEDS_INPUT, _S.CANCELLED}),
    _S.AUDITED: frozenset({_S.PUBLISHED, _S.RUNNING, _S.NEEDS_INPUT, _S.CANCELLED}),
    _S.PUBLISHED: frozenset({_S.CLOSED}),
    # A suspended request resumes with the status that it had, or any earlier one.
    _S.NEEDS_INPUT: _ASIDE | _BEFORE,
    _S.WAITING: _ASIDE | _BEFORE,
    _S.CANCELLED: _BEFORE,
    _S.CLOSED: frozenset(),
    _S.REFUSED: frozenset(),
}


_FORGETTING = frozenset({_S.PLANNED, _S.APPROVED, _S.RUNNING, _S.AUDITED, _S.PUBLISHED})
"""Statuses that only requests reach for which a model is changed."""


def _next(request: Request) -> frozenset[RequestStatus]:
    """The statuses that may follow a request's status."""
    found = _NEXT[request.status]
    if request.kind.forgets:
        return found
    # A request for access needs no further steps: it goes from located to the end.
    also = {_S.CLOSED} if request.status is _S.LOCATED else set()
    return (found - _FORGETTING) | also


def add(change: WriteTransaction, wish: Wish) -> Request:
    """Insert a request as received. Raises AskedBefore where an open one asks the same."""
    event(RequestStatus.RECEIVED, wish.detail)
    connection, table = change.connection, schema.requests
    _refuse_twice(connection, wish.kind, wish.subject, wish.scope)
    pk = next_pk(connection, table.c.pk)
    change.touch("request", [(pk,)])
    request = Request(
        id=f"req-{pk:04d}",
        kind=wish.kind,
        subject=wish.subject,
        scope=dict(wish.scope),
        law=wish.law,
        received_at=wish.received_at or change.at,
        status=RequestStatus.RECEIVED,
        history=(HistoryEntry(RequestStatus.RECEIVED, change.at, dict(wish.detail)),),
        report=None,
    )
    connection.execute(
        insert(table).values(
            pk=pk,
            id=request.id,
            kind=request.kind,
            subject=request.subject and str(request.subject),
            scope=_scope(request.scope),
            law=request.law,
            received_at=request.received_at.isoformat(),
            status=request.status,
        )
    )
    _add_step(connection, pk, 0, request.history[0])
    return request


def _scope(scope: Mapping[str, Any]) -> str:
    return canonical_json(dict(scope)).decode()


def _refuse_twice(
    connection: Connection,
    kind: RequestKind,
    subject: SubjectId | None,
    scope: Mapping[str, Any],
) -> None:
    """Raise AskedBefore where an open request asks the same, maybe with more of the names."""
    if subject is None and not scope:
        return
    table, open_ = schema.requests, [status for status in RequestStatus if status.open]
    query = select(table).where(table.c.kind == kind, table.c.status.in_(open_))
    if subject is None:
        query = query.where(table.c.subject.is_(None), table.c.scope == _scope(scope))
    else:
        # An open request with this name, as its first or among its others.
        other = table.c.scope.contains(str(subject), autoescape=True)
        query = query.where(or_(table.c.subject == str(subject), other))
    wanted = _names(None if subject is None else str(subject), scope)
    for row in connection.execute(query.order_by(table.c.pk)):
        asked = json.loads(row.scope)
        if wanted <= _names(row.subject, asked) and _records(scope) <= _records(asked):
            raise AskedBefore(row.id, row.status)


def _records(scope: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The records that a request is about, where these are not all of the person's."""
    return {(scope["dataset"], record) for record in scope.get("records", ())}


def _names(subject: str | None, scope: Mapping[str, Any]) -> set[str]:
    return {subject, *scope.get("also", ())} - {None} if subject else set()


def advance(
    change: WriteTransaction,
    request: Request,
    status: RequestStatus,
    detail: Mapping[str, Any],
    report: str | None,
) -> Request:
    """Move an open request to a status, or add a step without a change of status.

    Raises InputError where its status does not lead there, or the detail is invalid.
    """
    allowed = _next(request) | ({request.status} if request.status.open else set())
    if status not in allowed:
        ways = ", ".join(s for s in RequestStatus if s in allowed) or "nothing: it has ended"
        raise InputError(
            f"request {request.id} is {request.status}, which leads to {ways}; got {status}"
        )
    event(status, detail)
    connection, table = change.connection, schema.requests
    pk = number(connection, request.id)
    change.touch("request", [(pk,)])
    changes = {"status": status} | ({"report": report} if report is not None else {})
    connection.execute(update(table).where(table.c.id == request.id).values(**changes))
    _add_step(
        connection,
        pk,
        len(request.history),
        HistoryEntry(status, change.at, dict(detail)),
    )
    change.log("request-advanced", {"id": request.id, "status": status, "detail": dict(detail)})
    return find(connection, request.id)


def note(
    change: WriteTransaction, identifier: str, *, by: str, owner: str | None, text: str | None
) -> Request:
    """Add a note of the team to a request. Raises UnknownName."""
    connection, table = change.connection, schema.request_notes
    pk = number(connection, identifier)
    change.touch("request", [(pk,)])
    known = connection.execute(select(func.count()).where(table.c.request == pk)).scalar_one()
    connection.execute(
        insert(table).values(
            request=pk, position=known, at=change.at.isoformat(), by=by, owner=owner, text=text
        )
    )
    return find(connection, identifier)


def number(connection: Connection, identifier: str) -> int:
    """The number of a request in the database. Raises UnknownName."""
    table = schema.requests
    found = connection.execute(select(table.c.pk).where(table.c.id == identifier)).scalar()
    if found is None:
        raise UnknownName("request", identifier, connection.execute(select(table.c.id)).scalars())
    return int(found)


def _add_step(connection: Connection, request: int, position: int, step: HistoryEntry) -> None:
    connection.execute(
        insert(schema.request_steps).values(
            request=request,
            position=position,
            status=step.status,
            at=step.at.isoformat(),
            detail=canonical_json(dict(step.detail)).decode(),
        )
    )


def every(
    connection: Connection, statuses: Collection[RequestStatus] | None = None
) -> tuple[Request, ...]:
    """All requests, or those with one of these statuses, the oldest first."""
    return _read(
        connection, true() if statuses is None else schema.requests.c.status.in_(list(statuses))
    )


def brief(connection: Connection) -> tuple[RequestBrief, ...]:
    """All requests without their histories, the oldest first."""
    table, steps = schema.requests, schema.request_steps
    answers = [status for status in RequestStatus if status.answers]
    answered = case((steps.c.status.in_(answers), steps.c.at))
    counts = (
        select(
            steps.c.request, func.count().label("steps"), func.min(answered).label("answered_at")
        )
        .group_by(steps.c.request)
        .subquery()
    )
    query = (
        select(table, counts.c.steps, counts.c.answered_at)
        .join(counts, counts.c.request == table.c.pk)
        .order_by(table.c.pk)
    )
    notes = schema.request_notes
    named = select(notes.c.request, notes.c.owner).where(notes.c.owner.is_not(None))
    owners: dict[int, str] = {}
    for row in connection.execute(named.order_by(notes.c.request, notes.c.position)):
        owners[row.request] = row.owner
    return tuple(
        RequestBrief(
            id=row.id,
            kind=row.kind,
            status=row.status,
            law=row.law,
            subject=row.subject,
            scope=row.scope,
            received_at=row.received_at,
            steps=row.steps,
            answered_at=row.answered_at,
            owner=owners.get(row.pk) or None,
        )
        for row in connection.execute(query)
    )


def find(connection: Connection, identifier: str) -> Request:
    """The request with this id. Raises UnknownName."""
    number(connection, identifier)
    return _read(connection, schema.requests.c.id == identifier)[0]


def _read(connection: Connection, wanted: Any) -> tuple[Request, ...]:
    steps: dict[int, list[HistoryEntry]] = {}
    table, requests = schema.request_steps, schema.requests
    query = select(table).join(requests).where(wanted).order_by(table.c.request, table.c.position)
    for row in connection.execute(query):
        steps.setdefault(row.request, []).append(
            HistoryEntry(
                RequestStatus(row.status), datetime.fromisoformat(row.at), json.loads(row.detail)
            )
        )
    noted = schema.request_notes
    notes: dict[int, list[RequestNote]] = {}
    query = select(noted).join(requests).where(wanted).order_by(noted.c.request, noted.c.position)
    for row in connection.execute(query):
        at = datetime.fromisoformat(row.at)
        notes.setdefault(row.request, []).append(RequestNote(at, row.by, row.owner, row.text))
    return tuple(
        Request(
            id=row.id,
            kind=RequestKind(row.kind),
            subject=row.subject and SubjectId.from_str(row.subject),
            scope=json.loads(row.scope),
            law=row.law,
            received_at=datetime.fromisoformat(row.received_at),
            status=RequestStatus(row.status),
            history=tuple(steps[row.pk]),
            report=row.report,
            notes=tuple(notes.get(row.pk, ())),
        )
        for row in connection.execute(select(requests).where(wanted).order_by(requests.c.pk))
    )


_BY_ID = ("rows", "near", "model", "checkpoints", "activations")
_DIGEST = re.compile(r"place:v[0-9]+:([0-9a-f]{64})")


def sealed(key: Key, item: str) -> str:
    """An item with a keyed digest in place of its place; unchanged where it has an id."""
    kind, colon, place = item.partition(":")
    if not colon or kind in _BY_ID or _DIGEST.fullmatch(place):
        return item
    return f"{kind}:{key.place(place)}"


def is_sealed(item: str) -> bool:
    """Whether an item has only a digest of its place."""
    return _DIGEST.fullmatch(item.partition(":")[2]) is not None


def items(connection: Connection, request: str) -> tuple[ClosureItem, ...]:
    """All items of a request's closure, by name."""
    table = schema.closure_items
    rows = connection.execute(
        select(table).where(table.c.request == number(connection, request)).order_by(table.c.item)
    )
    return tuple(
        ClosureItem(
            item=row.item,
            exit=None if row.exit is None else Exit(row.exit),
            detail=row.detail,
            by_word=row.by_word,
            at=datetime.fromisoformat(row.at),
        )
        for row in rows
    )


def put(change: WriteTransaction, key: Key, request: str, found: Mapping[str, Ending]) -> None:
    """Set the exits of items, in place of earlier ones.

    The place of an erased item is kept as a digest alone: nobody has to search it again, and names
    of files may be those of people.
    """
    connection, table, at = change.connection, schema.closure_items, change.at.isoformat()
    pk = number(connection, request)
    hidden = {item: sealed(key, item) for item in found}
    both = sorted({*hidden, *hidden.values()})
    change.touch("closure-item", [(pk, item) for item in both])
    for chunk in chunks(both):
        connection.execute(delete(table).where(table.c.request == pk, table.c.item.in_(chunk)))
    rows = [
        {
            "request": pk,
            "item": hidden[item] if said.exit is Exit.ERASED else item,
            "at": at,
            **said._asdict(),
        }
        for item, said in found.items()
    ]
    if rows:
        connection.execute(insert(table), rows)


def suppress(change: WriteTransaction, digests: Iterable[str]) -> int:
    """Add digests to the list; return the number of new ones."""
    fresh, at = set(digests) - suppressed(change.connection), change.at.isoformat()
    rows = [{"digest": digest, "at": at} for digest in sorted(fresh)]
    change.touch("suppression", [(digest,) for digest in sorted(fresh)])
    if rows:
        change.connection.execute(insert(schema.suppressions), rows)
    return len(rows)


def suppressed(connection: Connection) -> frozenset[str]:
    """Every digest on the list."""
    return frozenset(connection.execute(select(schema.suppressions.c.digest)).scalars())
