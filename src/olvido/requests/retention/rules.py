"""Retention rules of a workspace, read from [[retention]] in olvido.toml.

A rule says which records it covers, how long they are kept, and from which day that counts. A hold
is a duty to keep: while it lasts, no rule erases what it covers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import Consent
from olvido.requests.rights.law import Unit, add
from olvido.settings import FILE, Settings

WITHDRAWN, HOLD = "until withdrawn", "on hold"
ADDED, COLLECTED = "added", "collected_at"
"""Days to count from that the ledger knows; any other name is a column of the rows."""

_PERIOD = re.compile(r"([0-9]{1,5}) (day|week|month|year)s?")
_DAYS = {"day": 1, "week": 7, "month": 31, "year": 366}
_LONGEST = 100 * 366
_LAST_YEAR = 9000
_SELECTING = ("dataset", "source", "field", "value", "consent")
_RULE = ("name", "keep", "from", "within", *_SELECTING)
_HOLD = ("name", "keep", "why", "until", *_SELECTING)

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Period:
    """A period of days or months.

    Attributes:
        number, unit: its length, in calendar days or calendar months.
    """

    number: int
    unit: Unit

    def last(self, day: date) -> date | None:
        """The last day of a period that begins after `day`; None for a day that cannot be meant.

        >>> str(Period(24, Unit.CALENDAR_MONTH).last(date(2024, 2, 29)))
        '2026-02-28'
        """
        return add(day, self.number, self.unit) if day.year <= _LAST_YEAR else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The records that a rule covers: those that fit everything that is given.

    Attributes:
        dataset: the name of a dataset, in all its versions.
        source: the source.
        field, value: a column of the rows, and its value.
        consent: the state of the consent.
    """

    dataset: str | None = None
    source: str | None = None
    field: str | None = None
    value: Value | None = None
    consent: Consent | None = None

    def __str__(self) -> str:
        said = {
            "dataset": self.dataset,
            "source": self.source,
            self.field or "": self.value,
            "consent": self.consent and self.consent.value,
        }
        return ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One retention rule.

    Attributes:
        name: its name; the requests that it made keep it.
        covers: the records.
        keep: how long they are kept; None: until the consent is withdrawn.
        counted_from: `added`, `collected_at`, or the column of the rows with the day.
        within: how long an erasure may wait, from the day it is due, for a run that happens anyway.
    """

    name: str
    covers: Selection
    keep: Period | None
    counted_from: str
    within: Period | None
    says: str

    def by(self, due: date) -> date:
        """The last day on which the erasure of what is due on a day may begin."""
        last = None if self.within is None else self.within.last(due)
        return due if last is None else last


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A duty to keep records, whatever the rules say.

    Attributes:
        name, why: its name, and the reason, which is shown.
        covers: the records.
        until: its last day; None: until it is taken out of the settings.
    """

    name: str
    why: str
    covers: Selection
    until: date | None

    def lasts(self, today: date) -> bool:
        """Whether it holds on a day."""
        return self.until is None or today <= self.until


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules and holds of a workspace, in the order of the file."""

    rules: tuple[Rule, ...]
    holds: tuple[Hold, ...]

    @property
    def selections(self) -> tuple[Selection, ...]:
        """What each of them covers."""
        return (*(rule.covers for rule in self.rules), *(hold.covers for hold in self.holds))

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the rows that they look at; other values are in the ledger."""
        fields = {one.field for one in self.selections if one.field is not None}
        dates = {rule.counted_from for rule in self.rules if rule.keep is not None}
        return frozenset((fields | dates) - {ADDED, COLLECTED})


