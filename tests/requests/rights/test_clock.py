"""Days by which an answer is due: 200 cases and more, counted here by walking the calendar.

The oracle knows nothing of the code: it walks day by day from a start, ticking the days that count.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError
from olvido.requests.rights.clock import Clock, Deadline, Pause, deadline
from olvido.requests.rights.registry import find_law, laws

DAY = timedelta(days=1)
TODAY = date(2027, 6, 1)
HOLIDAYS = frozenset(
    date.fromisoformat(day)
    for day in ("2026-12-25", "2026-12-28", "2027-01-01", "2027-03-26", "2027-03-29", "2027-05-03")
)


def on(text: str) -> date:
    return date.fromisoformat(text)


LAWS = laws()


def due(law: str, clock: Clock, holidays: Collection[date] = HOLIDAYS) -> Deadline:
    return deadline(find_law(law), clock, today=TODAY, holidays=holidays)


def months_on(day: date, number: int) -> date:
    """The same date so many months on, found by walking; the month's last day where it has none."""
    at, months = day, 0
    while months < number:
        at += DAY
        months += at.day == 1
    while at.day < min(day.day, monthrange(at.year, at.month)[1]):
        at += DAY
    return at


def works(day: date, holidays: Collection[date] = HOLIDAYS) -> bool:
    return day.weekday() < 5 and day not in holidays


def rolled(day: date, holidays: Collection[date] = HOLIDAYS) -> date:
    while not works(day, holidays):
        day += DAY
    return day


def ticks(day: date, number: int, holidays: Collection[date] = HOLIDAYS) -> date:
    """The day on which the given number of business days have passed."""
    while number:
        day += DAY
        number -= works(day, holidays)
    return day


# Every fourth day of a year with a leap year after it, and every end of its months.
RECEIVED = sorted(
    {date(2027, 3, 1) + n * 6 * DAY for n in range(61)}
    | {date(2027, m, monthrange(2027, m)[1]) for m in range(1, 13)}
    | {date(2028, m, monthrange(2028, m)[1]) for m in range(1, 4)}
    | {on("2026-11-25"), on("2026-11-28"), on("2026-12-01"), on("2026-01-31"), on("2028-02-28")}
)


@pytest.mark.parametrize("received", RECEIVED, ids=str)
def test_every_law_on_every_kind_of_day(received: date) -> None:
    """About eighty days of receipt under ten laws, extended and not."""
    plain = Clock(received=received)
    informed_on = Clock(received=received, extended=received)
    for name in ("gdpr", "uk-gdpr"):
        found = due(name, plain)
        assert found.answer == rolled(months_on(received, 1))
        assert found.extend == found.answer
        assert found.extended == rolled(months_on(received, 3))
        assert due(name, informed_on).answer == found.extended
    ccpa = due("ccpa", plain)
    assert ccpa.confirm == ticks(received, 10)
    assert ccpa.answer == received + 45 * DAY
    assert due("ccpa", informed_on).answer == received + 90 * DAY
    assert due("pipeda", plain).answer == received + 30 * DAY
    assert due("pipeda", informed_on).answer == received + 60 * DAY
    for name in ("quebec", "popia"):
        assert due(name, plain).answer == received + 30 * DAY
    for name in ("lgpd", "pipl", "dpdp", "fadp"):
        assert due(name, plain).answer is None


@pytest.mark.parametrize(
    ("law", "received", "answer"),
    [
        # A month that ends on a Saturday, on Christmas and the holiday after it, on a leap day.
        ("gdpr", "2026-11-28", "2026-12-29"),
        ("gdpr", "2026-11-25", "2026-12-29"),
        ("gdpr", "2026-11-24", "2026-12-24"),
        ("gdpr", "2027-01-31", "2027-03-01"),
        ("gdpr", "2028-01-31", "2028-02-29"),
        ("gdpr", "2026-12-01", "2027-01-04"),
        ("uk-gdpr", "2027-04-03", "2027-05-04"),
        ("uk-gdpr", "2026-08-31", "2026-09-30"),
        ("ccpa", "2026-11-24", "2027-01-08"),
        ("ccpa", "2027-01-16", "2027-03-02"),
        ("pipeda", "2027-01-30", "2027-03-01"),
        ("quebec", "2028-01-31", "2028-03-01"),
    ],
)
def test_days_looked_up_in_a_calendar(law: str, received: str, answer: str) -> None:
    assert due(law, Clock(received=on(received))).answer == on(answer)


@pytest.mark.parametrize("days", range(0, 40, 3))
def test_the_clock_stands_still_where_the_law_lets_it(days: int) -> None:
    received, asked = on("2027-03-02"), on("2027-03-10")
    pause = Pause(asked, asked + days * DAY)
    clock = Clock(received=received, clarified=(pause,))
    assert due("uk-gdpr", clock).answer == rolled(on("2027-04-02") + days * DAY)
    assert due("gdpr", clock).answer == rolled(on("2027-04-02"))
    assert due("ccpa", clock).answer == received + 45 * DAY


