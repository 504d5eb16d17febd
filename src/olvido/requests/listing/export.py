"""A list of requests as a table for spreadsheets and programs: no name, and no digest of one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from olvido.requests.listing.rows import Row

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
"""Of an export: what is asked, and the account that works on it; not whom it is about."""
_FORMULA = re.compile(r"[^\w!-/:-@\[-`{-~]*[=+\-@\t\r\n＝＋－＠]")
"""What a spreadsheet may take for one, whatever it passes over before it: all that is neither a
letter, a number nor one of ASCII's other signs, so also spaces and marks that nobody sees."""


def exported(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What of each row leaves the workspace."""
    return [{column: row[column] for column in COLUMNS} for row in rows]


def as_csv(rows: Iterable[Row]) -> str:
    """Rows as CSV (RFC 4180), in which no text is a formula to a spreadsheet.

    A text that begins as a formula does gets an apostrophe before it (OWASP, "CSV Injection").
    Numbers stay numbers: days that are late are negative.

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
