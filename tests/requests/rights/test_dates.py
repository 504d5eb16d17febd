"""Counting days, against other libraries and against walking the calendar day by day."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta

import numpy as np
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from olvido.requests.rights.law import Unit, add, business_days, next_business_day

DAYS = st.dates(date(1999, 12, 1), date(2104, 3, 31))
HOLIDAYS = st.frozensets(st.dates(date(2026, 1, 1), date(2027, 12, 31)), max_size=25)
SPANS = st.integers(0, 400)


def walked_months(day: date, number: int) -> date:
    """Walks on, counting each first of a month, and stops on the same date or the month's last."""
    months = 0
    at = day
    while months < number:
        at += timedelta(days=1)
        months += at.day == 1
    while at.day != day.day and at.day != monthrange(at.year, at.month)[1]:
        at += timedelta(days=1)
    return at


@given(DAYS, st.integers(1, 30))
def test_months_end_as_walking_the_calendar_does(day: date, number: int) -> None:
    expected = walked_months(day, number)
    assert add(day, number, Unit.CALENDAR_MONTH) == expected
    assert day + relativedelta(months=number) == expected


@given(st.dates(date(2026, 1, 1), date(2027, 6, 30)), st.integers(1, 90), HOLIDAYS)
def test_business_days_are_those_of_numpy(
    day: date, number: int, holidays: frozenset[date]
) -> None:
    counted = np.busday_offset(
        np.datetime64(day), number, roll="backward", holidays=sorted(map(np.datetime64, holidays))
    )
    assert add(day, number, Unit.BUSINESS_DAY, holidays) == counted.astype(date)


@given(DAYS, SPANS, HOLIDAYS)
def test_between_two_days_numpy_counts_the_same(
    day: date, span: int, holidays: frozenset[date]
) -> None:
    until = day + timedelta(days=span)
    free = sorted(map(np.datetime64, holidays))
    counted = np.busday_count(np.datetime64(day), np.datetime64(until), holidays=free)
    assert business_days(day, until, holidays) == counted


@given(DAYS, st.integers(1, 24), st.integers(1, 24))
def test_a_longer_period_ends_later(day: date, one: int, other: int) -> None:
    for unit in Unit:
        assert (add(day, one, unit) < add(day, other, unit)) == (one < other)


@given(DAYS, SPANS)
def test_a_later_start_never_ends_earlier(day: date, span: int) -> None:
    for unit in Unit:
        assert add(day, 1, unit) <= add(day + timedelta(days=span), 1, unit)


@given(DAYS, HOLIDAYS)
def test_the_next_business_day_is_the_first_that_is_free_of_work_no_more(
    day: date, holidays: frozenset[date]
) -> None:
    found = next_business_day(day, holidays)
    skipped = [day + timedelta(days=n) for n in range((found - day).days)]
    assert found.weekday() < 5
    assert found not in holidays
    assert all(d.weekday() >= 5 or d in holidays for d in skipped)


@pytest.mark.parametrize(
    ("day", "number", "ends"),
    [
        ("2027-01-28", 1, "2027-02-28"),
        ("2027-01-29", 1, "2027-02-28"),
        ("2027-01-31", 1, "2027-02-28"),
        ("2028-01-29", 1, "2028-02-29"),
        ("2028-01-30", 1, "2028-02-29"),
        ("2028-02-29", 1, "2028-03-29"),
        ("2028-02-29", 12, "2029-02-28"),
        ("2028-02-29", 48, "2032-02-29"),
        ("2026-12-31", 1, "2027-01-31"),
        ("2026-12-31", 2, "2027-02-28"),
        ("2026-12-31", 3, "2027-03-31"),
        ("2026-08-31", 1, "2026-09-30"),
        ("2026-10-31", 1, "2026-11-30"),
        ("2099-12-31", 2, "2100-02-28"),
        ("1999-12-31", 2, "2000-02-29"),
        ("2027-02-28", 1, "2027-03-28"),
    ],
)
def test_month_ends_and_leap_days(day: str, number: int, ends: str) -> None:
    found = add(date.fromisoformat(day), number, Unit.CALENDAR_MONTH)
    assert found == date.fromisoformat(ends)
