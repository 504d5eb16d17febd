"""Whoever edits, removes, moves or cuts off entries of the log is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert
from tests.ledger.store.conftest import Bare

from olvido.errors import InputError, StateError
from olvido.ledger import facts
from olvido.ledger.digests import Digest, canonical_json, consistent, included
from olvido.ledger.facts import Ending, Model, RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.signing import LogCheckpoint, SigningKey
from olvido.ledger.store import Store, engine, log, logged, schema, verifying

HOUR = timedelta(hours=1)


@pytest.fixture
def database(store: Store, bare: Bare) -> Bare:
    for _ in range(4):
        store.add_request(RequestKind.ERASURE)
    return bare


@pytest.fixture
def signer(tmp_path: Path, store: Store) -> SigningKey:
    key = store.signer(tmp_path / "signing.key")
    store.sign_log(key)
    return key


@pytest.mark.usefixtures("database")
def test_an_untouched_log_is_sound(store: Store) -> None:
    check = store.verify_log()
    assert (check.sound, check.entries) == (True, 5)
    store.add_request(RequestKind.ERASURE)
    assert store.verify_log(known_head=check.head).sound
    assert store.verify_log(known_head=verifying.EMPTY).sound


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
        ("UPDATE log SET salt = NULL, kind = 'redacted', detail = '{}' WHERE seq = 4", 4),
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
    # What was cut off left its traces in the tables, unless they were put back as well.
    assert [d.how for d in store.differences()] == ["was added"]


def test_the_ledger_s_own_signed_heads_are_tried_too(
    store: Store, database: Bare, signer: SigningKey
) -> None:
    store.sign_log(signer)
    assert store.verify_log().sound
    change = "UPDATE checkpoints SET note = replace(note, '\n{}\n', '\n{}\n')"
    database.execute(change.format(6, 4))
    assert not store.verify_log().sound
    database.execute(change.format(4, 6))
    assert store.verify_log().sound
    database.execute("DELETE FROM log WHERE seq >= 5")
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
                log.commit(row["salt"], seq, row["at"], row["kind"], row["detail"], row["state"])
            )
            self.connection.execute(insert(schema.log).values(**row))


class Keyless(Attacker):
    """Makes every code anew as well, under a key of their own."""

    def write(self) -> None:
        before, key = None, Key(version=1, secret=bytes(32))
        super().write()
        for seq, row in enumerate(self.rows, 1):
            before = log.code(key, before, seq, row["commitment"])
            self.connection.execute(
                schema.log.update().where(schema.log.c.seq == seq).values(mac=before)
            )


Attack = Callable[[list[Any], st.DataObject], object]


def _edit(rows: list[Any], data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(rows))
    column = data.draw(st.sampled_from(["at", "kind", "detail", "salt", "state"]))
    if column in ("detail", "state"):
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
def long_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Key, LogCheckpoint]:
    folder = tmp_path_factory.mktemp("log")
    key = Key.create(folder / "key")
    with Store.create(folder / "ledger.db", key=key) as store:
        for _ in range(11):
            store.add_request(RequestKind.ERASURE)
        signed = store.sign_log(store.signer(folder / "signing.key"))
        # The log goes on after its head was signed.
        store.add_request(RequestKind.POISON)
    return engine.connect(engine.database_url(folder / "ledger.db")), key, signed


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_every_change_of_the_log_is_found(
    long_log: tuple[Any, Key, LogCheckpoint], data: st.DataObject
) -> None:
    database, key, signed = long_log
    with database.connect() as connection:
        attacker = data.draw(st.sampled_from([Attacker, Keyless]))(connection)
        before = [dict(row) for row in attacker.rows]
        for attack in data.draw(st.lists(st.sampled_from(ATTACKS), min_size=1, max_size=2)):
            if attacker.rows:
                attack(attacker.rows, data)
        told = [{k: v for k, v in row.items() if k != "seq"} for row in attacker.rows]
        original = [{k: v for k, v in row.items() if k != "seq"} for row in before]
        attacker.write()
        same = told == original and type(attacker) is Attacker
        # Entries that were written with the key can be cut off: only a head known before tells.
        cut = type(attacker) is Attacker and told == original[: len(told)]
        empty = not told
        assert verifying.verify(connection, key, None, ()).sound == (cut or empty)
        kept = signed.entries <= len(told)
        assert verifying.verify(connection, key, None, [signed]).sound == (cut and kept)
        assert verifying.verify(connection, key, signed.head, ()).sound == (cut and kept)
        assert not same or kept
        connection.rollback()


@pytest.mark.parametrize("restated", ["before", "itself", "nothing"])
def test_who_lacks_the_key_appends_nothing(
    store: Store, database: Bare, ledger: Path | str, restated: str
) -> None:
    with engine.transaction(database.database, writing=True) as connection:
        newest = log.last(connection)
        seq, salt, detail = newest.seq + 1, b"s" * 32, '{"id":"req-0001"}'
        commitment = str(log.commit(salt, seq, newest.at, "request-advanced", detail))
        known = {"before": newest.mac, "itself": commitment, "nothing": ""}
        connection.execute(
            insert(schema.log).values(
                seq=seq,
                at=newest.at,
                kind="request-advanced",
                detail=detail,
                commitment=commitment,
                mac=known[restated],
                salt=salt,
            )
        )
    check = store.verify_log()
    assert (check.sound, check.bad) == (False, seq)


def test_two_histories_of_one_key_make_no_third(
    tmp_path: Path, store: Store, bare: Bare, ledger: Path | str
) -> None:
    """Entries of a ledger that was put back to a copy do not fit the log that went on since."""
    store.add_request(RequestKind.ERASURE)
    with engine.transaction(bare.database, writing=False) as connection:
        first = connection.execute(schema.log.select().where(schema.log.c.seq == 2)).one()
        empty = [
            connection.execute(t.select()).mappings().all()
            for t in (schema.requests, schema.request_steps)
        ]
    bare.execute("DELETE FROM request_steps", "DELETE FROM requests", "DELETE FROM log WHERE seq=2")
    assert store.verify_log().sound
    assert store.differences() == ()
    for _ in range(2):
        store.add_request(RequestKind.ERASURE)
    bare.execute("DELETE FROM log WHERE seq = 2", insert(schema.log).values(**first._asdict()))
    check = store.verify_log()
    assert (check.sound, check.bad) == (False, 3)
    assert len(empty[0]) == 1


def test_an_entry_is_proven_to_who_lacks_the_log(store: Store, signer: SigningKey) -> None:
    for _ in range(6):
        store.add_request(RequestKind.ERASURE)
    found = store.prove_entry(3, signer)
    entry = found.entry
    text = canonical_json(dict(entry.detail)).decode()
    assert entry.salt is not None
    leaf = log.commit(entry.salt, entry.seq, entry.at.isoformat(), entry.kind, text, entry.state)
    assert leaf == entry.commitment
    assert found.checkpoint.signed_by(signer.public)
    assert included(leaf.raw, 2, found.checkpoint.entries, found.proof, found.checkpoint.head)
    store.add_request(RequestKind.ERASURE)
    now = store.sign_log(signer)
    proof = store.prove_growth(found.checkpoint.entries, now.entries)
    assert consistent(found.checkpoint.entries, now.entries, found.checkpoint.head, now.head, proof)
    before = store.events()
    # The same again changes nothing.
    assert store.prove_entry(3, signer) == found
    assert store.events() == before
    for number in (0, len(before) + 1):
        with pytest.raises(InputError, match=f"entries are 1 to {len(before)}"):
            store.prove_entry(number, signer)
    assert store.events() == before


def test_without_its_salt_an_entry_says_nothing_and_the_tree_stands(
    store: Store, database: Bare, signer: SigningKey
) -> None:
    subject = store.key.subject("Ana Soler")
    request = store.add_request(RequestKind.ERASURE, subject=subject)
    about = [2, store.events()[-1].seq]
    signed = store.sign_log(signer)
    before = [entry.commitment for entry in store.events()]
    store.redact(about, "kept long enough", signer)
    events = store.events()
    assert [entry.commitment for entry in events][:-1] == before
    told = [(e.kind, e.detail, e.salt, e.state) for e in events if e.seq in about]
    assert told == [("redacted", {}, None, None)] * 2
    assert events[-1].detail["entries"] == about
    assert events[-1].detail["reason"] == "kept long enough"
    assert store.verify_log(known=[signed]).sound
    # What the entries said of the tables is still held against them.
    assert store.differences() == ()
    store.advance_request(request.id, RequestStatus.CANCELLED)
    assert store.differences() == ()
    database.execute("UPDATE requests SET law = 'none' WHERE pk = 1")
    assert [d.what for d in store.differences()] == ["request req-0001"]
    database.execute("UPDATE requests SET law = NULL WHERE pk = 1")
    events = store.events()
    # Only what the log itself says was redacted may lack its content.
    for change in (
        "UPDATE log SET detail = '[1]' WHERE seq = 2",
        "UPDATE log SET commitment = substr(commitment, 1, 70) || "
        "CASE substr(commitment, 71) WHEN '0' THEN '1' ELSE '0' END WHERE seq = 2",
        "UPDATE log SET at = '2001-01-01T00:00:00+00:00' WHERE seq = 2",
        "UPDATE log SET state = '{}' WHERE seq = 2",
        "UPDATE log SET salt = NULL, state = NULL, kind = 'redacted', detail = '{}' WHERE seq = 3",
        f"DELETE FROM log WHERE seq = {events[-2].seq}",
    ):
        database.execute(change)
        assert not store.verify_log(known=[signed]).sound, change
        _restore(database, events, _codes(database, store.key, events))
        assert store.verify_log(known=[signed]).sound


def _codes(database: Bare, key: Key, events: tuple[Any, ...]) -> list[str]:
    codes: list[str] = []
    for e in events:
        codes.append(log.code(key, codes[-1] if codes else None, e.seq, str(e.commitment)))
    return codes


def _restore(database: Bare, events: tuple[Any, ...], codes: list[str]) -> None:
    rows = [
        insert(schema.log).values(
            seq=e.seq,
            at=e.at.isoformat(),
            kind=e.kind,
            detail=canonical_json(dict(e.detail)).decode(),
            state=e.state,
            commitment=str(e.commitment),
            mac=code,
            salt=e.salt,
        )
        for e, code in zip(events, codes, strict=True)
    ]
    database.execute("DELETE FROM log", *rows)


Forger = Callable[[dict[str, Any], SigningKey], object]


@pytest.mark.parametrize(
    "forge",
    [
        lambda said, key: said.pop("signature"),
        lambda said, key: said.update(signature=None),
        lambda said, key: said.update(signature="not hexadecimal"),
        lambda said, key: said.update(signature="00" * 64),
        lambda said, key: said.update(reason="another"),
        lambda said, key: said.update(entries=[2, 3]),
        lambda said, key: said.update(entries=[2, "x"]),
        lambda said, key: said.update(key=str(key.public)),
    ],
)
def test_a_redaction_that_is_not_signed_is_refused(
    tmp_path: Path, store: Store, database: Bare, signer: SigningKey, forge: Forger
) -> None:
    """Not even whoever has the workspace's key, and so can write entries, redacts without it."""
    store.redact([2], "old", signer)
    assert store.verify_log().sound
    events = store.events()
    detail = dict(events[-1].detail)
    forge(detail, SigningKey.create(tmp_path / "other.key"))
    salt = events[-1].salt
    assert salt is not None
    text = canonical_json(detail).decode()
    last = events[-1]
    leaf = log.commit(salt, last.seq, last.at.isoformat(), last.kind, text, last.state)
    events = (*events[:-1], replace(last, detail=detail, commitment=leaf))
    _restore(database, events, _codes(database, store.key, events))
    check = store.verify_log()
    assert not check.sound
    assert check.bad in (2, last.seq)


