"""Until when a request has to be answered: its law's clock, read off its history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from olvido.errors import InputError
from olvido.ledger.facts import Request, RequestStatus
from olvido.requests.laws import Clock, Deadline, Law, Pause, deadline, find_law
from olvido.settings import Settings

IDENTITY, FEE, CLARIFICATION, DECISION = "identity", "fee", "clarification", "decision"
ASKED = (IDENTITY, FEE, CLARIFICATION)
"""What may be asked of the person; a decision is asked of the team."""


def law_of(request: Request, settings: Settings) -> Law | None:
    """The law that a request was entered under, in the version of that day; None without one.

    Raises:
        InputError: that version's file is gone.
    """
    if request.law is None:
        return None
    version = request.history[0].detail.get("law_version")
    return find_law(request.law, version, workspace=settings.workspace)


def deadline_of(
    request: Request, settings: Settings, *, moment: datetime | None = None
) -> Deadline | None:
    """The days by which a request wants to be confirmed and answered; None without a law.

    Args:
        request: as the ledger has it.
        settings: whose holidays and time zone count.
        moment: with a time zone; None: now.
    """
    law = law_of(request, settings)
    if law is None:
        return None
    return deadline(
        law,
        clock_of(request, settings),
        today=today(settings, moment),
        holidays=settings.holidays,
    )


def days_left(
    request: Request, settings: Settings, *, moment: datetime | None = None
) -> int | None:
    """Days until the answer is due; None where no day is, or the request has ended."""
    if not request.status.open:
        return None
    try:
        found = deadline_of(request, settings, moment=moment)
    except InputError:
        # A law that was any text, before laws were data.
        return None
    return None if found is None else found.days_left(today(settings, moment))


def today(settings: Settings, moment: datetime | None = None) -> date:
    """The day it is where the team works."""
    return (moment or datetime.now(UTC)).astimezone(ZoneInfo(settings.timezone)).date()


def clock_of(request: Request, settings: Settings) -> Clock:
    """What happened to a request, so far as a law may count it."""
    zone = ZoneInfo(settings.timezone)

    def day(at: datetime) -> date:
        return at.astimezone(zone).date()

    pauses = list(_pauses(request))
    told = [step.detail["extended"] for step in request.history if "extended" in step.detail]
    return Clock(
        received=day(request.received_at),
        needed=tuple(
            Pause(day(since), until and day(until))
            for what, since, until in pauses
            if what in (IDENTITY, FEE)
        ),
        clarified=tuple(
            Pause(day(since), until and day(until))
            for what, since, until in pauses
            if what == CLARIFICATION
        ),
        extended=date.fromisoformat(told[-1]) if told else None,
    )


def _pauses(request: Request) -> Iterator[tuple[str, datetime, datetime | None]]:
    """What was asked of the person, since when, and until when."""
    asked: tuple[str, datetime] | None = None
    for step in request.history:
        what = step.detail.get("for")
        if step.status is RequestStatus.NEEDS_INPUT and what is None:
            # Something noted while the person is still waited for.
            continue
        if asked is not None:
            yield (*asked, step.at)
        asked = (str(what), step.at) if what in ASKED else None
    if asked is not None:
        yield (*asked, None)
