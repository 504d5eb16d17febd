"""Filter lists of requests, and find a request by its number, its person or its object.

The row of a request in a list has plain values: ids, days and keyed digests, and no name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, Self

from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import Request, RequestBrief, RequestKind, RequestStatus
from olvido.ledger.identity import Key, SubjectId
from olvido.ledger.store import Store
from olvido.requests.rights.deadlines import due_and_left, today
from olvido.requests.rights.registry import laws
from olvido.settings import Settings

Row = dict[str, Any]

Due = tuple[date | None, int | None]
"""The day on which an answer is due, and the days that are left until then."""


def row_of(request: Request, settings: Settings) -> Row:
    """The row of a request."""
    answers = [step.at for step in request.history if step.status.answers]
    return _row(
        request.id,
        request.kind.value,
        request.status.value,
        request.law,
        None if request.subject is None else str(request.subject),
        dict(request.scope),
        request.received_at,
        min(answers, default=None),
        due_and_left(request, settings),
        request.owner,
        settings,
    )


def row_of_brief(brief: RequestBrief, due: Due, settings: Settings) -> Row:
    """The row of a request whose history was not read, with its known deadline."""
    answered = brief.answered_at
    return _row(
        brief.id,
        brief.kind,
        brief.status,
        brief.law,
        brief.subject,
        json.loads(brief.scope),
        datetime.fromisoformat(brief.received_at),
        None if answered is None else datetime.fromisoformat(answered),
        due,
        brief.owner,
        settings,
    )


def _row(
    identifier: str,
    kind: str,
    status: str,
    law: str | None,
    subject: str | None,
    scope: dict[str, Any],
    received: datetime,
    answered: datetime | None,
    due: Due,
    owner: str | None,
    settings: Settings,
) -> Row:
    """Make a row; `received` and `answered` are days in the team's time zone."""
    last, left = due
    return {
        "id": identifier,
        "kind": kind,
        "status": status,
        "law": law,
        "subject": subject,
        "scope": scope,
        "received_at": received.isoformat(),
        "received": today(settings, received).isoformat(),
        "due": last and last.isoformat(),
        "days_left": left,
        "owner": owner,
        "answered": answered and today(settings, answered).isoformat(),
    }


def laws_asked(settings: Settings, rows: Iterable[Row]) -> set[str]:
    """The short names of all laws that requests may be under, or are: a team may drop its own."""
    used = {row["law"] for row in rows} - {None}
    return used | {law.name for law in laws(settings.workspace)}


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Sort rows: the fewest days left first, then the oldest, then the first that was entered."""
    return sorted(
        rows,
        key=lambda r: (
            r["days_left"] is None,
            r["days_left"],
            r["received_at"],
            len(r["id"]),
            r["id"],
        ),
    )


OPEN, ALL = "open", "all"
STATUSES = (OPEN, ALL, *(status.value for status in RequestStatus))
"""Values of the status filter: all requests not closed yet, all requests, or one status."""
SOON = 7
"""Days within which an answer is due soon."""
DUE = ("late", "soon", "later", "none")
"""Values of the due-day filter, each of which selects only requests that are not answered."""
NO_LAW = NOBODY = "none"
_PENDING = frozenset(status.value for status in RequestStatus if status.pending)
BEFORE = "before-"
_DAYS = re.compile(rf"(?:{BEFORE})?\d{{4}}-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?")
_IDS = re.compile(r"[0-9a-f]{12,64}(?:,[0-9a-f]{12,64})+")
_NUMBER = re.compile(r"(?:req-)?0*(\d{1,12})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """A filter for a list of requests; an empty text does not filter.

    Attributes:
        status: one of `STATUSES`.
        kind: one of `RequestKind`.
        law: the short name of a law, or `none`.
        due: one of `DUE`.
        received, answered: a month (2026-11) or a day (2026-11-29) in the team's time zone, or the
            time before it (before-2026-11).
        owner: the id of an account, or `none`.
        about: a subject's digest, or a source, dataset, record or model as a request names it; the
            several ids of one name are separated by commas.
    """

    status: str = OPEN
    kind: str = ""
    law: str = ""
    due: str = ""
    received: str = ""
    answered: str = ""
    owner: str = ""
    about: str = ""

    @classmethod
    def of(cls, laws: Iterable[str], owners: Iterable[str] = (), **given: str) -> Self:
        """Make a filter from values that somebody wrote.

        Args:
            laws: the short names of the laws that a request may be under.
            owners: the ids of the accounts that may work on one.
            given: the values, by the filter's fields.

        Raises:
            UnknownName: there is no such law or account.
            InputError: another value is invalid.
        """
        made = cls(**{name: value.strip() for name, value in given.items() if value.strip()})
        allowed = {"status": STATUSES, "kind": list(RequestKind), "due": list(DUE)}
        for name, known in allowed.items():
            said = getattr(made, name)
            if said and said not in known:
                raise InputError(
                    f"expected {name} as one of {', '.join(known)}, got something else"
                )
        if made.law:
            made = replace(made, law=made.law.casefold())
            if made.law not in (known_laws := {*laws, NO_LAW}):
                raise UnknownName("law", made.law, known_laws)
        if made.owner and made.owner not in (known_owners := {*owners, NOBODY}):
            raise UnknownName("account", made.owner, known_owners)
        for name in ("received", "answered"):
            said = getattr(made, name)
            if said and not _DAYS.fullmatch(said):
                raise InputError(
                    f"expected {name} as a month like 2026-11, a day like 2026-11-29 or "
                    f"{BEFORE}2026-11, got something else"
                )
        return made

    def but(self, **changes: str) -> RequestFilter:
        """Return this filter with some fields changed."""
        return replace(self, **changes)

    def asked(self) -> dict[str, str]:
        """The fields that are not default, for an address."""
        return {
            name: said
            for name, said in asdict(self).items()
            if said != getattr(RequestFilter(), name)
        }

    def of_rows(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that pass, in their order."""
        tests = self._tests()
        return [row for row in rows if all(test(row) for test in tests)]

    def _tests(self) -> list[Callable[[Row], bool]]:
        """The tests for a row, of the set fields only, for a list may be long."""
        tests: list[Callable[[Row], bool]] = []
        if self.status == OPEN or self.due:
            tests.append(lambda row: row["status"] in _PENDING)
        if self.status not in (OPEN, ALL):
            tests.append(lambda row: row["status"] == self.status)
        if self.kind:
            tests.append(lambda row: row["kind"] == self.kind)
        if self.law:
            tests.append(lambda row: (row["law"] or NO_LAW) == self.law)
        if self.due:
            tests.append(lambda row: due_as(row) == self.due)
        if self.received:
            tests.append(lambda row: _within(row["received"], self.received))
        if self.answered:
            tests.append(lambda row: _within(row["answered"], self.answered))
        if self.owner:
            tests.append(lambda row: (row["owner"] or NOBODY) == self.owner)
        if self.about:
            # Several ids belong to one name: the versions of a dataset.
            ids = self.about.split(",") if _IDS.fullmatch(self.about) else ()
            meant = {self.about, *ids}
            tests.append(lambda row: not meant.isdisjoint(_about(row)))
        return tests


