"""What a list shows of a request, as plain values: ids, days and keyed digests, and no name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from olvido.ledger.facts import Request, RequestBrief
from olvido.requests.calendar import due_and_left, today
from olvido.requests.laws import laws
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
    """The same of a request whose history was not read, with what is known of its days."""
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
    """`received` and `answered` are days where the team works; a request is answered once."""
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
    """The short names of all laws that a request may be under, or is: a team may drop its own."""
    used = {row["law"] for row in rows} - {None}
    return used | {law.name for law in laws(settings.workspace)}


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows with the fewest days left first, then the oldest, then the first that was entered."""
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
