"""What the retention rules say of every record: how long it stays, what is due, what is kept.

A record in several versions of a dataset is one here, with the values of the newest and the day on
which the oldest was added: to import it again does not keep it longer. Where several rules cover a
record, the shortest wins. Whatever has no readable day is told, and neither erased nor passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from olvido.ledger.facts import Consent, DatasetVersion, Record, Request, RequestKind, RequestStatus
from olvido.ledger.rows import stored_rows, unpacked
from olvido.requests.handlers import RequestContext
from olvido.requests.retention.rules import (
    ADDED,
    COLLECTED,
    Hold,
    Rule,
    Rules,
    Selection,
    due_after,
    read_rules,
)
from olvido.requests.rights.deadlines import today as present_day
from olvido.requests.scope import lineage_of
from olvido.settings import Settings

_ENDLESS = date.max
"""The day of what is kept for as long as the consent lasts."""

Place = tuple[str, str]
"""A record: the id of its version of a dataset, and its own."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the rules say of one record.

    Attributes:
        dataset: the name of its dataset; `places`: where its versions are.
        people: the number of people it is about.
        rule: the rule that wins; None where none covers it, or none has a day.
        due: the day on which it is to be erased; None without a rule, or while a consent lasts.
        covering: the names of all rules that cover it, in the order of the file.
        undated: the names of those that found no day that can be read.
        stopped: why it is not erased although it may be due; None where nothing stops it.
        asked: the open request that it is part of; None where there is none.
    """

    dataset: str
    places: tuple[Place, ...]
    people: int
    rule: Rule | None
    due: date | None
    covering: tuple[str, ...]
    undated: tuple[str, ...]
    stopped: str | None
    asked: str | None

    def is_due(self, today: date) -> bool:
        """Whether it has to be erased by now, and nobody has begun to."""
        due = self.due is not None and self.due <= today
        return due and self.stopped is None and self.asked is None


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules of a workspace with all records that it uses, on a day.

    Attributes:
        today: the day.
        rules: all rules and holds.
        records: what they say of every record.
        idle: the names of rules and holds that cover no record, which may be spelt wrong.
    """

    today: date
    rules: Rules
    records: tuple[Kept, ...]
    idle: tuple[str, ...] = ()

    def due(self) -> dict[str, list[Kept]]:
        """The records that are due and in no request, by the name of the rule that wins."""
        found: dict[str, list[Kept]] = {}
        for kept in self.records:
            if kept.rule is not None and kept.is_due(self.today):
                found.setdefault(kept.rule.name, []).append(kept)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Counts, as plain values.

        Returns:
            `rules`, each with the records that it covers, those for which it is the shortest, those
            that are due and in no request, those in open requests and those without a day, and the
            next day on which any is due; `stopped` with the reasons; `undated`, `uncovered`,
            `several` (covered by more than one rule) and `shared` (due, and about several people);
            `idle`, the names of rules and holds that cover no record.
        """
        due = self.due()
        covered = [kept for kept in self.records if kept.covering]
        stopped = Counter(kept.stopped for kept in covered if kept.stopped is not None)
        return {
            "today": self.today.isoformat(),
            "records": len(self.records),
            "rules": [self._described(rule, due.get(rule.name, [])) for rule in self.rules.rules],
            "stopped": [{"why": why, "records": n} for why, n in sorted(stopped.items())],
            "undated": sum(bool(kept.undated) for kept in self.records),
            "uncovered": sum(not kept.covering for kept in self.records),
            "several": sum(len(kept.covering) > 1 for kept in self.records),
            "shared": sum(kept.people > 1 for kept in chain(*due.values())),
            "idle": list(self.idle),
        }

    def _described(self, rule: Rule, due: list[Kept]) -> dict[str, Any]:
        wins = [kept for kept in self.records if kept.rule is not None and kept.rule is rule]
        later = [kept.due for kept in wins if kept.due is not None and kept.due > self.today]
        return {
            "name": rule.name,
            "says": rule.says,
            "covers": sum(rule.name in kept.covering for kept in self.records),
            "shortest": len(wins),
            "due": len(due),
            "asked": sum(kept.asked is not None for kept in wins),
            "undated": sum(rule.name in kept.undated for kept in self.records),
            "next": min(later).isoformat() if later else None,
        }


def retention(context: RequestContext, *, today: date | None = None) -> Retention:
    """Apply the rules of a workspace to all its records but those with a tombstone.

    Args:
        context: a workspace, or its ledger and settings.
        today: the day; None: the present one in the team's time zone.

    Raises:
        InputError, UnknownName: a rule is wrong.
        StateError: rows cannot be read.
    """
    rules, day = read_rules(context.settings), today or present_day(context.settings)
    requests = context.store.requests()
    asked = {}
    stopped: dict[Place, tuple[str | None, str]] = {}
    for request in requests:
        if request.kind is RequestKind.DESTROY:
            continue
        for place in _places(context, request):
            if request.status.open and request.kind.forgets:
                asked[place] = request.id
            elif request.status.open:
                why = f"request {request.id} asks what is held, and is not answered"
                stopped[place] = (None, why)
            elif request.kind is RequestKind.RETENTION and request.status in _OFF:
                why = f"request {request.id} was {request.status}"
                stopped.setdefault(place, (request.scope["retention"], why))
    found = _Sorting(rules, day, context.settings, asked, stopped)
    idle = {rule.name: rule.covers for rule in rules.rules}
    idle |= {hold.name: hold.covers for hold in rules.holds}
    kept = []
    for record in _records(context, rules):
        kept.append(found.kept(record))
        idle = {name: covers for name, covers in idle.items() if not _fits(covers, record)}
    return Retention(day, rules, tuple(kept), tuple(idle))


_OFF = (RequestStatus.REFUSED, RequestStatus.CANCELLED)


def _places(context: RequestContext, request: Request) -> Iterator[Place]:
    watched = request.status.open or (
        request.kind is RequestKind.RETENTION and request.status in _OFF
    )
    if watched:
        for record in lineage_of(context.store, request).records:
            yield record.dataset, record.id


@dataclass(frozen=True, slots=True)
class _Found:
    """A record with its versions, the oldest first, and the values that rules look at."""

    versions: tuple[tuple[DatasetVersion, Record], ...]
    values: Mapping[str, Any]
    sources: frozenset[str]

    @property
    def newest(self) -> Record:
        return self.versions[-1][1]


def _records(context: RequestContext, rules: Rules) -> Iterator[_Found]:
    """Every record that is in use, once for all versions of its dataset."""
    store, columns = context.store, rules.columns
    # A source may be kept under a pseudonym: rules name it in clear.
    named = [one.source for one in rules.selections if one.source is not None]
    clear = {store.key.pseudonym(source): source for source in named}
    together: dict[tuple[Any, ...], list[tuple[DatasetVersion, Record]]] = {}
    values: dict[str, dict[str, dict[str, Any]]] = {}
    for dataset in sorted(store.datasets(), key=lambda d: (d.name, d.version)):
        records = [r for r in store.records(dataset.id) if r.tombstone is None]
        for record in records:
            # Ids may be counted anew in each version: the people have to be the same, too.
            same = (dataset.name, record.id, frozenset(record.subjects))
            together.setdefault(same, []).append((dataset, record))
        if columns and records:
            path = context.settings.data / dataset.file
            values[dataset.id] = {
                row["id"]: {name: row[name] for name in columns & row.keys()}
                for row in map(unpacked, stored_rows(path))
            }
    for versions in together.values():
        last = versions[-1][1]
        sources = {last.source, clear.get(last.source or "")} - {None}
        row = values.get(last.dataset, {}).get(last.id, {})
        yield _Found(tuple(versions), row, frozenset(sources))  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Sorting:
    """Says of each record what the rules say of it."""

    rules: Rules
    today: date
    settings: Settings
    asked: Mapping[Place, str]
    stopped: Mapping[Place, tuple[str | None, str]]

    def kept(self, found: _Found) -> Kept:
        covering = [rule for rule in self.rules.rules if _fits(rule.covers, found)]
        days = [(self._due(rule, found), rule) for rule in covering]
        dated = [(day, rule) for day, rule in days if day is not None]
        # The first of the file among equals, so that the order of records decides nothing.
        due, rule = min(dated, key=_day) if dated else (None, None)
        places = tuple((dataset.id, record.id) for dataset, record in found.versions)
        asked = next((self.asked[place] for place in places if place in self.asked), None)
        return Kept(
            dataset=found.versions[0][0].name,
            places=places,
            people=len(found.newest.subjects),
            rule=rule,
            due=None if due == _ENDLESS else due,
            covering=tuple(rule.name for rule in covering),
            undated=tuple(rule.name for day, rule in days if day is None),
            stopped=self._stops(rule, found, places),
            asked=asked,
        )

    def _stops(self, rule: Rule | None, found: _Found, places: tuple[Place, ...]) -> str | None:
        for hold in self.rules.holds:
            if hold.lasts(self.today) and _fits(hold.covers, found):
                return _held(hold)
        for place in places:
            of, why = self.stopped.get(place, (None, None))
            if why is not None and (of is None or (rule is not None and of == rule.name)):
                return why
        return None

    def _due(self, rule: Rule, found: _Found) -> date | None:
        """The day on which a rule wants a record erased; None where that cannot be told."""
        if rule.keep is None:
            consent = found.newest.consent
            if consent is Consent.UNKNOWN:
                return None
            return self.today if consent is Consent.WITHDRAWN else _ENDLESS
        since = self._since(rule.counted_from, found)
        last = None if since is None else rule.keep.last(since)
        return None if last is None else due_after(last)

    def _since(self, counted_from: str, found: _Found) -> date | None:
        if counted_from == ADDED:
            return min(present_day(self.settings, d.created_at) for d, _ in found.versions)
        if counted_from == COLLECTED:
            return found.newest.collected_at
        return read_day(found.values.get(counted_from), ZoneInfo(self.settings.timezone))


def _day(one: tuple[date, Rule]) -> date:
    return one[0]


def _held(hold: Hold) -> str:
    until = "" if hold.until is None else f" until {hold.until}"
    return f"{hold.name} holds it{until}: {hold.why}"


def _fits(covers: Selection, found: _Found) -> bool:
    """Whether a selection covers a record."""
    tests: tuple[tuple[Any, Callable[[Any], bool]], ...] = (
        (covers.dataset, lambda name: found.versions[0][0].name == name),
        (covers.source, lambda source: source in found.sources),
        (covers.consent, lambda consent: found.newest.consent is consent),
        (covers.field, lambda name: _equal(found.values.get(name), covers.value)),
    )
    return all(test(wanted) for wanted, test in tests if wanted is not None)


def _equal(there: Any, wanted: Any) -> bool:
    """Whether a row has a value: true is not 1."""
    return isinstance(there, bool) is isinstance(wanted, bool) and bool(there == wanted)


def read_day(value: Any, zone: ZoneInfo) -> date | None:
    """The day that a value of a row says, in the team's time zone; None where it says none.

    >>> str(read_day("2026-12-31T23:30:00+00:00", ZoneInfo("Europe/Madrid")))
    '2027-01-01'
    """
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        if at is None:
            return None
        return at.date() if at.tzinfo is None else at.astimezone(zone).date()
    except (ValueError, OverflowError):
        # No day: whoever asks is told of it.
        return None