def due_as(row: Row) -> str:
    """The value of `DUE` for a row, as long as it is not answered."""
    left = row["days_left"]
    if left is None:
        return "none"
    return "late" if left < 0 else "soon" if left <= SOON else "later"


def _within(day: str | None, said: str) -> bool:
    if day is None:
        return False
    return day < said.removeprefix(BEFORE) if said.startswith(BEFORE) else day.startswith(said)


def ids_named(store: Store, said: str) -> tuple[str, ...]:
    """The ids that a name stands for: all versions of a dataset, or the model of an alias."""
    found = [one.id for one in store.datasets() if one.name == said]
    with suppress(InputError):
        found.append(store.model(said).id)
    return tuple(found)


def search(
    rows: Iterable[Row], key: Key, text: str, named: Callable[[str], Iterable[str]] = lambda _: ()
) -> str | RequestFilter | None:
    """Find requests by a text that somebody wrote, of which nothing is kept.

    Args:
        rows: the rows of all requests.
        key: the ledger's key; a person is found by the digest of exactly their name.
        text: the number of a request, a person's name or digest, or a source, dataset, record or
            model.
        named: gives the ids that a name stands for, since requests keep only ids: see `ids_named`.

    Returns:
        The id of the request with this number; or the filter that shows the requests about this;
        or None where there are none.
    """
    said = text.strip()
    if not said:
        return None
    rows = list(rows)
    if number := _NUMBER.fullmatch(said):
        wanted = f"req-{int(number[1]):04d}"
        if any(row["id"] == wanted for row in rows):
            return wanted
    known = {name for row in rows for name in _about(row)}
    for about in (_person(key, said), said, key.pseudonym(said)):
        if about in known:
            return RequestFilter(status=ALL, about=about)
    if ids := sorted(known & set(named(said))):
        return RequestFilter(status=ALL, about=",".join(ids))
    return None


def _person(key: Key, said: str) -> str:
    try:
        return key.current(said) if SubjectId.is_one(said) else str(key.subject(said))
    except InputError:
        # It has no letter of a name, or is no digest of this key.
        return said


def _about(row: Row) -> Iterable[str]:
    """Everything that a request is about, as it keeps it."""
    if row["subject"] is not None:
        yield row["subject"]
    for value in row["scope"].values():
        if isinstance(value, str):
            yield value
        else:
            yield from value
