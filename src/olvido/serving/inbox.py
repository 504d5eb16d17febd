"""Open requests by the days they have left, however many there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from olvido.ledger.facts import RequestBrief, RequestStatus
from olvido.requests.calendar import days_left, today
from olvido.requests.desk import Office

FEW = 50
"""Requests read one by one; more are read together."""


class Inbox:
    """Remembers the days that a request has left until its history grows, or the day ends.

    Args:
        office: whose requests.
    """

    def __init__(self, office: Office) -> None:
        self.office = office
        self._day: date | None = None
        self._left: dict[str, tuple[int, int | None]] = {}

    def rows(self, statuses: Collection[RequestStatus]) -> list[dict[str, Any]]:
        """What a list shows, those with the fewest days left first, then the oldest."""
        found = self.office.store.requests_in_brief(statuses)
        left = self._days(found, statuses)
        rows = [
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
        return sorted(
            rows, key=lambda r: (r["days_left"] is None, r["days_left"], r["received_at"])
        )

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