def test_pauses_that_overlap_are_counted_once() -> None:
    pauses = (
        Pause(on("2027-03-10"), on("2027-03-15")),
        Pause(on("2027-03-12"), on("2027-03-20")),
        Pause(on("2027-03-22"), on("2027-03-24")),
    )
    clock = Clock(received=on("2027-03-02"), clarified=pauses)
    assert due("uk-gdpr", clock).answer == rolled(on("2027-04-02") + 12 * DAY)


def test_a_pause_that_lasts_moves_the_day_with_today() -> None:
    law, received = find_law("uk-gdpr"), on("2027-03-02")
    clock = Clock(received=received, clarified=(Pause(on("2027-03-10")),))
    for later in (0, 1, 20):
        today = on("2027-03-10") + later * DAY
        found = deadline(law, clock, today=today)
        assert not found.running
        assert found.answer == rolled(on("2027-04-02") + later * DAY, ())
        assert "stands still" in found.because


@pytest.mark.parametrize("wait", range(0, 30, 3))
def test_the_month_begins_with_identity_where_the_law_says_so(wait: int) -> None:
    received = on("2027-02-26")
    needed = (Pause(received, received + wait * DAY),)
    clock = Clock(received=received, needed=needed)
    assert due("uk-gdpr", clock).answer == rolled(months_on(received + wait * DAY, 1))
    assert due("gdpr", clock).answer == rolled(months_on(received, 1))
    assert due("ccpa", clock).answer == received + 45 * DAY


def test_the_latest_of_identity_and_fee_counts_and_until_then_nothing_runs() -> None:
    received = on("2027-02-01")
    fee, identity = Pause(received, on("2027-02-20")), Pause(received, on("2027-02-10"))
    found = due("uk-gdpr", Clock(received=received, needed=(fee, identity)))
    assert found.answer == rolled(on("2027-03-20"))
    waiting = due("uk-gdpr", Clock(received=received, needed=(fee, Pause(received))))
    assert (waiting.answer, waiting.running) == (None, False)
    assert waiting.days_left(TODAY) is None
    assert "has not started" in waiting.because


def test_days_left_count_down_to_the_day_and_below() -> None:
    found = due("ccpa", Clock(received=on("2027-01-01")))
    assert found.answer == on("2027-02-15")
    left = [found.days_left(on(day)) for day in ("2027-02-14", "2027-02-15", "2027-02-17")]
    assert left == [1, 0, -2]


@pytest.mark.parametrize("name", ["quebec", "popia", "lgpd", "pipl", "dpdp", "fadp"])
def test_a_law_without_an_extension_gives_none(name: str) -> None:
    clock = Clock(received=on("2027-01-01"), extended=on("2027-01-02"))
    with pytest.raises(InputError, match="knows no extension"):
        due(name, clock)


@pytest.mark.parametrize(
    ("law", "last"), [("gdpr", "2027-02-01"), ("ccpa", "2027-02-15"), ("pipeda", "2027-01-31")]
)
def test_an_extension_is_told_in_time_or_not_at_all(law: str, last: str) -> None:
    received = on("2027-01-01")
    assert due(law, Clock(received=received)).extend == on(last)
    assert due(law, Clock(received=received, extended=on(last))).answer is not None
    with pytest.raises(InputError, match=f"had to be informed of the extension by {last}"):
        due(law, Clock(received=received, extended=on(last) + DAY))


@pytest.mark.slow
@given(
    st.dates(date(2026, 1, 1), date(2029, 12, 31)),
    st.integers(0, 60),
    st.integers(0, 60),
    st.frozensets(st.dates(date(2026, 1, 1), date(2030, 12, 31)), max_size=20),
)
def test_no_pause_and_no_holiday_brings_a_day_forward(
    received: date, after: int, lasts: int, holidays: frozenset[date]
) -> None:
    pause = Pause(received + after * DAY, received + (after + lasts) * DAY)
    clock = Clock(received=received, clarified=(pause,), needed=(pause,))
    for law in LAWS:
        bare = deadline(law, Clock(received=received), today=received)
        found = deadline(law, clock, today=received, holidays=holidays)
        if bare.answer is None:
            assert found.answer is None
            continue
        assert found.answer is not None
        assert found.answer >= bare.answer
        if law.stop == "never" and law.start == "receipt" and law.ends == "any day":
            assert found.answer == bare.answer
        if found.extended is not None:
            assert found.extended > found.answer


def test_a_pause_cannot_end_before_it_begins() -> None:
    with pytest.raises(InputError, match="before it began"):
        Pause(on("2027-01-02"), on("2027-01-01"))
