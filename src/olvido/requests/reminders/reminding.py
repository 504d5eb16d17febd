"""Who is told what, at most once a day: one message a way, about all requests that are due soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from olvido.files import LockedFile
from olvido.ledger.facts import RequestStatus
from olvido.requests.calendar import today
from olvido.requests.desk import Office
from olvido.requests.listing import Row, in_order, row_of
from olvido.requests.reminders.configuration import Configuration, secret
from olvido.requests.reminders.delivery import Failed, tried
from olvido.requests.reminders.mail import message, send
from olvido.requests.reminders.webhook import post

AGAIN = 3600.0
"""Seconds after a failure in which nothing is tried, however often it is asked for."""
KEPT = ("id", "kind", "law", "due", "days_left")
"""What is told of a request, beside a link."""


@dataclass(frozen=True, slots=True)
class Reminded:
    """What became of one way of telling.

    Attributes:
        way: `mail` or `webhook`.
        requests: that it was about; none where all were told of today, or none is due.
        failure: what went wrong; None where nothing did.
        delivered: whether somebody was told, and so is not told again today.
    """

    way: str
    requests: tuple[str, ...]
    failure: str | None
    delivered: bool


def due_rows(office: Office, configured: Configuration) -> list[Row]:
    """The requests to remind of, the most urgent first: late, or due in the days that are said."""
    pending = [status for status in RequestStatus if status.pending]
    rows = [row_of(one, office.settings) for one in office.store.requests(pending)]
    soon = [r for r in rows if r["days_left"] is not None and r["days_left"] <= configured.days]
    return in_order(soon)


def remind(
    office: Office,
    configured: Configuration,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Reminded, ...]:
    """Tell of the requests that are due, each at most once a day by each way.

    What was told is remembered in `reminders.json` beside the key, under its lock: two programs at
    once tell once. What was delivered, and what was not, is in the ledger's log.

    Raises:
        StateError: a secret is missing, or may be read by others; that file cannot be read.
    """
    ways = _ways(configured)
    file = LockedFile(
        office.settings.key.with_name("reminders.json"),
        _parse,
        advice="remove it, and say it again",
    )
    day, rows = today(office.settings).isoformat(), due_rows(office, configured)
    done = []
    with file.changing() as put:
        known = file.read()
        for way, deliver in ways.items():
            told = known.get(way, {})
            fresh = [row for row in rows if told.get("days", {}).get(row["id"]) != day]
            wait = told.get("failed", 0.0) + AGAIN - clock()
            if fresh and 0 < wait <= AGAIN:
                why = f"it failed before: it is tried again in {int(wait // 60) + 1} minutes"
                done.append(Reminded(way, tuple(row["id"] for row in fresh), why, False))
                continue
            done.append(_told(office, way, fresh, deliver, sleep))
            if fresh:
                known = {**known, way: _kept(done[-1], told, day, clock())}
                put(known)
    return tuple(done)


def _told(
    office: Office,
    way: str,
    rows: Sequence[Row],
    deliver: Callable[[Sequence[Row]], None],
    sleep: Callable[[float], None],
) -> Reminded:
    ids = tuple(row["id"] for row in rows)
    if not ids:
        return Reminded(way, (), None, False)
    try:
        tried(lambda: deliver(rows), sleep)
    except Failed as error:
        office.store.note("reminder-failed", {"way": way, "requests": list(ids), "why": str(error)})
        return Reminded(way, ids, str(error), error.partly)
    office.store.note("reminder-sent", {"way": way, "requests": list(ids)})
    return Reminded(way, ids, None, True)


def _kept(done: Reminded, told: Mapping[str, Any], day: str, at: float) -> dict[str, Any]:
    """What is remembered of a way: the days of today's requests, and when it last failed."""
    if not done.delivered:
        return {**told, "failed": at}
    today_only = {one: when for one, when in told.get("days", {}).items() if when == day}
    return {"days": {**today_only, **dict.fromkeys(done.requests, day)}}


def _parse(document: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if document is None else {str(k): dict(v) for k, v in document.items()}


def _ways(configured: Configuration) -> dict[str, Callable[[Sequence[Row]], None]]:
    """How each way delivers; its secrets are read before anything is sent."""
    found: dict[str, Callable[[Sequence[Row]], None]] = {}
    mail, url, pages = configured.mail, configured.webhook, configured.pages
    if mail is not None:
        password = secret("smtp-password", configured.secrets) if mail.user else None
        found["mail"] = lambda rows: send(
            mail, message(mail, _subject(rows), _text(rows, pages)), password
        )
    if url is not None:
        shared = secret("webhook-secret", configured.secrets)
        found["webhook"] = lambda rows: post(url, _document(rows, pages), shared)
    return found


def _document(rows: Sequence[Row], pages: str | None) -> dict[str, Any]:
    return {
        "event": "requests-due",
        "requests": [
            {name: row[name] for name in KEPT} | {"link": _link(row, pages)} for row in rows
        ],
    }


def _link(row: Row, pages: str | None) -> str | None:
    return pages and f"{pages}/requests/{row['id']}"


def _subject(rows: Sequence[Row]) -> str:
    late = sum(row["days_left"] < 0 for row in rows)
    return f"Olvido: {len(rows)} due soon" + (f", {late} late" if late else "")


def _text(rows: Sequence[Row], pages: str | None) -> str:
    lines = ["These requests wait for their answer, the most urgent first.", ""]
    for row in rows:
        left = row["days_left"]
        when = f"{-left} days late" if left < 0 else f"{left} days left"
        lines += [f"{row['id']}  {row['kind']}, {row['law']}: due {row['due']}, {when}"]
        if link := _link(row, pages):
            lines += [f"          {link}"]
    return "\n".join([*lines, "", "Olvido sends this once a day for as long as they wait.", ""])
