"""What a law said when a request came is what holds for it, and no clock gives it more time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from olvido.errors import InputError, StateError
from olvido.ledger.facts import Request, RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.rights.deadlines import as_received, days_left, deadline_of, law_of, terms
from olvido.requests.rights.law import Law
from olvido.requests.rights.registry import find_law, laws
from olvido.settings import Settings

OURS = """
name = "house"
version = 1
title = "Rules of the house"
jurisdiction = "the house"
articles = ["1"]
erasure = true
start = "receipt"
stop = "while clarification is awaited"
ends = "any day"
information = ["what was done"]
refused = ["why"]
recourse = "the board"
source = "the board's minutes"
dated = 2026-01-01
confidence = "high"

[answer]
number = 30
unit = "calendar day"
article = "1"
says = "answer"
"""


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
    settings = Settings.load(tmp_path / "workspace", environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        (settings.workspace / "laws").mkdir()
        write(settings, OURS)
        yield StoreContext(store, settings)


def write(settings: Settings, text: str) -> None:
    (settings.workspace / "laws" / "house.toml").write_text(text)


def received(front: StoreContext, name: str = "Ana Soler") -> Request:
    return receive(front, name, law="house", nothing_found=True)


EDITS = {
    "another number": lambda s: write(s, OURS.replace("number = 30", "number = 61")),
    "another unit": lambda s: write(s, OURS.replace("calendar day", "business day")),
    "the next version": lambda s: write(
        s, OURS.replace("version = 1", "version = 2").replace("number = 30", "number = 61")
    ),
    "no file": lambda s: (s.workspace / "laws" / "house.toml").unlink(),
    "no TOML": lambda s: write(s, "= ="),
    "another name": lambda s: write(s, OURS.replace('"house"', '"home"')),
}


@pytest.mark.parametrize("edit", EDITS)
def test_no_edit_of_a_law_moves_the_deadline_of_a_request(edit: str, front: StoreContext) -> None:
    request = received(front)
    before = deadline_of(request, front.settings)
    EDITS[edit](front.settings)
    again = front.store.request(request.id)
    assert deadline_of(again, front.settings) == before
    assert days_left(again, front.settings) == 30


@pytest.mark.parametrize("edit", ["another number", "another unit"])
def test_a_law_that_was_edited_under_its_version_takes_no_request(
    edit: str, front: StoreContext
) -> None:
    received(front)
    EDITS[edit](front.settings)
    with pytest.raises(InputError, match="version = 2"):
        received(front, "Bru Vidal")
    assert len(front.store.requests()) == 1


def test_a_new_version_holds_for_the_requests_that_come_after_it(front: StoreContext) -> None:
    first = received(front)
    EDITS["the next version"](front.settings)
    second = received(front, "Bru Vidal")
    left = [days_left(one, front.settings) for one in (first, second)]
    assert left == [30, 61]


@pytest.mark.parametrize("law", laws(), ids=lambda law: f"{law.name}-{law.version}")
def test_a_law_comes_back_from_a_request_as_it_was(law: Law) -> None:
    assert Law.from_dict(law.to_dict()) == law


@pytest.mark.parametrize("days", [1, 2, 40, 4000])
@pytest.mark.parametrize("need", ["clarification", "identity"])
def test_a_clock_that_is_put_back_loses_no_deadline(
    days: int, need: str, front: StoreContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = received(front)
    handlers.wait(front, request.id, why="who?", need=need)
    past = datetime.now(UTC) - timedelta(days=days)
    for part in ("log", "logged"):
        monkeypatch.setattr(f"olvido.ledger.store.{part}.now", lambda: past)
    going = handlers.resume(front, request.id)
    found = deadline_of(going, front.settings, moment=past)
    assert found is not None
    assert found.answer == deadline_of(request, front.settings).answer  # type: ignore[union-attr]
    left = days_left(going, front.settings, moment=past)
    assert left is not None
    assert left <= 30


def test_the_law_of_a_request_is_what_its_file_said(front: StoreContext) -> None:
    expected = find_law("house", workspace=front.settings.workspace)
    assert law_of(received(front), front.settings) == expected


NOON = datetime(2026, 3, 30, 12, tzinfo=UTC)
"""Under the GDPR due on 30 April 2026, a Thursday."""
CHANGES = {
    "a holiday on the day": {"holidays": frozenset({date(2026, 4, 30)})},
    "holidays that are a bridge": {"holidays": frozenset(date(2026, 5, d) for d in range(1, 9))},
    "no holidays": {"holidays": frozenset[date]()},
    "ahead": {"timezone": "Pacific/Kiritimati"},
    "behind": {"timezone": "Pacific/Pago_Pago"},
    "both": {"timezone": "Asia/Tokyo", "holidays": frozenset({date(2026, 4, 30)})},
}


@pytest.mark.parametrize("hour", [0, 12, 23])
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_holidays_or_time_zone_moves_the_deadline_of_a_request(
    change: str, hour: int, front: StoreContext
) -> None:
    ours = replace(front.settings, timezone="UTC", holidays=frozenset({date(2026, 5, 1)}))
    moment = NOON.replace(hour=hour)
    request = receive(
        StoreContext(front.store, ours),
        "Ana Soler",
        law="gdpr",
        received_at=moment,
        nothing_found=True,
    )
    changed = replace(ours, **CHANGES[change])
    for one in (request, front.store.request(request.id)):
        assert deadline_of(one, changed, moment=moment) == deadline_of(one, ours, moment=moment)
        assert days_left(one, changed, moment=moment) == days_left(one, ours, moment=moment)
        kept = as_received(one, changed)
        assert (kept.timezone, kept.holidays) == (ours.timezone, ours.holidays)


def test_changed_holidays_hold_for_the_requests_that_come_after(front: StoreContext) -> None:
    def due(name: str, settings: Settings) -> date | None:
        made = receive(
            StoreContext(front.store, settings),
            name,
            law="gdpr",
            received_at=NOON,
            nothing_found=True,
        )
        found = deadline_of(made, settings, moment=NOON)
        assert found is not None
        return found.answer

    changed = replace(front.settings, holidays=frozenset({date(2026, 4, 30)}))
    assert due("Ana Soler", front.settings) == date(2026, 4, 30)
    assert due("Bru Vidal", changed) == date(2026, 5, 1)


@pytest.mark.parametrize("broken", [{}, {"timezone": "Nowhere/At_All"}, {"holidays": ["soon"]}])
def test_without_its_calendar_a_request_has_no_deadline_that_can_be_told(
    broken: dict[str, object], front: StoreContext
) -> None:
    kept = terms(find_law("gdpr", workspace=front.settings.workspace), front.settings)
    kept["calendar"] = kept["calendar"] | broken if broken else None
    request = front.store.add_request(RequestKind.ERASURE, law="gdpr", detail=kept)
    with pytest.raises(StateError, match="time zone"):
        deadline_of(request, front.settings)
