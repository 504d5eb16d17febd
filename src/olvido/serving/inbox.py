"""Requests by the days they have left, filtered and counted, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

from olvido.ledger.facts import RequestBrief, RequestStatus
from olvido.requests.calendar import due_and_left, today
from olvido.requests.desk import Office
from olvido.requests.listing import (
    Filter,
    Row,
    ids_named,
    in_order,
    row_of,
    row_of_brief,
    search,
    summary,
)

FEW = 50
"""Requests read one by one; more are read together."""
LISTS = 100
"""Filtered lists that are remembered."""
PENDING = frozenset(status for status in RequestStatus if status.pending)

CHANGES = ("request-received", "request-advanced", "request-noted")
"""Entries of the log that tell of a request."""

_Days = tuple[date | None, int | None]


@dataclass
class _Seen:
    """All requests as they were when the log had so many entries, and what was asked of them."""

    day: date
    entries: int
    rows: list[Row]
    lists: dict[Filter, list[Row]] = field(default_factory=dict)
    counts: dict[str, Any] | None = None


class Inbox:
    """Remembers the days that a request has left until its history grows, or the day ends.

    Args:
        office: whose requests.
    """

    def __init__(self, office: Office) -> None:
        self.office = office
        self._seen: _Seen | None = None
        self._day: date | None = None
        self._left: dict[str, tuple[int, _Days]] = {}

    def rows(self, wanted: Filter | None = None) -> list[Row]:
        """What a list shows, those with the fewest days left first, then the oldest."""
        seen, wanted = self._now(), wanted or Filter()
        if wanted not in seen.lists:
            made = wanted.of_rows(seen.rows)
            # One assignment, whole, for several threads ask at a time.
            seen.lists = {**(seen.lists if len(seen.lists) < LISTS else {}), wanted: made}
        return seen.lists[wanted]

    def summary(self) -> dict[str, Any]:
        """What all requests come to: see `olvido.requests.listing.summary`."""
        seen = self._now()
        if seen.counts is None:
            seen.counts = summary(seen.rows, seen.day)
        return seen.counts

    def search(self, text: str) -> str | Filter | None:
        """Requests by what somebody wrote: see `olvido.requests.listing.search`."""
        store = self.office.store
        return search(self._now().rows, store.key, text, partial(ids_named, store))

    def _now(self) -> _Seen:
        day = today(self.office.settings)
        # Every change adds to the log: what was added since tells which requests changed.
        entries, seen = self.office.store.events_count(), self._seen
        changed = None if seen is None or seen.day != day else self._changed(seen.entries, entries)
        if seen is None or changed is None:
            seen = _Seen(day, entries, in_order(self._all(day)))
        elif changed:
            fresh = [
                row_of(self.office.store.request(one), self.office.settings) for one in changed
            ]
            kept = [row for row in seen.rows if row["id"] not in changed]
            seen = _Seen(day, entries, in_order([*kept, *fresh]))
        elif entries != seen.entries:
            seen = _Seen(day, entries, seen.rows, seen.lists, seen.counts)
        self._seen = seen
        return seen

    def _changed(self, before: int, size: int) -> set[str] | None:
        """The requests that changed since the log had so many entries; None: it cannot be told."""
        if not 0 <= size - before <= FEW:
            return None
        entries = self.office.store.events_between(after=before, limit=FEW)
        if any(entry.salt is None for entry in entries):
            # What a redacted entry told of is told no more.
            return None
        return {str(e.detail["id"]) for e in entries if e.kind in CHANGES}

    def _all(self, day: date) -> list[Row]:
        found = self.office.store.requests_in_brief()
        left = self._days([one for one in found if one.status in PENDING], day)
        settings = self.office.settings
        return [
            row_of_brief(one, left.get(one.id, (0, (None, None)))[1], settings) for one in found
        ]

    def _days(self, found: Sequence[RequestBrief], day: date) -> dict[str, tuple[int, _Days]]:
        """The days of requests that are not closed, by the length of their histories."""
        settings, store = self.office.settings, self.office.store
        known = self._left if day == self._day else {}
        changed = [one for one in found if known.get(one.id, (0, None))[0] != one.steps]
        if len(changed) <= FEW:
            fresh = [store.request(one.id) for one in changed]
        else:
            fresh = list(store.requests(PENDING))
        read = {one.id: (len(one.history), due_and_left(one, settings)) for one in fresh}
        # What came or changed since the list was read is on the next one.
        left = {one.id: read.get(one.id) or known.get(one.id, (0, (None, None))) for one in found}
        self._left, self._day = {**known, **read}, day
        return left
