"""What is due, by which rule, and the requests that follow: none lost, none twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.data.importing import import_rows
from olvido.errors import InputError
from olvido.ledger.facts import RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.not_learned import conclude, not_learned, planned
from olvido.requests.retention import making
from olvido.requests.retention.due import read_day, retention
from olvido.requests.retention.making import make_due, may_wait
from olvido.requests.rights.letter import fitting
from olvido.requests.scope import lineage_of
from olvido.settings import Settings

S = RequestStatus
TODAY = date(2026, 12, 1)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "Ana sings.", "subject": "Ana Soler", "collected_at": "2024-11-30"},
    {"id": "b", "text": "Bru swims.", "subject": "Bru Vidal", "collected_at": "2024-12-01"},
    {"id": "c", "text": "Both dance.", "subject": "Ana Soler; Bru Vidal", "source": "forum"},
    {"id": "d", "text": "A market.", "collected_at": "2020-01-01", "topic": "city"},
    {"id": "e", "text": "Pau left.", "subject": "Pau Roca", "consent": "withdrawn"},
    {"id": "f", "text": "Iu agrees.", "subject": "Iu Pons", "consent": "granted"},
]
OLD = {"name": "old", "dataset": "people", "keep": "2 years", "from": "collected_at"}
FREE = {"name": "free", "dataset": "people", "keep": "until withdrawn"}
CITY = {"name": "city", "field": "topic", "value": "city", "keep": "1 year", "from": "added"}
COURT = {"name": "court", "source": "forum", "keep": "on hold", "why": "a trial"}


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
    place = Settings.load(tmp_path / "workspace", environment={})
    with Store.create(place.ledger, key=Key.create(place.key)) as store:
        import_rows(store, place.data, ROWS, name="people")
        yield StoreContext(store, place)


def ruled(front: StoreContext, *rules: dict[str, Any], **more: Any) -> StoreContext:
    return StoreContext(front.store, replace(front.settings, retention=rules, **more))


def due(front: StoreContext, today: date = TODAY) -> dict[str, set[str]]:
    found = retention(front, today=today).due()
    return {rule: {kept.places[0][1] for kept in some} for rule, some in found.items()}


def test_what_is_kept_through_its_last_day_is_due_on_the_next(front: StoreContext) -> None:
    rules = ruled(front, OLD)
    # Kept for two years from 30 November 2024: through 30 November 2026.
    assert due(rules, date(2026, 11, 30)) == {"old": {"d"}}
    assert due(rules, date(2026, 12, 1)) == {"old": {"a", "d"}}
    assert due(rules, date(2026, 12, 2)) == {"old": {"a", "b", "d"}}
    shown = retention(rules, today=TODAY).to_dict()
    # c, e and f have no day of their own: told, and not erased.
    (rule,) = shown["rules"]
    assert (rule["covers"], rule["due"], rule["undated"], rule["next"]) == (6, 2, 3, "2026-12-02")
    assert (shown["undated"], shown["uncovered"]) == (3, 0)


def test_the_shortest_rule_wins_and_it_is_said(front: StoreContext) -> None:
    young = {**OLD, "name": "young", "keep": "6 months"}
    for order in ((OLD, young, FREE), (FREE, young, OLD)):
        rules = ruled(front, *order)
        assert due(rules) == {"young": {"a", "b", "d"}, "free": {"e"}}
        assert retention(rules, today=TODAY).to_dict()["several"] == 6


def test_a_rule_or_a_hold_that_covers_nothing_is_named(front: StoreContext) -> None:
    lost = {**COURT, "name": "lost", "source": "fourm", "until": TODAY + timedelta(days=9)}
    other = {**OLD, "name": "other", "dataset": "peopel"}
    assert retention(ruled(front, OLD, other, lost), today=TODAY).idle == ("other", "lost")
    assert retention(ruled(front, OLD), today=TODAY).to_dict()["idle"] == []


def test_a_withdrawn_consent_is_due_at_once_and_an_unknown_one_is_told(front: StoreContext) -> None:
    rules = ruled(front, FREE)
    assert due(rules) == {"free": {"e"}}
    (rule,) = retention(rules, today=TODAY).to_dict()["rules"]
    assert (rule["covers"], rule["undated"], rule["next"]) == (6, 4, None)


def test_a_consent_that_is_withdrawn_later_reaches_every_version(front: StoreContext) -> None:
    later = [row | ({"consent": "withdrawn"} if row["id"] == "f" else {}) for row in ROWS]
    import_rows(front.store, front.settings.data, later, name="people")
    (made,) = make_due(ruled(front, FREE), today=TODAY)
    assert [sorted(ids) for ids in made.scope["versions"].values()] == [["e", "f"], ["e", "f"]]


def test_importing_again_does_not_keep_longer(
    front: StoreContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "olvido.ledger.store.log.now", lambda: datetime.now(UTC) + timedelta(days=1000)
    )
    import_rows(front.store, front.settings.data, [*ROWS[:3], *ROWS[4:]], name="people")
    rules = ruled(front, {**OLD, "from": "added", "keep": "30 days"})
    first = retention(rules).records
    assert {kept.places[0][1] for kept in first} == set("abcdef")
    assert len({kept.due for kept in first}) == 1
    assert {len(kept.places) for kept in first} == {1, 2}


def test_a_hold_and_an_open_request_for_access_stop_it_and_say_so(front: StoreContext) -> None:
    every = {"name": "all", "dataset": "people", "keep": "1 day", "from": "added"}
    late = TODAY + timedelta(days=4000)
    rules = ruled(front, every, {**COURT, "until": late})
    asked = receive(front, "Iu Pons", kind="access")
    assert due(rules, late) == {"all": {"a", "b", "d", "e"}}
    stopped = {
        one["why"]: one["records"] for one in retention(rules, today=late).to_dict()["stopped"]
    }
    assert sorted(stopped.values()) == [1, 1]
    assert any(asked.id in why for why in stopped)
    assert any("a trial" in why for why in stopped)
    # The hold ends with its last day.
    assert "c" in due(rules, late + timedelta(days=1))["all"]


@pytest.mark.parametrize("approved", [False, True])
def test_a_hold_that_comes_later_puts_the_open_request_aside(
    front: StoreContext, approved: bool
) -> None:
    every = {"name": "all", "dataset": "people", "keep": "1 day", "from": "added"}
    late = TODAY + timedelta(days=4000)
    (made,) = make_due(ruled(front, every), today=late)
    for status in (S.LOCATED, S.PLANNED, S.APPROVED) if approved else ():
        front.store.advance_request(made.id, status)
    rules = ruled(front, every, COURT)
    assert make_due(rules, today=late) == ()
    now = front.store.request(made.id)
    assert (now.status, "a trial" in now.history[-1].detail["why"]) == (S.WAITING, True)
    before = front.store.events()
    assert make_due(rules, today=late) == ()
    assert front.store.events() == before


def test_fields_of_rows_select_and_give_the_day(front: StoreContext) -> None:
    rows = [
        {"id": "1", "text": "x", "ends": "2026-11-30T23:30:00+00:00", "kind": 1},
        {"id": "2", "text": "y", "ends": "no day", "kind": 1},
        {"id": "3", "text": "z", "ends": "2026-01-01", "kind": True},
    ]
    import_rows(front.store, front.settings.data, rows, name="deals")
    rule = {"name": "deals", "field": "kind", "value": 1, "keep": "1 day", "from": "ends"}
    # In Madrid it is 1 December already when in UTC it is the day before.
    assert due(ruled(front, rule), date(2026, 12, 2)) == {"deals": {"1"}}
    madrid = ruled(front, rule, timezone="Europe/Madrid")
    assert due(madrid, date(2026, 12, 2)) == {}
    assert due(madrid, date(2026, 12, 3)) == {"deals": {"1"}}
    (said,) = retention(madrid).to_dict()["rules"]
    assert (said["covers"], said["undated"]) == (2, 1)


@pytest.mark.parametrize("value", [None, 20240101, "", "0000-00-00", "9999-12-31T23:59:59-23:59"])
def test_a_value_that_is_no_day_is_none(value: Any) -> None:
    assert read_day(value, ZoneInfo("UTC")) is None


def test_one_request_a_rule_is_made_once(front: StoreContext) -> None:
    rules = ruled(front, OLD, FREE)
    made = make_due(rules, today=TODAY)
    assert [one.scope["retention"] for one in made] == ["old", "free"]
    assert {r.id for r in lineage_of(front.store, made[0]).records} == {"a", "d"}
    before = front.store.events()
    assert make_due(rules, today=TODAY) == ()
    assert front.store.events() == before
    # A day later, only what has become due since.
    (more,) = make_due(rules, today=TODAY + timedelta(days=1))
    assert {r.id for r in lineage_of(front.store, more).records} == {"b"}
    assert fitting(front, more) == ()


def test_a_crash_while_they_are_entered_leaves_none_and_the_next_run_all(
    front: StoreContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules, add, count = ruled(front, OLD, FREE), "olvido.ledger.store.requests.add", 0
    from olvido.ledger.store import requests

    real = requests.add

    def dies(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return real(*given)

    before = front.store.events()
    with monkeypatch.context() as patch:
        patch.setattr(add, dies)
        with pytest.raises(KeyboardInterrupt):
            make_due(rules, today=TODAY)
    assert (front.store.requests(), front.store.events()) == ((), before)
    assert len(make_due(rules, today=TODAY)) == 2


@pytest.mark.parametrize("end", [handlers.refuse, handlers.cancel])
def test_what_the_team_refused_is_not_asked_again_and_is_told(
    front: StoreContext, end: Callable[..., Any]
) -> None:
    rules = ruled(front, OLD)
    (made,) = make_due(rules, today=TODAY)
    end(front, made.id, why="the tax office wants them")
    assert make_due(rules, today=TODAY) == ()
    (stopped,) = retention(rules, today=TODAY).to_dict()["stopped"]
    assert (stopped["records"], made.id in stopped["why"]) == (2, True)


def test_what_another_request_is_about_is_not_asked_twice(front: StoreContext) -> None:
    other = receive(front, "Ana Soler")
    rules = ruled(front, OLD)
    assert due(rules) == {"old": {"d"}}
    handlers.cancel(front, other.id, why="withdrawn")
    assert due(rules) == {"old": {"a", "d"}}


def test_nobody_enters_one_by_hand(front: StoreContext) -> None:
    with pytest.raises(InputError, match="retention show"):
        receive(front, kind="retention", dataset="people", records=["a"])
    assert front.store.requests() == ()


def test_answered_records_are_gone_and_never_due_again(front: StoreContext) -> None:
    rules = ruled(front, OLD)
    (made,) = make_due(rules, today=TODAY)
    why = not_learned(front.store, made)
    assert why is not None
    for status, detail in ((S.LOCATED, {}), (S.PLANNED, planned(why)), (S.APPROVED, {})):
        front.store.advance_request(made.id, status, detail)
    assert conclude(front, made.id).status is S.PUBLISHED
    found = retention(rules, today=TODAY)
    assert {kept.places[0][1] for kept in found.records} == {"b", "c", "e", "f"}
    assert make_due(rules, today=TODAY) == ()
    (dataset,) = front.store.datasets()
    assert {r.tombstone and r.tombstone.reason for r in front.store.tombstoned(dataset.id)} == {
        "retention"
    }


def test_it_waits_for_another_run_within_its_days_alone(
    front: StoreContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = make_due(ruled(front, {**OLD, "within": "3000 days"}), today=TODAY)
    (at_once,) = make_due(ruled(front, FREE), today=TODAY)
    # A model holds them: as no model does here, nothing would be gained by waiting.
    for request in (made, at_once):
        for status in (S.LOCATED, S.PLANNED, S.APPROVED):
            front.store.advance_request(request.id, status)
    made, at_once = map(front.store.request, (made.id, at_once.id))
    assert not may_wait(front.store, made, front.settings)
    monkeypatch.setattr(making, "not_learned", lambda *_: None)
    assert may_wait(front.store, made, front.settings)
    assert not may_wait(front.store, at_once, front.settings)
    by = date.fromisoformat(made.scope["by"])
    for day, waits in ((by - timedelta(days=1), True), (by, False)):
        monkeypatch.setattr(making, "present_day", lambda _, day=day: day)
        assert may_wait(front.store, made, front.settings) is waits


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    st.permutations(range(4)),
    st.permutations(range(len(ROWS))),
    st.lists(st.integers(0, 900), min_size=1, max_size=3),
)
def test_any_order_of_rules_records_and_days_asks_for_each_record_once(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], rows: list[int], days: list[int]
) -> None:
    """Against a brute force: the least day of all rules, each counted from the record itself."""
    place = Settings.load(tmp_path_factory.mktemp("any") / "w", environment={})
    young = {"name": "young", "dataset": "people", "keep": "6 months", "from": "collected_at"}
    every = [OLD, FREE, young, COURT]
    with Store.create(place.ledger, key=Key.create(place.key)) as store:
        import_rows(store, place.data, [ROWS[at] for at in rows], name="people")
        front = ruled(StoreContext(store, place), *(every[at] for at in order))
        last = TODAY
        for days_later in itertools.accumulate(days):
            last = date(2024, 6, 1) + timedelta(days=days_later)
            make_due(front, today=last)
        asked = [
            record for request in store.requests() for record in lineage_of(store, request).records
        ]
    # The shorter of the two periods decides: six months.
    expected = {"d"} | {"e"}
    expected |= {"a"} if last >= date(2025, 5, 31) else set()
    expected |= {"b"} if last >= date(2025, 6, 2) else set()
    assert sorted(record.id for record in asked) == sorted(expected)
    assert not any(request.scope["retention"] == "old" for request in _requests(place))


def _requests(place: Settings) -> tuple[Any, ...]:
    with Store.open(place.ledger, key=Key.load(place.key)) as store:
        return store.requests()
