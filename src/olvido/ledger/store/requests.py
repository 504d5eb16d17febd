"""SQL of requests and their histories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from olvido.errors import InputError, UnknownName
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import Request, RequestKind, RequestStatus, Step, now
from olvido.ledger.identity import SubjectId
from olvido.ledger.store import schema
from olvido.ledger.store.datasets import next_pk

_S = RequestStatus
_ENDS = frozenset({_S.FAILED, _S.REFUSED})
_NEXT: Mapping[RequestStatus, frozenset[RequestStatus]] = {
    _S.RECEIVED: _ENDS | {_S.LOCATED},
    _S.LOCATED: _ENDS | {_S.PLANNED},
    _S.PLANNED: _ENDS | {_S.RUNNING},
    _S.RUNNING: _ENDS | {_S.RUNNING, _S.DONE},
    # What failed may be tried again from any step.
    _S.FAILED: frozenset({_S.LOCATED, _S.PLANNED, _S.RUNNING, _S.REFUSED}),
    _S.DONE: frozenset(),
    _S.REFUSED: frozenset(),
}


def add(
    connection: Connection,
    *,
    kind: RequestKind,
    subject: SubjectId | None,
    law: str | None,
    received_at: datetime,
    detail: Mapping[str, Any],
) -> Request:
    """Insert a request as received."""
    table = schema.requests
    pk = next_pk(connection, table.c.pk)
    request = Request(
        id=f"req-{pk:04d}",
        kind=kind,
        subject=subject,
        law=law,
        received_at=received_at,
        status=RequestStatus.RECEIVED,
        history=(Step(RequestStatus.RECEIVED, now(), dict(detail)),),
        report=None,
    )
    connection.execute(
        insert(table).values(
            pk=pk,
            id=request.id,
            kind=kind,
            subject=subject and str(subject),
            law=law,
            received_at=received_at.isoformat(),
            status=request.status,
        )
    )
    _add_step(connection, pk, 0, request.history[0])
    return request


def advance(
    connection: Connection,
    request: Request,
    status: RequestStatus,
    detail: Mapping[str, Any],
    report: str | None,
) -> Request:
    """Move a request on. Raises InputError where its status does not lead there."""
    allowed = _NEXT[request.status]
    if status not in allowed:
        ways = ", ".join(s for s in RequestStatus if s in allowed) or "nothing: it is closed"
        raise InputError(
            f"request {request.id} is {request.status}, which leads to {ways}; got {status}"
        )
    table = schema.requests
    changes = {"status": status} | ({"report": report} if report is not None else {})
    connection.execute(update(table).where(table.c.id == request.id).values(**changes))
    pk = connection.execute(select(table.c.pk).where(table.c.id == request.id)).scalar_one()
    _add_step(connection, pk, len(request.history), Step(status, now(), dict(detail)))
    return find(connection, request.id)


def _add_step(connection: Connection, request: int, position: int, step: Step) -> None:
    connection.execute(
        insert(schema.request_steps).values(
            request=request,
            position=position,
            status=step.status,
            at=step.at.isoformat(),
            detail=canonical_json(dict(step.detail)).decode(),
        )
    )


def every(connection: Connection) -> tuple[Request, ...]:
    """All requests, the oldest first."""
    steps: dict[int, list[Step]] = {}
    table = schema.request_steps
    for row in connection.execute(select(table).order_by(table.c.request, table.c.position)):
        steps.setdefault(row.request, []).append(
            Step(RequestStatus(row.status), datetime.fromisoformat(row.at), json.loads(row.detail))
        )
    return tuple(
        Request(
            id=row.id,
            kind=RequestKind(row.kind),
            subject=row.subject and SubjectId.from_str(row.subject),
            law=row.law,
            received_at=datetime.fromisoformat(row.received_at),
            status=RequestStatus(row.status),
            history=tuple(steps[row.pk]),
            report=row.report,
        )
        for row in connection.execute(select(schema.requests).order_by(schema.requests.c.pk))
    )


def find(connection: Connection, identifier: str) -> Request:
    """The request with this id."""
    known = {request.id: request for request in every(connection)}
    if identifier not in known:
        raise UnknownName("request", identifier, known)
    return known[identifier]
