"""Whoever edits, removes, moves or cuts off entries of the log is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert
from tests.ledger.store.conftest import Bare

from olvido.errors import InputError, StateError
from olvido.ledger.digests import Digest, canonical_json
from olvido.ledger.facts import RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.signing import Checkpoint, SigningKey
from olvido.ledger.store import Store, engine, log, schema
from olvido.ledger.tree import consistent, included


@pytest.fixture
def database(store: Store, bare: Bare) -> Bare:
    for _ in range(4):
        store.add_request(RequestKind.ERASURE)
    return bare


@pytest.fixture
def signer(tmp_path: Path, store: Store) -> SigningKey:
    return store.signer(tmp_path / "signing.key")


@pytest.mark.usefixtures("database")
def test_an_untouched_log_is_sound(store: Store) -> None:
    check = store.verify_log()
    assert (check.sound, check.entries) == (True, 5)
    store.add_request(RequestKind.ERASURE)
    assert store.verify_log(known_head=check.head).sound
    assert store.verify_log(known_head=log.EMPTY).sound


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ("UPDATE log SET detail = replace(detail, 'erasure', 'destroy') WHERE seq = 3", 3),
        ("UPDATE log SET at = '2001-01-01T00:00:00+00:00' WHERE seq = 2", 2),
        ("UPDATE log SET kind = 'alias-set' WHERE seq = 5", 5),
        ("UPDATE log SET salt = (SELECT salt FROM log WHERE seq = 1) WHERE seq = 2", 2),
        ("UPDATE log SET commitment = (SELECT commitment FROM log WHERE seq = 1) WHERE seq = 2", 2),
        ("UPDATE log SET commitment = 'nonsense' WHERE seq = 4", 4),
        ("UPDATE log SET salt = NULL WHERE seq = 4", 4),
        ("UPDATE log SET salt = NULL, kind = 'unlinked', detail = '{}' WHERE seq = 4", 4),
        ("DELETE FROM log WHERE seq = 1", 1),
        ("DELETE FROM log WHERE seq = 3", 3),
        (
            "UPDATE log SET seq = CASE seq WHEN 2 THEN -3 WHEN 3 THEN -2 END WHERE seq IN (2, 3);"
            "UPDATE log SET seq = -seq WHERE seq < 0",
            2,
        ),
    ],
)
def test_the_first_bad_entry_is_named(store: Store, database: Bare, change: str, bad: int) -> None:
    database.execute(*change.split(";"))
    check = store.verify_log()
    assert not check.sound
    assert (check.bad, check.entries) == (bad, bad - 1)
    assert check.reason is not None
    assert str(bad) in check.reason
    assert ("missing" in check.reason) == change.startswith("DELETE")


def test_a_shortened_log_is_told_by_a_head_known_before(store: Store, database: Bare) -> None:
    head = store.verify_log().head
    database.execute("DELETE FROM log WHERE seq = 5")
    assert store.verify_log().sound
    check = store.verify_log(known_head=head)
    assert (check.sound, check.bad) == (False, 5)
    assert not store.verify_log(known_head=Digest.of(b"never")).sound


def test_the_ledger_s_own_signed_heads_are_tried_too(
    store: Store, database: Bare, signer: SigningKey
) -> None:
    store.sign_log(signer)
    assert store.verify_log().sound
    change = "UPDATE checkpoints SET note = replace(note, '\n{}\n', '\n{}\n')"
    database.execute(change.format(5, 4))
    assert not store.verify_log().sound
    database.execute(change.format(4, 5))
    assert store.verify_log().sound
    database.execute("DELETE FROM log WHERE seq = 5")
    check = store.verify_log()
    assert (check.bad, check.entries) == (5, 4)
    assert "cut off" in str(check.reason)


class Attacker:
    """Has the database and all its salts, and makes every commitment anew."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rows: list[Any] = [
            row._asdict() for row in connection.execute(schema.log.select().order_by("seq"))
        ]

    def write(self) -> None:
        self.connection.execute(schema.log.delete())
        # Nothing that the ledger itself keeps can give the attacker away.
        self.connection.execute(schema.checkpoints.delete())
        for seq, row in enumerate(self.rows, 1):
            row["seq"] = seq
            row["commitment"] = str(
                log.commit(row["salt"], seq, row["at"], row["kind"], row["detail"])
            )
            self.connection.execute(insert(schema.log).values(**row))


Attack = Callable[[list[Any], st.DataObject], object]


def _edit(rows: list[Any], data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(rows))
    column = data.draw(st.sampled_from(["at", "kind", "detail", "salt"]))
    if column == "detail":
        row[column] = canonical_json({"forged": data.draw(st.integers())}).decode()
    elif column == "salt":
        row[column] = data.draw(st.binary(min_size=32, max_size=32))
    else:
        row[column] += "x" if column == "kind" else ":00"


def _delete(rows: list[Any], data: st.DataObject) -> None:
    del rows[data.draw(st.integers(0, len(rows) - 1))]


def _reorder(rows: list[Any], data: st.DataObject) -> None:
    rows[:] = data.draw(st.permutations(rows))


def _truncate(rows: list[Any], data: st.DataObject) -> None:
    del rows[data.draw(st.integers(0, len(rows) - 1)) :]


