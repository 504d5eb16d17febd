"""The deadlines of a request: its law's clock, computed from its history."""

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
"""What the person may be asked for; only the team is asked for a decision."""


def terms(law: Law, settings: Settings) -> dict[str, Any]:
    """The terms that a request keeps from its first day: the law's text, holidays and time zone."""
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
    """The law that a request was entered under, as it read on that day; None without one.

    It has the periods and articles for requests of this kind.

    Raises:
        StateError: the text of that day is not in the request.
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
    """Check a law against the texts that requests keep: a name and version mean one text.

    Raises:
        InputError: a request has it with another text.
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
        request: the request.
        settings: the workspace's; holidays and time zone come from the request itself.
        moment: the present, with a time zone; None: now.
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

    After publishing the clock runs on: the other copies of the data have to be erased, too. The
    present is never before the request's last step, so a clock that was put back gains no time.
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
    """Whether the answer (a publication, a refusal) came after its due day."""
    law = law_of(request, settings)
    ends = (RequestStatus.PUBLISHED, RequestStatus.CLOSED, RequestStatus.REFUSED)
    steps = [step for step in request.history if step.status in ends]
    if law is None or not steps or request.status not in ends:
        return False
    due = deadline_of(request, settings, moment=steps[0].at)
    at = today(as_received(request, settings), steps[0].at)
    return due is not None and due.answer is not None and at > due.answer


def again_by(request: Request, settings: Settings) -> date | None:
    """The day by which a closed request has to be repeated; None where its law does not require
    that, or it is not closed."""
    law = law_of(request, settings)
    if law is None or law.again is None or request.status is not RequestStatus.CLOSED:
        return None
    assert law.again.number is not None
    assert law.again.unit is not None
    kept = as_received(request, settings)
    return add(today(kept, request.history[-1].at), law.again.number, law.again.unit, kept.holidays)


def today(settings: Settings, moment: datetime | None = None) -> date:
    """The present day in the team's time zone."""
    return (moment or datetime.now(UTC)).astimezone(ZoneInfo(settings.timezone)).date()


def _day(request: Request, settings: Settings, moment: datetime | None) -> date:
    """Today, or the day of the request's last step if that is later."""
    settings = as_received(request, settings)
    last = max(request.received_at, *(step.at for step in request.history))
    return max(today(settings, moment), today(settings, last))


def clock_of(request: Request, settings: Settings) -> Clock:
    """The events of a request that a law may count."""
    zone = ZoneInfo(as_received(request, settings).timezone)

    def day(at: datetime) -> date:
        return at.astimezone(zone).date()

    def pause(since: datetime, until: datetime | None) -> Pause:
        # If the machine's clock was put back meanwhile, no time counts as passed.
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
    """The needs that the person was asked for, each with begin and end."""
    asked: tuple[str, datetime] | None = None
    for step in request.history:
        what = step.detail.get("for")
        if step.status is RequestStatus.NEEDS_INPUT and what is None:
            # A note while the person has not answered yet.
            continue
        if asked is not None:
            yield (*asked, step.at)
        asked = (str(what), step.at) if what in ASKED else None
    if asked is not None:
        yield (*asked, None)
