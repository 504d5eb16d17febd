"""Summarise and export requests: counts by due day, kind, law and month.

An export is a table for spreadsheets and programs, without names and without digests of names.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

from olvido.requests.workflow.filters import DUE, NO_LAW, RequestFilter, Row, due_as

COLUMNS = (
    "id",
    "kind",
    "status",
    "law",
    "received",
    "due",
    "days_left",
    "answered",
    "owner",
)
"""Columns of an export: the request and its owner; not the person it is about."""
_FORMULA = re.compile(r"[^\w!-/:-@\[-`{-~]*[=+\-@\t\r\n＝＋－＠]")
"""A text that a spreadsheet may take for a formula, even after characters that it skips: all but
letters, numbers and ASCII's other signs, so also spaces and invisible marks."""


def exported(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The columns of each row that leave the workspace."""
    return [{column: row[column] for column in COLUMNS} for row in rows]


def as_csv(rows: Iterable[Row]) -> str:
    """Write rows as CSV (RFC 4180) in which a spreadsheet takes no text for a formula.

    A text that begins like a formula gets an apostrophe before it (OWASP, "CSV Injection").
    Numbers stay numbers: the days left are negative when late.

    >>> harmless_cell("=1+1"), harmless_cell(-3), harmless_cell(None), harmless_cell("gdpr")
    ("'=1+1", -3, '', 'gdpr')
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in exported(rows):
        writer.writerow([harmless_cell(value) for value in row.values()])
    return text.getvalue()


def harmless_cell(value: Any) -> Any:
    """A value that a spreadsheet shows and does not compute."""
    if value is None:
        return ""
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


MONTHS = 12
"""Months that are shown, this one among them."""


def summary(rows: Iterable[Row], today: date) -> dict[str, Any]:
    """Counts of requests, each the length of the list that its filter shows.

    Args:
        rows: the rows of all requests.
        today: the present day in the team's time zone.

    Returns:
        `total`; `open` in all and by due day; `kinds` and `laws` of the open ones, with how many of
        each are late or due soon; `months`, the oldest first: the numbers received and answered in
        each; `earlier`, the same numbers before those.
    """
    rows = list(rows)
    live = [(row, due_as(row)) for row in RequestFilter().of_rows(rows)]
    counted = Counter(when for _, when in live)
    due = {name: counted[name] for name in DUE}
    months = _months(today)
    by_month = {what: Counter((row[what] or "")[:7] for row in rows) for what in _COUNTED}
    for counts in by_month.values():
        # Not yet.
        del counts[""]
    return {
        "total": len(rows),
        "open": len(live),
        "due": due,
        "kinds": _split(live, "kind"),
        "laws": _split(live, "law"),
        "months": [
            {"month": month, **{what: by_month[what][month] for what in _COUNTED}}
            for month in months
        ],
        "earlier": {
            what: sum(n for month, n in by_month[what].items() if month < months[0])
            for what in _COUNTED
        },
    }


_COUNTED = ("received", "answered")


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
