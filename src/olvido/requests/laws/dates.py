"""Counting days: months that end early, weekends, and the holidays that a team gives."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection
from datetime import date, timedelta
from enum import StrEnum

_DAY = timedelta(days=1)
_SATURDAY = 5


class Unit(StrEnum):
    """What a period is counted in."""

    CALENDAR_MONTH = "calendar month"
    CALENDAR_DAY = "calendar day"
    BUSINESS_DAY = "business day"


def is_business_day(day: date, holidays: Collection[date] = ()) -> bool:
    """Neither Saturday nor Sunday nor a holiday.

    >>> is_business_day(date(2026, 11, 24)), is_business_day(date(2026, 11, 28))
    (True, False)
    """
    return day.weekday() < _SATURDAY and day not in holidays


def next_business_day(day: date, holidays: Collection[date] = ()) -> date:
    """The day itself, or the first business day after it."""
    while not is_business_day(day, holidays):
        day += _DAY
    return day


def add(day: date, number: int, unit: Unit, holidays: Collection[date] = ()) -> date:
    """The last day of a period that begins after `day`, which is not counted itself.

    A month ends on the same date, or on the last day of a month that has none (Regulation 1182/71,
    Article 3(2)(c)).

    >>> str(add(date(2027, 1, 31), 1, Unit.CALENDAR_MONTH))
    '2027-02-28'
    >>> str(add(date(2026, 11, 27), 1, Unit.BUSINESS_DAY))
    '2026-11-30'
    """
    if unit is Unit.CALENDAR_MONTH:
        years, month = divmod(day.month - 1 + number, 12)
        year, month = day.year + years, month + 1
        return date(year, month, min(day.day, monthrange(year, month)[1]))
    if unit is Unit.CALENDAR_DAY:
        return day + number * _DAY
    for _ in range(number):
        day = next_business_day(day + _DAY, holidays)
    return day


def business_days(first: date, until: date, holidays: Collection[date] = ()) -> int:
    """How many business days there are from `first` up to, and without, `until`."""
    span = range((until - first).days)
    return sum(is_business_day(first + n * _DAY, holidays) for n in span)
