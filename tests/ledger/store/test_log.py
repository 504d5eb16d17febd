"""Whoever edits, removes, moves or cuts off entries of the log is found out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from olvido.ledger.digests import Digest
from olvido.ledger.facts import RequestKind
from olvido.ledger.store import Store


@pytest.fixture
def database(tmp_path: Path, store: Store) -> Iterator[sqlite3.Connection]:
    for _ in range(4):
        store.add_request(RequestKind.ERASURE)
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.usefixtures("database")
def test_an_untouched_log_is_sound(store: Store) -> None:
    check = store.verify_log()
    assert (check.sound, check.entries) == (True, 5)
    assert check.head == store.events()[-1].digest
    store.add_request(RequestKind.ERASURE)
    assert store.verify_log(known_head=check.head).sound


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ("UPDATE log SET detail = replace(detail, 'erasure', 'destroy') WHERE seq = 3", 3),
        ("UPDATE log SET at = '2001-01-01T00:00:00+00:00' WHERE seq = 2", 2),
        ("UPDATE log SET kind = 'alias-set' WHERE seq = 5", 5),
        ("UPDATE log SET digest = (SELECT digest FROM log WHERE seq = 1) WHERE seq = 2", 2),
        ("UPDATE log SET digest = 'nonsense' WHERE seq = 4", 4),
        ("DELETE FROM log WHERE seq = 1", 1),
        ("DELETE FROM log WHERE seq = 3", 3),
        (
            "UPDATE log SET seq = CASE seq WHEN 2 THEN -3 WHEN 3 THEN -2 END WHERE seq IN (2, 3);"
            "UPDATE log SET seq = -seq WHERE seq < 0",
            2,
        ),
    ],
)
def test_the_first_bad_entry_is_named(
    store: Store, database: sqlite3.Connection, change: str, bad: int
) -> None:
    database.executescript(change)
    check = store.verify_log()
    assert not check.sound
    assert (check.bad, check.entries) == (bad, bad - 1)
    assert check.reason is not None
    assert str(bad) in check.reason
    assert ("missing" in check.reason) == change.startswith("DELETE")


def test_a_shortened_log_is_told_by_a_head_known_before(
    store: Store, database: sqlite3.Connection
) -> None:
    head = store.verify_log().head
    database.execute("DELETE FROM log WHERE seq = 5")
    assert store.verify_log().sound
    check = store.verify_log(known_head=head)
    assert (check.sound, check.bad) == (False, 5)
    assert not store.verify_log(known_head=Digest.of(b"never")).sound