def _insert(rows: list[Any], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    rows.insert(at, {**rows[at], "salt": data.draw(st.binary(min_size=32, max_size=32))})


ATTACKS: list[Attack] = [_edit, _delete, _reorder, _truncate, _insert]


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Checkpoint]:
    folder = tmp_path_factory.mktemp("log")
    with Store.create(folder / "ledger.db", key=Key.create(folder / "key")) as store:
        for _ in range(11):
            store.add_request(RequestKind.ERASURE)
        signed = store.sign_log(store.signer(folder / "signing.key"))
        # The log goes on after its head was signed.
        store.add_request(RequestKind.POISON)
    return engine.connect(engine.database_url(folder / "ledger.db")), signed


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_change_below_a_signed_head_is_found(
    long_log: tuple[Any, Checkpoint], data: st.DataObject
) -> None:
    database, signed = long_log
    with database.connect() as connection:
        attacker = Attacker(connection)
        before = [dict(row) for row in attacker.rows]
        covered, rest = attacker.rows[: signed.entries], attacker.rows[signed.entries :]
        for attack in data.draw(st.lists(st.sampled_from(ATTACKS), min_size=1, max_size=2)):
            if covered:
                attack(covered, data)
        attacker.rows = [*covered, *rest]
        unchanged = attacker.rows == before
        attacker.write()
        assert log.verify(connection, None, [signed]).sound == unchanged
        assert log.verify(connection, signed.head, ()).sound == unchanged
        connection.rollback()


def test_an_entry_is_proven_to_who_lacks_the_log(store: Store, signer: SigningKey) -> None:
    for _ in range(6):
        store.add_request(RequestKind.ERASURE)
    found = store.prove_entry(3, signer)
    entry = found.entry
    text = canonical_json(dict(entry.detail)).decode()
    assert entry.salt is not None
    leaf = log.commit(entry.salt, entry.seq, entry.at.isoformat(), entry.kind, text)
    assert leaf == entry.commitment
    assert found.checkpoint.signed_by(signer.public)
    assert included(leaf.raw, 2, found.checkpoint.entries, found.proof, found.checkpoint.head)
    store.add_request(RequestKind.ERASURE)
    now = store.sign_log(signer)
    proof = store.prove_growth(found.checkpoint.entries)
    assert consistent(found.checkpoint.entries, 8, found.checkpoint.head, now.head, proof)
    # The same again changes nothing.
    assert store.prove_entry(3, signer) == found
    for number in (0, 9):
        with pytest.raises(InputError, match="entries are 1 to 8"):
            store.prove_entry(number, signer)


def test_without_its_salt_an_entry_says_nothing_and_the_tree_stands(
    store: Store, signer: SigningKey, database: Bare
) -> None:
    subject = store.key.subject("Ana Soler")
    store.add_request(RequestKind.ERASURE, subject=subject)
    signed = store.sign_log(signer)
    before = [entry.commitment for entry in store.events()]
    store.unlink([2, 6], "kept long enough")
    events = store.events()
    assert [entry.commitment for entry in events][:6] == before
    assert [(e.kind, e.detail, e.salt) for e in events if e.seq in (2, 6)] == [
        ("unlinked", {}, None)
    ] * 2
    assert events[-1].detail == {"entries": [2, 6], "reason": "kept long enough"}
    assert store.verify_log(known=[signed]).sound
    # Only what the log itself says was unlinked may lack its content.
    for change in (
        "UPDATE log SET detail = '[1]' WHERE seq = 2",
        "UPDATE log SET commitment = substr(commitment, 1, 70) || "
        "CASE substr(commitment, 71) WHEN '0' THEN '1' ELSE '0' END WHERE seq = 2",
        "UPDATE log SET at = '2001-01-01T00:00:00+00:00' WHERE seq = 2",
        "UPDATE log SET salt = NULL, kind = 'unlinked', detail = '{}' WHERE seq = 3",
        "DELETE FROM log WHERE seq = 7",
    ):
        database.execute(change)
        assert not store.verify_log(known=[signed]).sound, change
        _restore(database, events)
        assert store.verify_log(known=[signed]).sound


def _restore(database: Bare, events: tuple[Any, ...]) -> None:
    rows = [
        insert(schema.log).values(
            seq=e.seq,
            at=e.at.isoformat(),
            kind=e.kind,
            detail=canonical_json(dict(e.detail)).decode(),
            commitment=str(e.commitment),
            salt=e.salt,
        )
        for e in events
    ]
    database.execute("DELETE FROM log", *rows)


def test_what_cannot_be_unlinked(store: Store) -> None:
    store.add_request(RequestKind.ERASURE)
    store.unlink([1], "old")
    before = store.events()
    for numbers, reason, match in (
        ([9], "x", "no entry 9"),
        ([1], "x", "entry 1 of the log is unlinked"),
        ([3], "x", "entry 3 of the log is entries-unlinked"),
        ([2], " ", "a reason"),
        ([], "x", "the numbers"),
    ):
        with pytest.raises(InputError, match=match):
            store.unlink(numbers, reason)
    assert store.events() == before


def test_a_lost_signing_key_is_not_replaced_in_silence(
    tmp_path: Path, store: Store, signer: SigningKey
) -> None:
    store.sign_log(signer)
    for name in ("signing.key", "signing.pub"):
        (tmp_path / name).unlink()
    with pytest.raises(StateError, match="missing"):
        store.signer(tmp_path / "signing.key")