def read_rules(settings: Settings) -> Rules:
    """The rules of a workspace; none where its olvido.toml has none.

    Raises:
        InputError, UnknownName: a rule is wrong: its name, and what was expected.
    """
    rules: list[Rule] = []
    holds: list[Hold] = []
    names: set[str] = set()
    for number, said in enumerate(settings.retention, 1):
        name = said.get("name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"expected retention rule {number} in {FILE} with a name, got {name!r}"
            )
        if name in names:
            raise InputError(f"two retention rules in {FILE} are called {name!r}: rename one")
        names.add(name)
        if said.get("keep") == HOLD:
            holds.append(_hold(name, said))
        else:
            rules.append(_rule(name, said))
    return Rules(tuple(rules), tuple(holds))


def _rule(name: str, said: Mapping[str, Any]) -> Rule:
    _require_known(name, said, _RULE)
    covers, keep, since = _selection(name, said), said.get("keep"), said.get("from")
    period = None if keep == WITHDRAWN else _period(name, "keep", keep)
    if period is None and since is not None:
        raise _wrong(name, "no 'from', since 'until withdrawn' counts from no day", since)
    if period is not None and (not isinstance(since, str) or not since):
        wanted = "'from' as 'added', 'collected_at' or the column with the day"
        raise _wrong(name, wanted, since)
    within = None if "within" not in said else _period(name, "within", said["within"])
    says = f"{covers}: {keep}" if since is None else f"{covers}: {keep} from {since}"
    return Rule(
        name=name,
        covers=covers,
        keep=period,
        counted_from=since or "",
        within=within,
        says=says,
    )


def _hold(name: str, said: Mapping[str, Any]) -> Hold:
    _require_known(name, said, _HOLD)
    why, until = said.get("why"), said.get("until")
    if not isinstance(why, str) or not why.strip():
        raise _wrong(name, "'why' as the reason to keep them", why)
    if until is not None and type(until) is not date:
        raise _wrong(name, "'until' as a day like 2027-01-31, without quotes", until)
    return Hold(name=name, why=why, covers=_selection(name, said), until=until)


def _require_known(name: str, said: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for one in said:
        if one not in known:
            raise UnknownName(f"setting of the retention rule {name!r} in {FILE}", one, known)


def _selection(name: str, said: Mapping[str, Any]) -> Selection:
    given = {one: said[one] for one in _SELECTING if one in said}
    if not given:
        raise _wrong(name, "which records: dataset, source, field with value, or consent", None)
    for one in ("dataset", "source", "field"):
        if one in given and (not isinstance(given[one], str) or not given[one]):
            raise _wrong(name, f"{one!r} as text", given[one])
    if ("field" in given) != ("value" in given):
        raise _wrong(name, "'field' and 'value' together", given.get("field", given.get("value")))
    if "value" in given and not isinstance(given["value"], str | int | float | bool):
        raise _wrong(name, "'value' as text, a number, true or false", given["value"])
    if "consent" in given:
        if given["consent"] not in list(Consent):
            known = [one.value for one in Consent]
            raise UnknownName(
                f"consent of the retention rule {name!r}", str(given["consent"]), known
            )
        given["consent"] = Consent(given["consent"])
    return Selection(**given)


def _period(name: str, what: str, said: Any) -> Period:
    found = _PERIOD.fullmatch(said) if isinstance(said, str) else None
    number, unit = (int(found[1]), found[2]) if found else (0, "day")
    if not 0 < number * _DAYS[unit] <= _LONGEST:
        others = f", '{WITHDRAWN}' or '{HOLD}'" if what == "keep" else ""
        raise _wrong(name, f"{what!r} as '2 years', '6 months', '90 days'{others}", said)
    if unit in ("month", "year"):
        return Period(number * (12 if unit == "year" else 1), Unit.CALENDAR_MONTH)
    return Period(number * _DAYS[unit], Unit.CALENDAR_DAY)


def due_after(last: date) -> date:
    """The day on which records are due that may be kept through a last day."""
    return last + timedelta(days=1)


def _wrong(name: str, expected: str, got: Any) -> InputError:
    return InputError(f"retention rule {name!r} in {FILE}: expected {expected}, got {got!r}")
