"""The list of requests, and the check of the log, are remembered and never stale."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from olvido.ledger.facts import RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext
from olvido.requests.rights.deadlines import terms
from olvido.requests.rights.registry import find_law
from olvido.requests.workflow.filters import RequestFilter
from olvido.service import sessions as checked
from olvido.service.sessions import LogCheckCache
from olvido.service.views import FEW, Inbox
from olvido.settings import Settings


@pytest.fixture
def front(settings: Settings) -> Iterator[StoreContext]:
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        yield StoreContext(store, settings)


def _add(store: Store, settings: Settings, number: int) -> str:
    received = datetime.now(UTC) - timedelta(days=7 * number % 31)
    law = find_law(("gdpr", "ccpa", "lgpd")[number % 3], workspace=settings.workspace)
    return store.add_request(
        RequestKind.ERASURE,
        subject=store.key.subject(f"somebody {number}"),
        law=law.name,
        detail=terms(law, settings),
        received_at=received,
    ).id


@pytest.mark.slow
def test_a_remembered_list_is_what_a_new_one_would_be(front: StoreContext) -> None:
    store, inbox = front.store, Inbox(front)

    def same() -> None:
        for wanted in (
            RequestFilter(),
            RequestFilter(status="waiting"),
            RequestFilter(status="all", law="ccpa"),
        ):
            assert inbox.rows(wanted) == Inbox(front).rows(wanted)
        assert inbox.summary() == Inbox(front).summary()

    ids = [_add(store, front.settings, number) for number in range(5)]
    same()
    store.advance_request(ids[1], RequestStatus.WAITING, {"why": "x"})
    store.advance_request(ids[2], RequestStatus.REFUSED, {"why": "x"})
    same()
    store.advance_request(ids[1], RequestStatus.LOCATED)
    ids.append(_add(store, front.settings, 5))
    same()
    # What a redacted entry told of cannot be asked for any more.
    store.advance_request(ids[3], RequestStatus.CANCELLED)
    signer = store.signer(front.settings.signing_key)
    store.redact([store.events_count()], "kept long enough", signer)
    same()
    for number in range(6, 8 + FEW):
        _add(store, front.settings, number)
    same()
    assert len(inbox.rows()) == 1 + 8 + FEW - 2


def test_nothing_is_read_where_nothing_changed_and_little_where_little_did(
    front: StoreContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox(front)
    _add(front.store, front.settings, 1)
    before = inbox.rows()

    counts = inbox.summary()

    def refused(*_: object) -> None:
        raise AssertionError("the whole list was read again")

    monkeypatch.setattr(Store, "requests_in_brief", refused)
    assert inbox.rows() is before
    assert inbox.summary() is counts
    front.store.note("something-else", {})
    added = _add(front.store, front.settings, 2)
    assert {row["id"] for row in inbox.rows()} == {row["id"] for row in before} | {added}


def test_a_sound_log_is_checked_once_in_a_while_and_a_changed_one_each_time(
    front: StoreContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    verify = Store.verify_log
    monkeypatch.setattr(Store, "verify_log", lambda store: counted.append(1) or verify(store))
    watch = LogCheckCache(front.store)
    first = watch.log()
    assert first[0].sound
    assert watch.log() is first
    assert len(counted) == 1
    monkeypatch.setattr(checked, "KEPT", 0.0)
    monkeypatch.setattr(checked, "SHARE", 1e9)
    again = LogCheckCache(front.store)
    again.log()
    again.log()
    assert len(counted) == 3
    monkeypatch.undo()
    watch = LogCheckCache(front.store)
    with front.store._write() as change:
        change.connection.exec_driver_sql("UPDATE log SET at = 'x' WHERE seq = 1")
    assert not watch.log()[0].sound
    with front.store._write() as change:
        change.connection.exec_driver_sql("UPDATE log SET at = 'y' WHERE seq = 1")
    later = watch.log()
    assert not later[0].sound
    assert later[1] >= first[1]
    assert watch.log() is not later


def test_an_edit_of_the_tables_is_told_on_the_page_of_the_log(front: StoreContext) -> None:
    front.store.add_request(RequestKind.ERASURE)
    with front.store._write() as change:
        change.connection.exec_driver_sql("UPDATE requests SET law = 'none'")
    check, _ = LogCheckCache(front.store).log()
    assert not check.sound
    assert "req-0001" in str(check.reason)
