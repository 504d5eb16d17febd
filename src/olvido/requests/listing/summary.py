"""What all requests come to: how many are open, late or due soon, of which kind, month by month."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

from olvido.requests.listing.filters import DUE, NO_LAW, Filter, due_as
from olvido.requests.listing.rows import Row

MONTHS = 12
"""Months that are shown, this one among them."""


def summary(rows: Iterable[Row], today: date) -> dict[str, Any]:
    """Counts of requests, each the length of the list that its filter shows.

    Args:
        rows: of all requests.
        today: where the team works.

    Returns:
        `total`; `open` in all and by due day; `kinds` and `laws` of the open ones, with how many of
        each are late or due soon; `months`, the oldest first: what came and what was answered in
        each; `earlier`, what came and was answered before those.
    """
    rows = list(rows)
    live = [(row, due_as(row)) for row in Filter().of_rows(rows)]
    counted = Counter(when for _, when in live)
    due = {name: counted[name] for name in DUE}
    months = _months(today)
    told = {what: Counter((row[what] or "")[:7] for row in rows) for what in _TOLD}
    for counts in told.values():
        # Not yet.
        del counts[""]
    return {
        "total": len(rows),
        "open": len(live),
        "due": due,
        "kinds": _split(live, "kind"),
        "laws": _split(live, "law"),
        "months": [
            {"month": month, **{what: told[what][month] for what in _TOLD}} for month in months
        ],
        "earlier": {
            what: sum(n for month, n in told[what].items() if month < months[0]) for what in _TOLD
        },
    }


_TOLD = ("received", "answered")


def _split(live: Iterable[tuple[Row, str]], by: str) -> list[dict[str, Any]]:
    """Open requests by one of their values, the most frequent first."""
    counts = Counter((row[by] or NO_LAW, when) for row, when in live)
    found = [
        {
            by: name,
            "open": sum(counts[name, when] for when in DUE),
            "late": counts[name, "late"],
            "soon": counts[name, "soon"],
        }
        for name in {name for name, _ in counts}
    ]
    return sorted(found, key=lambda group: (-group["open"], group[by]))


def _months(today: date) -> list[str]:
    """The last months as 2026-11, the oldest first."""
    last = today.year * 12 + today.month - 1
    return [f"{n // 12}-{n % 12 + 1:02d}" for n in range(last - MONTHS + 1, last + 1)]
