"""The parts of the store for the log, its comparison with the tables, requests, their closures, and
the suppression list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select

from olvido.errors import AskedBefore, InputError, StateError
from olvido.ledger.digests import Digest
from olvido.ledger.facts import (
    ClosureItem,
    Ending,
    LogEntry,
    Request,
    RequestBrief,
    RequestKind,
    RequestStatus,
    Wish,
    now,
)
from olvido.ledger.identity import Key, SubjectId
from olvido.ledger.signing import LogCheckpoint, SigningKey, public_file
from olvido.ledger.store import (
    comparing,
    concerning,
    datasets,
    engine,
    log,
    requests,
    schema,
    verifying,
)
from olvido.ledger.store import (
    comparing as rotating,
)
from olvido.ledger.store import requests as closure
from olvido.ledger.store import (
    verifying as shape,
)
from olvido.ledger.store.comparing import TableDifference
from olvido.ledger.store.concerning import SubjectCounts, Touch
from olvido.ledger.store.log import Inclusion, WriteTransaction
from olvido.ledger.store.verifying import LogCheck


class Logged:
    """The log's part of a store. Every change is one transaction with its log entries."""

    _engine: Engine
    key: Key

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with engine.transaction(self._engine, writing=False) as connection:
            self._demand_key(connection)
            try:
                yield connection
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # The row's values are not repeated in the message: they may be anything.
                raise StateError(
                    f"a row of the ledger is not what Olvido wrote ({type(error).__name__}): "
                    "'olvido data check' says in which table, and what still holds"
                ) from error

    @contextmanager
    def _write(self) -> Iterator[WriteTransaction]:
        with engine.transaction(self._engine, writing=True) as connection:
            self._demand_key(connection)
            if acting := shape.meddling(connection):
                raise StateError(
                    f"the ledger's database has a {acting[0]}, which Olvido did not make and which "
                    "may change what is written: nothing was changed. Find out who made it. What a "
                    f"tool left ({shape.LEFT}) is taken out again, and 'olvido data check' finds "
                    "other changes; otherwise go back to a copy that you trust"
                )
            change = WriteTransaction(connection, self.key)
            yield change
            change.finish()

    def _demand_key(self, connection: Connection) -> None:
        """Raise StateError where the key was rotated since: no subject would be found any more."""
        # Compared by the fingerprint; the log reveals an edited version number.
        known = connection.execute(select(schema.ledger.c.key_fingerprint)).scalar()
        if known not in (None, str(self.key.fingerprint)):
            raise StateError(
                "the key of this ledger is not the one that this program opened it with: where it "
                "was rotated since, start it again"
            )

    def _current(self, subject: SubjectId) -> SubjectId:
        """Turn a subject of an earlier version of the key into this version's."""
        return SubjectId.from_str(self.key.current(str(subject)))

    def rotate(self, key: Key, signer: SigningKey) -> None:
        """Rotate to the next version of the key, which is in its file already.

        The old key's digests are made anew or destroyed, in one logged transaction; the rows of
        datasets keep the subjects of their import, and are read with the earlier secrets.

        Raises:
            InputError: it is not the next version of this ledger's key.
            StateError: the ledger is not sound, or this is not the key that signs for it.
        """
        if key.version != self.key.version + 1 or key.at(self.key.version) != self.key:
            raise InputError("expected the next version of this ledger's key, got another")
        with self._write() as change:
            rotating.rotate(change, self.key, key, signer)
        self.key = key
        engine.wipe(self._engine)

    def events(self, kind: str | None = None) -> tuple[LogEntry, ...]:
        """The log, or its entries of one kind, the oldest first."""
        with self._read() as connection:
            return log.entries(connection, kind)

    def events_between(
        self, *, after: int = 0, before: int | None = None, limit: int, newest: bool = False
    ) -> tuple[LogEntry, ...]:
        """At most `limit` entries after one number and before another, the oldest first.

        With `newest`: the last of them, the newest first. Other entries are not read.
        """
        with self._read() as connection:
            return log.part(connection, after=after, before=before, limit=limit, newest=newest)

    def events_count(self) -> int:
        """The number of entries in the log: every change of the ledger adds one."""
        with self._read() as connection:
            return log.size(connection)

    def note(self, kind: str, detail: Mapping[str, Any]) -> int:
        """Append a log entry without a change in the ledger; return its number."""
        with self._write() as change:
            return change.log(kind, detail)

    def redact(self, entries: Iterable[int], reason: str, signer: SigningKey) -> None:
        """Destroy the salts and contents of log entries, so that nobody can read them any more.

        The tree, its signed heads, and the entries' keyed digests of entities stay. The entry about
        the redaction is signed.

        Raises:
            InputError: an entry does not exist, is redacted already, or must stay since others
                depend on it: a redaction, or the signing key.
            StateError: the ledger is not sound, or this is not the key that signs for it.
        """
        with self._write() as change:
            comparing.demand_sound(change.connection, self.key, None)
            log.name_signer(change, signer)
            log.redact(change, entries, reason, signer)

    def signer(self, path: Path) -> SigningKey:
        """The key that signs for this ledger; made now where none ever signed.

        Raises StateError where it is lost or another one.
        """
        with self._read() as connection:
            known = log.signer(connection)
        if known is None and not path.exists() and not public_file(path).exists():
            return SigningKey.create(path)
        key = SigningKey.load(path)
        log.demand_signer(known, key)
        return key

    def sign_log(self, key: SigningKey) -> LogCheckpoint:
        """Sign the log's head, and keep the signed head."""
        with self._write() as change:
            return log.sign(change, key)

    def prove_entry(self, number: int, key: SigningKey) -> Inclusion:
        """Prove that an entry is in the log. Raises InputError where there is none."""
        with self._write() as change:
            return log.include(change, number, key)

    def prove_growth(self, earlier: int, later: int) -> tuple[bytes, ...]:
        """Prove that the first `later` entries begin with the first `earlier` (RFC 6962, 2.1.2)."""
        with self._read() as connection:
            return log.grown(connection, earlier, later)

    def verify_log(
        self, known_head: Digest | None = None, known: Sequence[LogCheckpoint] = ()
    ) -> LogCheck:
        """Check every entry and every signed head; name the first bad entry.

        `known_head` and `known` were noted elsewhere before: without one, a ledger that was cut
        off, or restored whole from an older copy, seems sound.
        """
        with self._read() as connection:
            return verifying.verify(connection, self.key, known_head, known)

    def differences(self, datasets: Collection[str] | None = None) -> tuple[TableDifference, ...]:
        """The differences between the tables and the log.

        The log itself is only as good as `verify_log` finds it. `datasets` are the ids of those
        whose records are compared too, which takes time; None for all.
        """
        with self._read() as connection:
            return comparing.differences(connection, self.key, datasets)

    def check_entities(self, datasets: Collection[str] = (), check: LogCheck | None = None) -> None:
        """Refuse a ledger whose tables differ from its log.

        Args:
            datasets: ids or names of those whose records are compared too, which takes time.
            check: the result of `verify_log`, so that the log is not checked again.

        Raises:
            StateError: the log is not sound, or a table differs from it.
        """
        with self._read() as connection:
            comparing.demand_sound(connection, self.key, datasets, check)

    def moment(self) -> datetime:
        """The present for the ledger's timestamps: never before its newest entry."""
        with self._read() as connection:
            last = log.last(connection)
        return now() if last is None else max(now(), datetime.fromisoformat(last.at))


