"""The part of the store that keeps requests, their closures, and what may not come back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from olvido.errors import InputError
from olvido.ledger.facts import (
    ClosureItem,
    Exit,
    Request,
    RequestBrief,
    RequestKind,
    RequestStatus,
)
from olvido.ledger.identity import SubjectId
from olvido.ledger.store import closure, requests
from olvido.ledger.store.logged import Logged


class Answering(Logged):
    """What a store knows of requests. Every change is one transaction with its log entry."""

    def add_request(
        self,
        kind: RequestKind,
        *,
        subject: SubjectId | None = None,
        scope: Mapping[str, Any] | None = None,
        law: str | None = None,
        received_at: datetime | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Request:
        """Add a request as received, now unless said otherwise (with a time zone).

        Raises InputError where an open request asks for the same.
        """
        if received_at is not None and received_at.tzinfo is None:
            raise InputError(f"expected received_at with a time zone, got {received_at}")
        with self._write() as change:
            request = requests.add(
                change,
                kind=RequestKind(kind),
                subject=subject and self._current(subject),
                scope=scope or {},
                law=law,
                received_at=received_at,
                detail=detail or {},
            )
            about = {
                "id": request.id,
                "kind": request.kind,
                "subject": request.subject and str(request.subject),
            }
            if "also" in request.scope:
                about["also"] = request.scope["also"]
            change.log("request-received", about | {"law": law})
        return request

    def advance_request(
        self,
        identifier: str,
        status: RequestStatus,
        detail: Mapping[str, Any] | None = None,
        *,
        report: str | None = None,
    ) -> Request:
        """Move a request to its next status, with what there is to say and the report's path.

        Raises InputError where its status does not lead there, UnknownName for no such request.
        """
        with self._write() as change:
            before = requests.find(change.connection, identifier)
            request = requests.advance(change, before, RequestStatus(status), detail or {}, report)
            change.log(
                "request-advanced",
                {"id": identifier, "status": request.status, "detail": dict(detail or {})},
            )
        return request

    def note_request(
        self, identifier: str, *, by: str, owner: str | None = None, text: str | None = None
    ) -> Request:
        """Write down a note, or who works on a request, whatever its status. Raises UnknownName."""
        with self._write() as change:
            request = requests.note(change, identifier, by=by, owner=owner, text=text)
            said = {"owner": owner} if owner is not None else {"text": text}
            change.log("request-noted", {"id": identifier, "by": by} | said)
        return request

    def requests(self, statuses: Collection[RequestStatus] | None = None) -> tuple[Request, ...]:
        """All requests, or those with one of these statuses, the oldest first."""
        with self._read() as connection:
            return requests.every(connection, statuses)

    def requests_in_brief(self) -> tuple[RequestBrief, ...]:
        """All requests without their histories, the oldest first."""
        with self._read() as connection:
            return requests.brief(connection)

    def request(self, identifier: str) -> Request:
        """A request by id. Raises UnknownName."""
        with self._read() as connection:
            return requests.find(connection, identifier)

    def closure(self, request: str) -> tuple[ClosureItem, ...]:
        """What was found to hold a request's data, and how each thing left. Raises UnknownName."""
        with self._read() as connection:
            return closure.items(connection, request)

    def put_closure(
        self, request: str, found: Mapping[str, tuple[Exit | None, str | None]]
    ) -> tuple[ClosureItem, ...]:
        """Write down how things left a request: exit and detail by item. Raises UnknownName."""
        with self._write() as change:
            closure.put(change, request, found)
            said = {item: [exit, detail] for item, (exit, detail) in found.items()}
            change.log("closure-noted", {"id": request, "items": said})
            return closure.items(change.connection, request)

    def suppress(self, digests: Iterable[str]) -> int:
        """Let nothing with these keyed digests in again; returns how many are new."""
        digests = sorted({self.key.current(digest) for digest in digests})
        with self._write() as change:
            fresh = closure.suppress(change, digests)
            if fresh:
                change.log("suppressed", {"digests": digests})
        return fresh

    def suppressed(self) -> frozenset[str]:
        """Keyed digests of the subjects and contents that may not be brought in again."""
        with self._read() as connection:
            return closure.suppressed(connection)
