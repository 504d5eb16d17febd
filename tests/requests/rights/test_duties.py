"""What comes again, from which day what holds, and the self-check beside the ledger's counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError
from olvido.ledger.facts import Documentation, Ending, Exit, Request, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.guidance import next_step
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.rights.deadlines import again_by, answered_late, deadline_of
from olvido.requests.rights.duties import duties, self_check
from olvido.requests.rights.law import Confidence
from olvido.settings import Settings

S = RequestStatus
WAY = (S.LOCATED, S.PLANNED, S.APPROVED, S.RUNNING, S.AUDITED, S.PUBLISHED)
ROWS = [
    {"id": "a1", "text": "Ana lives in Gracia.", "subject": "Ana Soler"},
    {"id": "b1", "text": "Bru lives in Sants.", "subject": "Bru Vidal"},
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    at = [datetime(2026, 11, 29, 12, tzinfo=UTC)]
    # Every clock of the ledger, from before it is made: it never goes behind its newest entry.
    for module in ("log", "logged"):
        monkeypatch.setattr(f"olvido.ledger.store.{module}.now", lambda: at[0])
    return at


@pytest.fixture
def front(tmp_path: Path, clock: list[datetime]) -> Iterator[StoreContext]:
    settings = Settings.load(tmp_path / "workspace", environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        import_rows(store, settings.data, ROWS, name="people")
        yield StoreContext(store, settings)


def closed(front: StoreContext, **about: Any) -> Request:
    request = receive(front, **about)
    for status in WAY:
        request = front.store.advance_request(request.id, status)
    gone = Ending(Exit.CANNOT, "there are none")
    front.store.put_closure(request.id, {"backups": gone, "recipients": gone})
    return front.store.advance_request(request.id, S.CLOSED)


def test_what_the_law_wants_again_is_entered_anew_without_the_name(
    front: StoreContext, clock: list[datetime]
) -> None:
    first = closed(front, subject="Ana Soler", law="drop")
    due = again_by(first, front.settings)
    assert due is not None
    assert due.isoformat() == "2027-01-13"
    assert next_step(front, first).command == f"olvido request again {first.id}"
    assert due.isoformat() in next_step(front, first).says
    clock[0] += timedelta(days=30)
    rows = [{"id": "n1", "text": "Ana plays the tuba.", "subject": "Ana Soler"}]
    import_rows(front.store, front.settings.data, rows, name="newer")
    second = handlers.again(front, first.id)
    assert (second.subject, second.law, second.kind) == (first.subject, "drop", first.kind)
    assert second.history[0].detail["repeats"] == first.id
    # Texts that name her are found for the second, too: the digests of her name were kept.
    assert second.history[0].detail["names"] == first.history[0].detail["names"] != []
    found = deadline_of(second, front.settings)
    assert found is not None
    assert found.answer is not None
    assert found.answer.isoformat() == "2027-02-12"
    with pytest.raises(InputError, match=second.id):
        handlers.again(front, first.id)


@pytest.mark.parametrize("law", ["gdpr", "ccpa", "dpdp", None])
def test_where_no_law_wants_it_nothing_is_done_again(front: StoreContext, law: str | None) -> None:
    request = closed(front, subject="Ana Soler", law=law)
    assert again_by(request, front.settings) is None
    before = len(front.store.requests())
    with pytest.raises(InputError, match="nothing done again"):
        handlers.again(front, request.id)
    assert len(front.store.requests()) == before


def test_what_is_not_closed_is_not_done_again(front: StoreContext) -> None:
    request = receive(front, "Ana Soler", law="drop")
    with pytest.raises(InputError, match="what is closed"):
        handlers.again(front, request.id)


def test_a_law_that_does_not_hold_yet_says_so(front: StoreContext, clock: list[datetime]) -> None:
    request = receive(front, "Ana Soler", law="dpdp")
    found = deadline_of(request, front.settings)
    assert found is not None
    assert "2027-05-13" in found.because
    clock[0] = datetime(2027, 5, 13, 12, tzinfo=UTC)
    later = receive(front, "Bru Vidal", law="dpdp")
    found = deadline_of(later, front.settings)
    assert found is not None
    assert "applies from" not in found.because


def test_every_duty_has_its_source_and_day() -> None:
    found = duties()
    assert [duty.on for duty in found] == sorted(duty.on for duty in found)
    for duty in found:
        assert duty.source.strip()
        assert duty.article.strip()
        assert duty.confidence in Confidence
        # What was only reported is not told as sure.
        assert "as reported" not in duty.source or duty.confidence is not Confidence.HIGH


def test_the_self_check_counts_what_the_ledger_has(
    front: StoreContext, clock: list[datetime]
) -> None:
    points = {point.name: point.shown for point in self_check(front.store, front.settings)}
    assert len(points) == 7
    assert points["procedure"]["requests"] == 0
    assert points["retention"] == {"datasets": 1, "of them without a period of retention": 1}
    assert points["training"] == {}
    import_rows(
        front.store,
        front.settings.data,
        [{"id": "z", "text": "The market opens at eight."}],
        name="kept",
        documentation=Documentation(retention="two years"),
    )
    closed(front, subject="Ana Soler", law="gdpr")
    late = receive(front, "Bru Vidal", law="gdpr")
    clock[0] += timedelta(days=60)
    refused = handlers.refuse(front, late.id, why="a legal claim")
    assert answered_late(refused, front.settings)
    without = receive(front, "Ana Soler", nothing_found=False)
    assert without.law is None
    points = {point.name: point.shown for point in self_check(front.store, front.settings)}
    assert points["procedure"] == {
        "requests": 3,
        "pending": 1,
        "pending and late": 0,
        "answered late": 1,
        "without a law, so without a day": 1,
    }
    assert points["exceptions"] == {"refused": 1, "of them without a reason": 0}
    assert points["retention"] == {"datasets": 2, "of them without a period of retention": 1}
    assert points["backups"] == {"backups and recipients: cannot": 2}
