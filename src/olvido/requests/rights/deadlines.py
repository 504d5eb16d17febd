"""Until when a request has to be answered: its law's clock, read off its history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from olvido.errors import InputError, StateError
from olvido.ledger.facts import Request, RequestStatus
from olvido.requests.rights.clock import Clock, Deadline, Pause, deadline
from olvido.requests.rights.law import Law, add
from olvido.settings import Settings

IDENTITY, FEE, CLARIFICATION, DECISION = "identity", "fee", "clarification", "decision"
ASKED = (IDENTITY, FEE, CLARIFICATION)
"""What may be asked of the person; a decision is asked of the team."""


def terms(law: Law, settings: Settings) -> dict[str, Any]:
    """What a request keeps of the day it was received: the law's words, holidays and time zone."""
    days = sorted(day.isoformat() for day in settings.holidays)
    return {
        "law": law.to_dict(),
        "calendar": {"timezone": settings.timezone, "holidays": days},
    }


def as_received(request: Request, settings: Settings) -> Settings:
    """Settings with the holidays and the time zone that a request was received under.

    A request without a law has no deadline, and keeps none.

    Raises:
        StateError: they are not in the request.
    """
    if request.law is None:
        return settings
    try:
        kept = request.history[0].detail["calendar"]
        zone, days = ZoneInfo(kept["timezone"]), map(date.fromisoformat, kept["holidays"])
        return replace(settings, timezone=zone.key, holidays=frozenset(days))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise StateError(
            f"the holidays and the time zone that request {request.id} was received under cannot "
            f"be read ({error}): restore the ledger from a backup"
        ) from error


def law_of(request: Request, settings: Settings) -> Law | None:
    """The law that a request was entered under, word for word as on that day; None without one.

    It is what that law says of requests of this kind.

    Raises:
        StateError: what it said then is not in the request.
    """
    if request.law is None:
        return None
    try:
        law = Law.from_dict(request.history[0].detail["law"])
    except (KeyError, AttributeError, InputError) as error:
        raise StateError(
            f"what the law {request.law!r} said when request {request.id} was received cannot be "
            f"read ({error}): restore the ledger from a backup"
        ) from error
    if law.name != request.law:
        raise StateError(
            f"request {request.id} was received under {law.name!r} and now names {request.law!r}: "
            "restore the ledger from a backup"
        )
    return law.concerning(request.kind)


def unedited(law: Law, requests: Iterable[Request]) -> None:
    """Hold a law against what requests were received under: its name and version mean one text.

    Raises:
        InputError: a request has it with other words.
    """
    for request in requests:
        known = request.history[0].detail.get("law")
        if request.law == law.name and known is not None and known["version"] == law.version:
            if known != law.to_dict():
                raise InputError(
                    f"version {law.version} of the law {law.name!r} says something else than when "
                    f"request {request.id} was received under it: a law that was edited is a new "
                    f"version, so say 'version = {law.version + 1}' in its file. Requests keep the "
                    "words that they were received under"
                )
            return


def deadline_of(
    request: Request, settings: Settings, *, moment: datetime | None = None
) -> Deadline | None:
    """The days by which a request wants to be confirmed and answered; None without a law.

    Args:
        request: as the ledger has it.
        settings: the workspace's; the holidays and the time zone are the request's own.
        moment: with a time zone; None: now.
    """
    law = law_of(request, settings)
    if law is None:
        return None
    return deadline(
        law,
        clock_of(request, settings),
        today=_day(request, settings, moment),
        holidays=as_received(request, settings).holidays,
    )


def days_left(
    request: Request, settings: Settings, *, moment: datetime | None = None
) -> int | None:
    """Days until the answer is due; None where the law sets no day yet, or the request has ended.

    The clock of one that is published runs on: what else holds the data has to go, too.

    A clock that was put back gives nobody more time: it is no earlier than the request's last step.
    """
    return due_and_left(request, settings, moment=moment)[1]


def due_and_left(
    request: Request, settings: Settings, *, moment: datetime | None = None
) -> tuple[date | None, int | None]:
    """The day on which the answer is due, and the days until then: see `days_left`."""
    if not request.status.pending:
        return None, None
    found = deadline_of(request, settings, moment=moment)
    if found is None:
        return None, None
    return found.answer, found.days_left(_day(request, settings, moment))


def answered_late(request: Request, settings: Settings) -> bool:
    """Whether the answer (a publication, a refusal) came after the day it was due."""
    law = law_of(request, settings)
    ends = (RequestStatus.PUBLISHED, RequestStatus.CLOSED, RequestStatus.REFUSED)
    steps = [step for step in request.history if step.status in ends]
    if law is None or not steps or request.status not in ends:
        return False
    due = deadline_of(request, settings, moment=steps[0].at)
    at = today(as_received(request, settings), steps[0].at)
    return due is not None and due.answer is not None and at > due.answer


def again_by(request: Request, settings: Settings) -> date | None:
    """The day by which a closed request has to be done again; None where its law wants no such
    thing, or it is not closed."""
    law = law_of(request, settings)
    if law is None or law.again is None or request.status is not RequestStatus.CLOSED:
        return None
    assert law.again.number is not None
    assert law.again.unit is not None
    kept = as_received(request, settings)
    return add(today(kept, request.history[-1].at), law.again.number, law.again.unit, kept.holidays)


def today(settings: Settings, moment: datetime | None = None) -> date:
    """The day it is where the team works."""
    return (moment or datetime.now(UTC)).astimezone(ZoneInfo(settings.timezone)).date()


def _day(request: Request, settings: Settings, moment: datetime | None) -> date:
    """Today, or the day of the last thing that happened to a request, if the clock says less."""
    settings = as_received(request, settings)
    last = max(request.received_at, *(step.at for step in request.history))
    return max(today(settings, moment), today(settings, last))


def clock_of(request: Request, settings: Settings) -> Clock:
    """What happened to a request, so far as a law may count it."""
    zone = ZoneInfo(as_received(request, settings).timezone)

    def day(at: datetime) -> date:
        return at.astimezone(zone).date()

    def pause(since: datetime, until: datetime | None) -> Pause:
        # Where the clock was put back meanwhile, nothing is known to have passed.
        return Pause(day(since), until and max(day(since), day(until)))

    pauses = list(_pauses(request))
    extended_on = [step.detail["extended"] for step in request.history if "extended" in step.detail]
    return Clock(
        received=day(request.received_at),
        needed=tuple(
            pause(since, until) for what, since, until in pauses if what in (IDENTITY, FEE)
        ),
        clarified=tuple(
            pause(since, until) for what, since, until in pauses if what == CLARIFICATION
        ),
        extended=date.fromisoformat(extended_on[-1]) if extended_on else None,
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