def test_entries_that_sql_empties_are_found(
    store: Store, database: Bare, signer: SigningKey
) -> None:
    """C3: an entry of one's own that says it, and the content is gone."""
    store.sign_log(signer)
    signed = store.verify_log().head
    with engine.transaction(database.database, writing=True) as connection:
        newest = log.last(connection)
        seq, salt = newest.seq + 1, b"s" * 32
        detail = canonical_json({"entries": [3], "reason": "x"}).decode()
        leaf = log.commit(salt, seq, newest.at, log.REDACTION, detail)
        row = newest._asdict() | {"seq": seq, "kind": log.REDACTION, "detail": detail}
        row |= {"salt": salt, "commitment": str(leaf), "state": None}
        connection.execute(insert(schema.log).values(row))
        emptied = {"at": newest.at, "kind": log.REDACTED, "detail": "{}", "state": None}
        connection.execute(
            schema.log.update().where(schema.log.c.seq == 3).values(salt=None, **emptied)
        )
    check = store.verify_log(known_head=signed)
    assert (check.sound, check.bad) == (False, seq)


def test_what_cannot_be_redacted(store: Store, signer: SigningKey) -> None:
    store.add_request(RequestKind.ERASURE)
    store.redact([1], "old", signer)
    before = store.events()
    for numbers, reason, match in (
        ([9], "x", "no entry 9"),
        ([1], "x", "entry 1 of the log is redacted"),
        ([2], "x", "entry 2 of the log is signing-key-named"),
        ([5], "x", "entry 5 of the log is entries-redacted"),
        ([3], " ", "a reason"),
        ([], "x", "the numbers"),
    ):
        with pytest.raises(InputError, match=match):
            store.redact(numbers, reason, signer)
    assert store.events() == before


