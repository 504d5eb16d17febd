"""Laws, each read from a file in which every statement needs its source.

Also the counting of days: short months, weekends, and the holidays that a team configures.
"""

from __future__ import annotations

import re
import tomllib
from calendar import monthrange
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from olvido.errors import InputError, UnknownName

_DAY = timedelta(days=1)
_SATURDAY = 5


class Unit(StrEnum):
    """The unit of a period."""

    CALENDAR_MONTH = "calendar month"
    CALENDAR_DAY = "calendar day"
    BUSINESS_DAY = "business day"


def is_business_day(day: date, holidays: Collection[date] = ()) -> bool:
    """Whether a day is neither Saturday nor Sunday nor a holiday.

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
    """The last day of a period that begins after `day`; `day` itself is not counted.

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
    """The number of business days from `first` up to, and without, `until`."""
    span = range((until - first).days)
    return sum(is_business_day(first + n * _DAY, holidays) for n in span)


NO_NUMBER = "none"
"""The text in a file where the law gives no number."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Start(StrEnum):
    """The event from which a period runs."""

    RECEIPT = "receipt"
    LATEST = "latest of request, identity and fee"


class Stop(StrEnum):
    """When the clock stops."""

    NEVER = "never"
    CLARIFICATION = "while clarification is awaited"


class Ends(StrEnum):
    """The days on which a period may end."""

    ANY_DAY = "any day"
    BUSINESS_DAY = "next business day"


class Confidence(StrEnum):
    """How sure this reading of the law is; the surest first."""

    HIGH = "high"
    MEDIUM_HIGH = "medium-high"
    MEDIUM = "medium"
    LOW = "low"
    RECALLED = "recalled"


@dataclass(frozen=True, slots=True)
class Term:
    """One period of a law.

    Attributes:
        number, unit: its length; both None where the law gives no number.
        article: the article that sets it.
        says: what has to happen, in words.
        notice: for an extension: the information due, and by when.
    """

    number: int | None
    unit: Unit | None
    article: str
    says: str
    notice: str | None = None

    def __str__(self) -> str:
        if self.number is None or self.unit is None:
            return "no statutory number"
        return f"{self.number} {self.unit}{'s'[: self.number != 1]}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        shown = {"number": NO_NUMBER if self.number is None else self.number, "unit": self.unit}
        said = {"article": self.article, "says": self.says}
        return shown | said | ({"notice": self.notice} if self.notice else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """A law's rules for another right than erasure: access to one's data, or their rectification.

    Attributes:
        given: whether the law gives this right at all.
        articles: the articles that give it.
        answer, confirm, extension: as in `Law`.
        information: the information due with the answer.
        source, dated, confidence: where this was read, when, and how sure it is.
        note: further remarks.
    """

    given: bool
    articles: tuple[str, ...]
    answer: Term
    confirm: Term | None = None
    extension: Term | None = None
    information: tuple[str, ...] = ()
    source: str
    dated: date
    confidence: Confidence
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """The rules of one law for requests for erasure. Not legal advice.

    Attributes:
        name, version: the key under which requests are entered.
        title, jurisdiction, articles: the law's identification.
        erasure: whether it gives a right to erasure at all.
        start, stop, ends: how the clock runs.
        answer: the period until the answer is due.
        confirm: the period until receipt has to be confirmed.
        extension: the period by which the answer may be postponed.
        complaint: the period until a complaint has to be acknowledged.
        fetch: how often requests have to be fetched from the authority's platform.
        again: how soon after an erasure everything has to be searched and erased anew.
        begins: the day from which this applies; None: it does already.
        before: duties before anything is erased.
        keeps: data that have to be kept in any case, for how long and by which article.
        information, refused: the information due with the answer, and with a refusal.
        recourse: where the person may turn.
        source, dated, confidence: where this was read, when, and how sure it is.
        note: further remarks.
        access, rectification: its rules for these rights; None: its file has none.
    """

    name: str
    version: int
    title: str
    jurisdiction: str
    articles: tuple[str, ...]
    erasure: bool
    start: Start
    stop: Stop
    ends: Ends
    answer: Term
    confirm: Term | None = None
    extension: Term | None = None
    complaint: Term | None = None
    fetch: Term | None = None
    again: Term | None = None
    begins: date | None = None
    before: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    information: tuple[str, ...]
    refused: tuple[str, ...]
    recourse: str
    source: str
    dated: date
    confidence: Confidence
    note: str | None = None
    access: Provision | None = None
    rectification: Provision | None = None

    def concerning(self, kind: str) -> Law:
        """The law with the periods and articles for requests of a kind.

        Where the file says nothing about the kind's right, there is no number, and none is made up.

        >>> from olvido.requests.rights.registry import find_law
        >>> str(find_law("lgpd").concerning("access").answer), str(find_law("lgpd").answer)
        ('15 calendar days', 'no statutory number')
        """
        if kind not in _RIGHTS:
            return self
        found = getattr(self, kind)
        shown: dict[str, Any] = {"fetch": None, "again": None, "before": (), "keeps": ()}
        if found is None:
            says = f"its file does not say how a request of the kind {kind} is answered"
            shown |= {"answer": Term(None, None, "", says), "confirm": None, "extension": None}
            return replace(self, articles=(), information=(), note=None, **shown)
        same = ("articles", "answer", "confirm", "extension", "information", "source", "dated")
        shown |= {name: getattr(found, name) for name in (*same, "confidence", "note")}
        return replace(self, **shown)

    def gives(self, kind: str) -> bool | None:
        """Whether it gives the right for requests of a kind; None: its file does not say."""
        if kind not in _RIGHTS:
            return self.erasure
        found = getattr(self, kind)
        return None if found is None else found.given

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """Read the values of `to_dict`. Raises InputError or UnknownName on anything else."""
        values: dict[str, Any] = _said(found)
        dates = [(values, name) for name in ("dated", *({"begins"} & values.keys()))]
        dates += [(values[name], "dated") for name in _RIGHTS if name in values]
        for holder, name in dates:
            try:
                holder[name] = date.fromisoformat(holder[name])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"expected {name!r} as a day, got {holder.get(name)!r}") from error
        return cls(**_values(values))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a law from a TOML file.

        Raises:
            InputError: it cannot be read, lacks an entry (such as its source), or has an invalid
                value; the file is named.
            UnknownName: it has an unknown entry.
        """
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is no law in TOML: {error}") from None
        try:
            return cls(**_values(found))
        except UnknownName as error:
            raise UnknownName(f"{error.kind} in {path}", error.name, error.known) from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Term | Provision):
        return value.to_dict()
    if isinstance(value, date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _said(value: Any) -> Any:
    """A table without its empty entries, at every level."""
    if not isinstance(value, Mapping):
        return value
    return {name: _said(one) for name, one in value.items() if one is not None}


_RIGHTS = ("access", "rectification")
"""The kinds of requests with a right of their own; all others fall under erasure."""
_TERMS = ("answer", "confirm", "extension", "complaint", "fetch", "again")
_LISTS = ("articles", "information", "refused", "before", "keeps")
_CHOICES: Mapping[str, type[StrEnum]] = {
    "start": Start,
    "stop": Stop,
    "ends": Ends,
    "confidence": Confidence,
}
_OPTIONAL = (
    "confirm", "extension", "complaint", "fetch", "again", "begins", "before", "keeps", "note",
    *_RIGHTS,
)  # fmt: skip
_KINDS: Mapping[str, type] = {
    "version": int,
    "erasure": bool,
    "given": bool,
    "dated": date,
    "begins": date,
}


def _values(found: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(Law)}
    for name in found:
        if name not in known:
            raise UnknownName("entry", name, known)
    for name in sorted(known - set(_OPTIONAL) - found.keys(), key=lambda n: n != "source"):
        raise InputError(f"there is no {name!r}: a law needs its {name}")
    values = {name: _value(name, value) for name, value in found.items() if name not in _RIGHTS}
    # Their source is that of the whole file, unless they name one.
    read: dict[str, Any] = {name: values[name] for name in ("source", "dated")}
    for name in _RIGHTS:
        if name in found:
            values[name] = _provision(name, found[name], read)
    if not _NAME.fullmatch(values["name"]):
        raise InputError(
            f"expected 'name' in small letters, digits and hyphens, got {values['name']!r}"
        )
    _require_extension(values)
    for name in ("fetch", "again"):
        if name in values and values[name].number is None:
            raise InputError(f"{name!r} needs a number: without one leave it out")
    return values


def _provision(name: str, found: Any, read: dict[str, Any]) -> Provision:
    if not isinstance(found, dict):
        raise InputError(f"expected {name!r} as a table, got {found!r}")
    known = {field.name for field in fields(Provision)}
    for entry in found:
        if entry not in known:
            raise UnknownName(f"entry of {name}", entry, known)
    said = {entry: _value(entry, value) for entry, value in found.items()}
    for entry in ("given", "articles", "answer", "confidence"):
        if entry not in said:
            raise InputError(f"{name!r} has no {entry!r}")
    _require_extension(said)
    return Provision(**read | said)


def _require_extension(values: Mapping[str, Any]) -> None:
    extension = values.get("extension")
    if extension is not None and (extension.number is None or values["answer"].number is None):
        raise InputError("an extension needs a number, and so does the answer that it puts off")
    if extension is not None and not extension.notice:
        raise InputError("an extension needs its 'notice': the information due, and by when")


def _value(name: str, value: Any) -> Any:
    if name in _TERMS:
        return _term(name, value)
    if name in _CHOICES:
        if value not in list(_CHOICES[name]):
            raise UnknownName(name, str(value), _CHOICES[name])
        return _CHOICES[name](value)
    if name in _LISTS:
        if not isinstance(value, list) or not all(_is_text(item) for item in value):
            raise InputError(f"expected {name!r} as a list of texts, got {value!r}")
        return tuple(value)
    expected = _KINDS.get(name, str)
    if type(value) is not expected or (expected is str and not _is_text(value)):
        raise InputError(f"expected {name!r} as {_SHOWN[expected]}, got {value!r}")
    return value


_SHOWN = {str: "a text", int: "a whole number", bool: "true or false", date: "a date"}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _term(name: str, found: Any) -> Term:
    if not isinstance(found, dict):
        raise InputError(f"expected {name!r} as a table, got {found!r}")
    known = ("number", "unit", "article", "says", "notice")
    for entry in found:
        if entry not in known:
            raise UnknownName(f"entry of {name}", entry, known)
    for entry in ("number", "article", "says"):
        if entry not in found:
            raise InputError(f"{name!r} has no {entry!r}")
    number, unit = found["number"], found.get("unit")
    for entry in ("article", "says", "notice"):
        if entry in found and not _is_text(found[entry]):
            raise InputError(f"expected {entry!r} of {name!r} as a text, got {found[entry]!r}")
    if number == NO_NUMBER:
        if unit is not None:
            raise InputError(f"{name!r} has a unit and no number")
        return Term(None, None, found["article"], found["says"], found.get("notice"))
    if type(number) is not int or number < 1:
        raise InputError(
            f"expected 'number' of {name!r} as a whole number from 1 on, or {NO_NUMBER!r}, got "
            f"{number!r}"
        )
    if unit not in list(Unit):
        raise UnknownName(f"unit of {name}", str(unit), Unit)
    return Term(number, Unit(unit), found["article"], found["says"], found.get("notice"))