class _NotMeant(Exception):
    """Raised to roll a trial change back."""


def _request_detail(request: Request) -> dict[str, Any]:
    """The detail of the log entry about a new request."""
    about: dict[str, Any] = {
        "id": request.id,
        "kind": request.kind,
        "subject": request.subject and str(request.subject),
    }
    if "also" in request.scope:
        about["also"] = request.scope["also"]
    return about | {"law": request.law}


class Answering(Logged):
    """The requests' part of a store. Every change is one transaction with its log entry."""

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
        """Add a request as received now, or at the given time (with a time zone).

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

        If one asks for the same as an open one, or as another of these, the result has that error
        in its place, and nothing is added. With `only_try` nothing is added in any case.
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
                    change.log("request-received", _request_detail(request))
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
        """Move a request to its next status, with the step's detail and the report's path.

        Raises InputError where its status does not lead there, UnknownName for no such request.
        """
        with self._write() as change:
            before = requests.find(change.connection, identifier)
            return requests.advance(change, before, RequestStatus(status), detail or {}, report)

    def note_request(
        self, identifier: str, *, by: str, owner: str | None = None, text: str | None = None
    ) -> Request:
        """Add a note or a new owner to a request of any status. Raises UnknownName."""
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

    def concerning(self, dataset: str) -> tuple[SubjectCounts, frozenset[str]]:
        """Counts of a dataset's records, and the requests that concern it. Raises UnknownName."""
        with self._read() as connection:
            found = datasets.find(connection, dataset, None)
            counts = concerning.count(connection, found)
            return counts, concerning.of_dataset(connection, found)

    def touching(self, model: str) -> tuple[Touch, ...]:
        """The requests that concern the model of this id, the oldest first."""
        with self._read() as connection:
            return concerning.of_model(connection, model)

    def closure(self, request: str) -> tuple[ClosureItem, ...]:
        """The items of a request's closure, with their exits. Raises UnknownName."""
        with self._read() as connection:
            return closure.items(connection, request)

    def put_closure(self, request: str, found: Mapping[str, Ending]) -> tuple[ClosureItem, ...]:
        """Set the exits of items in a request's closure. Raises UnknownName.

        The log keeps no places, and the table no places of erased items: see `sealed`.
        """
        with self._write() as change:
            closure.put(change, self.key, request, found)
            said = {self.sealed(item): list(ending) for item, ending in found.items()}
            change.log("closure-noted", {"id": request, "items": said})
            return closure.items(change.connection, request)

    def sealed(self, item: str) -> str:
        """The form of a closure's item after its erasure: with a keyed digest of its place."""
        return closure.sealed(self.key, item)

    def suppress(self, digests: Iterable[str]) -> int:
        """Add keyed digests to the suppression list; return the number of new ones."""
        digests = sorted({self.key.current(digest) for digest in digests})
        with self._write() as change:
            fresh = closure.suppress(change, digests)
            if fresh:
                change.log("suppressed", {"digests": digests})
        return fresh

    def suppressed(self) -> frozenset[str]:
        """The suppression list: keyed digests of subjects and contents not to be imported again."""
        with self._read() as connection:
            return closure.suppressed(connection)