def test_nothing_is_redacted_from_a_ledger_that_was_edited(
    store: Store, database: Bare, signer: SigningKey
) -> None:
    """Else the entries that give the edit away could be redacted after it."""
    database.execute("UPDATE requests SET status = 'closed' WHERE pk = 2")
    before = store.events()
    with pytest.raises(StateError, match="req-0002"):
        store.redact([3], "old", signer)
    assert store.events() == before


def test_another_signing_key_is_not_taken(tmp_path: Path, store: Store, signer: SigningKey) -> None:
    other = SigningKey.create(tmp_path / "other.key")
    with pytest.raises(StateError, match="not this ledger's"):
        store.signer(tmp_path / "other.key")
    with pytest.raises(StateError, match="not this ledger's"):
        store.redact([1], "old", other)
    assert store.signer(tmp_path / "signing.key").public == signer.public


def test_a_lost_signing_key_is_not_replaced_in_silence(
    tmp_path: Path, store: Store, signer: SigningKey
) -> None:
    store.sign_log(signer)
    for name in ("signing.key", "signing.pub"):
        (tmp_path / name).unlink()
    with pytest.raises(StateError, match="missing"):
        store.signer(tmp_path / "signing.key")


class Clock:
    """Says what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says = facts.now()
        for module in (log, logged):
            monkeypatch.setattr(module, "now", lambda: self.says)

    def move(self, **by: int) -> None:
        self.says += timedelta(**by)


def test_time_never_goes_backwards_in_the_ledger(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    asked = store.add_request(RequestKind.ERASURE)
    newest = clock.says
    clock.move(days=-1)
    stepped = clock.says
    for _ in range(2):
        asked = store.advance_request(asked.id, RequestStatus.LOCATED)
        clock.move(hours=1)
    store.suppress(["content:v1:x"])
    assert store.moment() == newest
    assert [entry.detail for entry in store.events(log.CLOCK)] == [{"clock": stepped.isoformat()}]
    # Set back again while it is behind: that is told, too.
    clock.move(hours=-3)
    store.put_closure(asked.id, {"backup": Ending(None)})
    assert len(store.events(log.CLOCK)) == 2
    assert store.closure(asked.id)[0].at == newest
    clock.move(days=2)
    store.note("later", {})
    times = [entry.at for entry in store.events()]
    assert times == sorted(times)
    assert times[-1] == clock.says == store.moment()
    assert [step.at for step in asked.history] == [newest] * 3
    assert store.verify_log().sound
    assert store.differences() == ()


def test_no_model_is_from_after_the_entry_that_tells_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    ahead = Model(
        digest=Digest.of(b"a"), path="a", learner="monolith", created_at=clock.says + HOUR
    )
    added = store.add_model(ahead)
    assert added.created_at == clock.says == store.events("model-added")[0].at
    assert store.add_model(ahead) == added


def test_an_entry_older_than_the_one_before_it_is_told(store: Store, bare: Bare) -> None:
    """Not even with the key is time written backwards."""
    store.note("a", {})
    with engine.transaction(bare.database, writing=True) as connection:
        newest = log.last(connection)
        earlier = datetime.fromisoformat(newest.at) - HOUR
        log.append(connection, store.key, newest, earlier, "b", {}, None)
    check = store.verify_log()
    assert (check.sound, check.bad) == (False, 3)
