"""Compute the days that a law leaves to answer a request, from the request's history."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from olvido.errors import InputError
from olvido.requests.rights.law import (
    Ends,
    Law,
    Start,
    Stop,
    Term,
    Unit,
    add,
    business_days,
    next_business_day,
)


@dataclass(frozen=True, slots=True)
class Pause:
    """A time of waiting for somebody.

    Attributes:
        since: the day it began.
        until: the day it ended, on which the clock runs again; None: it lasts.
    """

    since: date
    until: date | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.until < self.since:
            raise InputError(f"a pause cannot end on {self.until}, before it began, {self.since}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The events of a request that the law counts.

    Attributes:
        received: the day the request came.
        needed: pauses while waiting for identity or a fee.
        clarified: pauses while waiting for clarification.
        extended: the day the person was informed that the answer will take longer.
    """

    received: date
    needed: tuple[Pause, ...] = ()
    clarified: tuple[Pause, ...] = ()
    extended: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """The due days; None where the law gives no number, or its clock does not run yet.

    Attributes:
        confirm: the day by which receipt has to be confirmed.
        answer: the day by which the answer is due.
        extend: the last day on which the person can be informed that it takes longer.
        extended: the day by which the answer is due if it takes longer.
        running: whether the clock runs now.
        because: how the answer's day follows, in a sentence.
    """

    confirm: date | None
    answer: date | None
    extend: date | None
    extended: date | None
    running: bool
    because: str

    def days_left(self, today: date) -> int | None:
        """Days until the answer is due, negative when it is late; None where no day is set."""
        return None if self.answer is None else (self.answer - today).days


def deadline(law: Law, clock: Clock, *, today: date, holidays: Collection[date] = ()) -> Deadline:
    """The days by which a law wants a request confirmed and answered.

    While the clock stands still, the days are those that would hold if it went on today.

    Args:
        law: the law.
        clock: the request's events.
        today: the end of pauses that last.
        holidays: days besides Saturdays and Sundays on which nobody works.

    Raises:
        InputError: the person was informed of an extension too late, or the law knows none.
    """
    start = _start(law, clock)
    pauses = clock.clarified if law.stop is Stop.CLARIFICATION else ()
    if start is None:
        if clock.extended is not None:
            raise InputError("there is nothing to extend before the clock has started")
        why = "the clock has not started: identity or fee is waited for"
        return Deadline(
            confirm=None, answer=None, extend=None, extended=None, running=False, because=why
        )

    def end(*terms: Term) -> date:
        day = start
        for number, unit in _summed(terms):
            day = add(day, number, unit, holidays)
        day = _moved(day, terms[0].unit, start, pauses, today, holidays)
        return next_business_day(day, holidays) if law.ends is Ends.BUSINESS_DAY else day

    answer = None if law.answer.number is None else end(law.answer)
    extended = None
    if law.extension is not None and answer is not None:
        extended = end(law.answer, law.extension)
    if clock.extended is not None:
        require_extension(law, answer, clock.extended)
    confirm = end(law.confirm) if law.confirm and law.confirm.number is not None else None
    stopped = any(pause.until is None for pause in pauses)
    return Deadline(
        confirm=confirm,
        answer=extended if clock.extended is not None else answer,
        extend=answer if extended is not None and clock.extended is None else None,
        extended=extended,
        running=not stopped,
        because=_because(law, start, clock, stopped),
    )


def require_extension(law: Law, answer: date | None, informed_on: date) -> None:
    """Raise InputError where the law knows no extension, or it comes too late."""
    if law.extension is None:
        raise InputError(f"{law.title} knows no extension: answer in time, or refuse with reasons")
    if answer is not None and informed_on > answer:
        raise InputError(
            f"the person had to be informed of the extension by {answer}, when the answer was due; "
            f"it is {informed_on}"
        )


def _start(law: Law, clock: Clock) -> date | None:
    if law.start is Start.RECEIPT or not clock.needed:
        return clock.received
    ends = [pause.until for pause in clock.needed]
    if None in ends:
        return None
    return max([clock.received, *(day for day in ends if day is not None)])


def _summed(terms: Sequence[Term]) -> list[tuple[int, Unit]]:
    """Add periods of the same unit first: 31 December and 1 + 2 months is 31 March."""
    summed: list[tuple[int, Unit]] = []
    for term in terms:
        assert term.number is not None
        assert term.unit is not None
        if summed and summed[-1][1] is term.unit:
            summed[-1] = (summed[-1][0] + term.number, term.unit)
        else:
            summed.append((term.number, term.unit))
    return summed


def _moved(
    day: date,
    unit: Unit | None,
    start: date,
    pauses: Sequence[Pause],
    today: date,
    holidays: Collection[date],
) -> date:
    """The day, postponed by as many days of its unit as the clock stood still."""
    still = _union(start, pauses, today)
    if unit is Unit.BUSINESS_DAY:
        lost = sum(business_days(first, until, holidays) for first, until in still)
        return add(day, lost, unit, holidays)
    return day + timedelta(days=sum((until - first).days for first, until in still))


def _union(start: date, pauses: Sequence[Pause], today: date) -> list[tuple[date, date]]:
    spans: list[tuple[date, date]] = []
    for pause in sorted(pauses, key=lambda p: p.since):
        first = max(pause.since, start)
        until = pause.until or max(today, first)
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], until))
        elif until > first:
            spans.append((first, until))
    return spans


def _because(law: Law, start: date, clock: Clock, stopped: bool) -> str:
    if law.answer.number is None:
        later = law.begins is not None and start < law.begins
        applies = f" (applies from {law.begins})" if later else ""
        named = ", ".join(filter(None, (law.title, law.answer.article)))
        return f"{named}: {law.answer.says}{applies}"
    parts = [f"{law.answer} from {start} ({law.title}, {law.answer.article})"]
    if law.begins is not None and start < law.begins:
        parts.append(f"which applies from {law.begins}")
    if clock.extended is not None and law.extension is not None:
        parts.append(f"extended by {law.extension}")
    if clock.clarified and law.stop is Stop.CLARIFICATION:
        parts.append("the clock stands still" if stopped else "the clock stood still")
    if law.ends is Ends.BUSINESS_DAY:
        parts.append("ends on a business day")
    return ", ".join(parts)
