"""Open requests by the days they have left, however many there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from olvido.ledger.facts import Request, RequestBrief, RequestStatus
from olvido.requests.calendar import days_left, today
from olvido.requests.desk import Office

FEW = 50
"""Requests read one by one; more are read together."""


CHANGES = ("request-received", "request-advanced")
"""Entries of the log that tell of a request."""

_List = tuple[int, list[dict[str, Any]]]


class Inbox:
    """Remembers the days that a request has left until its history grows, or the day ends.

    Args:
        office: whose requests.
    """

    def __init__(self, office: Office) -> None:
        self.office = office
        self._day: date | None = None
        self._left: dict[str, tuple[int, int | None]] = {}
        self._lists: dict[tuple[frozenset[RequestStatus], date], _List] = {}

    def rows(self, statuses: Collection[RequestStatus]) -> list[dict[str, Any]]:
        """What a list shows, those with the fewest days left first, then the oldest."""
        wanted, day = frozenset(statuses), today(self.office.settings)
        # Every change adds to the log: what was added since tells which requests changed.
        size = self.office.store.events_count()
        known = self._lists.get((wanted, day))
        changed = None if known is None else self._changed(known[0], size)
        if known is None or changed is None:
            rows = self._sorted(self._all(statuses))
        elif changed:
            fresh = map(self.office.store.request, changed)
            kept = [row for row in known[1] if row["id"] not in changed]
            rows = self._sorted(kept + [self._row(one) for one in fresh if one.status in wanted])
        else:
            rows = known[1]
        others = {key: told for key, told in self._lists.items() if key[1] == day}
        self._lists = {**others, (wanted, day): (size, rows)}
        return rows

    def _changed(self, before: int, size: int) -> set[str] | None:
        """The requests that changed since the log had so many entries; None: it cannot be told."""
        if not 0 <= size - before <= FEW:
            return None
        entries = self.office.store.events_between(after=before, limit=FEW)
        if any(entry.salt is None for entry in entries):
            # What a redacted entry told of is told no more.
            return None
        return {str(e.detail["id"]) for e in entries if e.kind in CHANGES}

    def _row(self, one: Request) -> dict[str, Any]:
        return {
            "id": one.id,
            "kind": one.kind.value,
            "status": one.status.value,
            "law": one.law,
            "received_at": one.received_at.isoformat(),
            "days_left": days_left(one, self.office.settings),
        }

    @staticmethod
    def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # Of those who came at the same moment, the first that was entered.
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

    def _all(self, statuses: Collection[RequestStatus]) -> list[dict[str, Any]]:
        found = self.office.store.requests_in_brief(statuses)
        left = self._days(found, statuses)
        return [
            {
                "id": one.id,
                "kind": one.kind,
                "status": one.status,
                "law": one.law,
                "received_at": one.received_at,
                "days_left": left[one.id][1],
            }
            for one in found
        ]

    def _days(
        self, found: Sequence[RequestBrief], statuses: Collection[RequestStatus]
    ) -> dict[str, tuple[int, int | None]]:
        settings, store = self.office.settings, self.office.store
        day = today(settings)
        known = self._left if day == self._day else {}
        changed = [one for one in found if known.get(one.id, (0, None))[0] != one.steps]
        if len(changed) <= FEW:
            fresh = [store.request(one.id) for one in changed]
        else:
            fresh = list(store.requests(statuses))
        read = {one.id: (len(one.history), days_left(one, settings)) for one in fresh}
        # What came or changed since the list was read is on the next one.
        left = {one.id: read.get(one.id) or known.get(one.id, (0, None)) for one in found}
        # One assignment each, whole, for several threads ask at a time.
        self._left, self._day = {**known, **read}, day
        return left
