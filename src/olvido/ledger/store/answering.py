"""The part of the store that keeps requests, their closures, and what may not come back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from olvido.errors import AskedBefore
from olvido.ledger.facts import (
    ClosureItem,
    Ending,
    Request,
    RequestBrief,
    RequestKind,
    RequestStatus,
    Wish,
)
from olvido.ledger.identity import SubjectId
from olvido.ledger.store import closure, concerning, datasets, requests
from olvido.ledger.store.concerning import Counts, Touch
from olvido.ledger.store.logged import Logged


class _NotMeant(Exception):
    """Ends a change that shall leave nothing behind."""


def _told(request: Request) -> dict[str, Any]:
    """What the log says of a request that was received."""
    about: dict[str, Any] = {
        "id": request.id,
        "kind": request.kind,
        "subject": request.subject and str(request.subject),
    }
    if "also" in request.scope:
        about["also"] = request.scope["also"]
    return about | {"law": request.law}


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
        wish = Wish(
            kind=RequestKind(kind),
            subject=subject,
            scope=scope or {},
            law=law,
            received_at=received_at,
            detail=detail or {},
        )
        (made,) = self.add_requests([wish])
        if isinstance(made, AskedBefore):
            raise made
        return made

    def add_requests(
        self, wishes: Sequence[Wish], *, only_try: bool = False
    ) -> tuple[Request | AskedBefore, ...]:
        """Add several requests in one change: all of them, or none.

        Where one asks for what an open one asks, one of these among them, what stands for it is
        that error, and nothing is added. With `only_try` nothing is added in any case.
        """
        answers: list[Request | AskedBefore] = []
        try:
            with self._write() as change:
                for wish in wishes:
                    subject = wish.subject and self._current(wish.subject)
                    try:
                        answers.append(requests.add(change, replace(wish, subject=subject)))
                    except AskedBefore as error:
                        answers.append(error)
                if only_try or any(isinstance(one, AskedBefore) for one in answers):
                    raise _NotMeant
                for request in answers:
                    assert isinstance(request, Request)
                    change.log("request-received", _told(request))
        except _NotMeant:
            pass
        return tuple(answers)

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
            return requests.advance(change, before, RequestStatus(status), detail or {}, report)

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

    def concerning(self, dataset: str) -> tuple[Counts, frozenset[str]]:
        """Counts of a dataset's records, and the requests that concern it. Raises UnknownName."""
        with self._read() as connection:
            found = datasets.find(connection, dataset, None)
            counts = concerning.count(connection, found)
            return counts, concerning.of_dataset(connection, found)

    def touching(self, model: str) -> tuple[Touch, ...]:
        """What requests had to do with the model of this id, the oldest request first."""
        with self._read() as connection:
            return concerning.of_model(connection, model)

    def closure(self, request: str) -> tuple[ClosureItem, ...]:
        """What was found to hold a request's data, and how each thing left. Raises UnknownName."""
        with self._read() as connection:
            return closure.items(connection, request)

    def put_closure(self, request: str, found: Mapping[str, Ending]) -> tuple[ClosureItem, ...]:
        """Write down how things left a request, by item. Raises UnknownName.

        The log keeps no places, and the table none of what was erased: see `sealed`.
        """
        with self._write() as change:
            closure.put(change, self.key, request, found)
            said = {self.sealed(item): list(ending) for item, ending in found.items()}
            change.log("closure-noted", {"id": request, "items": said})
            return closure.items(change.connection, request)

    def sealed(self, item: str) -> str:
        """An item of a closure as it is kept once it was erased: a keyed digest of its place."""
        return closure.sealed(self.key, item)

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
