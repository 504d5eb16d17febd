"""The tables cannot say anything but what the log says of them."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    Table,
    and_,
    event,
)
from tests.ledger.store.conftest import Bare

from olvido.errors import StateError
from olvido.ledger.digests import Digest, records_root
from olvido.ledger.facts import Exit, Guarantee, Model, RequestKind, RequestStatus, Use
from olvido.ledger.identity import Key
from olvido.ledger.store import Store, comparing, engine, schema, verifying
from olvido.ledger.store.datasets import BULK

EXEMPT = {"subject_forms": "only asks 'did you mean' where a name is not found: it decides nothing"}
"""Tables that may be edited without being found, and why. No column of another table may."""


def _filled(store: Store, folder: Path) -> None:
    """Something in every table."""
    for name, consent in (("people", "granted"), ("others", "unknown")):
        _dataset(store, name, [f"r-{i}" for i in range(5)], consent)
    store.tombstone(["r-1", "r-2"], "erased", dataset="people")
    first = store.dataset("people").id, store.dataset("others").id
    uses = [Use(dataset=dataset, excluded=frozenset({"r-3"})) for dataset in first]
    parent = store.add_model(Model(digest=Digest.of(b"a"), path="a", learner="monolith"), uses)
    gone = frozenset({"r-1", "r-2"})
    child = Model(
        digest=Digest.of(b"b"), path="b", learner="monolith", parents=(parent.id,), method="npo"
    )
    forgot = Use(dataset=first[0], forgotten=gone, guarantee=Guarantee.EMPIRICAL)
    child = store.add_model(child, [forgot])
    store.set_aliases({"serving": child.id, "previous": parent.id})
    store.add_model(Model(digest=Digest.of(b"c"), path="c", learner="monolith"))
    store.bury_model(str(Digest.of(b"c")), "destroyed")
    asked = store.add_request(
        RequestKind.ERASURE, subject=store.key.subject("Ana"), law="gdpr", detail={"by": "Marta"}
    )
    store.advance_request(asked.id, RequestStatus.LOCATED, {"found": 2})
    store.add_request(RequestKind.POISON, scope={"source": "web"})
    store.put_closure(asked.id, {"rows:people": (Exit.ERASED, None), "model:a": (None, None)})
    store.suppress([store.key.content("Ana bakes"), str(store.key.subject("Ana"))])
    store.sign_log(store.signer(folder / "signing.key"))
    store.note("notice-written", {"request": asked.id})


def _dataset(store: Store, name: str, ids: list[str], consent: str = "unknown") -> None:
    digests = {i: Digest.of(f"{name}{i}".encode()).raw for i in ids}
    people = [str(store.key.subject(person)) for person in ("Ana", "Berta")]
    store.add_dataset(
        name=name,
        root=records_root(digests),
        file=f"{name}.parquet",
        rows=len(ids),
        records=[
            (i, digests[i], tuple(people[: n % 3]), ("web", None, consent, None))
            for n, i in enumerate(ids)
        ],
    )


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    _filled(store, tmp_path)
    return store


def test_nothing_differs_where_nothing_was_edited(filled: Store) -> None:
    assert filled.verify_log().sound
    assert filled.differences() == ()
    filled.check_entities(["people"])


def test_every_table_holds_entities_or_is_what_they_are_checked_by() -> None:
    covered = {t.name for kind in (*comparing.KINDS, "records") for t in comparing.tables_of(kind)}
    assert covered | {"log", *EXEMPT} == set(schema.metadata.tables)


# The 15 edits of tables that went unnoticed on 2026-11-29, and others of their kind.
EDITS = {
    "request deleted": "DELETE FROM closure_items; DELETE FROM request_steps WHERE request = 1; "
    "DELETE FROM requests WHERE pk = 1",
    "request closed": "UPDATE requests SET status = 'closed' WHERE pk = 1",
    "request moved to another subject": "UPDATE requests SET subject = 'hmac-sha256:v1:"
    + "0" * 64
    + "' WHERE pk = 1",
    "received later": "UPDATE requests SET received_at = '2027-01-01T00:00:00+00:00' WHERE pk = 1",
    "suppressions emptied": "DELETE FROM suppressions",
    "tombstones removed": "DELETE FROM tombstones",
    "record's digest": "UPDATE records SET digest = (SELECT digest FROM records WHERE pk = 2) "
    "WHERE pk = 1",
    "records of somebody else": "UPDATE record_subjects SET subject = 3 - subject WHERE record = 2",
    "left out of the model that learned it": "INSERT INTO use_excluded (record, use) VALUES (1, 1)",
    "a better guarantee": "UPDATE uses SET guarantee = 'exact' WHERE guarantee IS NOT NULL",
    "serving the model that knows": "UPDATE aliases SET model = 1 WHERE name = 'serving'",
    "model's digest": "UPDATE models SET digest = 'sha256:" + "0" * 64 + "' WHERE pk = 2",
    "another method": "UPDATE models SET method = 'retrain' WHERE pk = 2",
    "closure invented": "INSERT INTO closure_items VALUES (1, 'backup', 'erased', NULL, 'x')",
    "documentation": "UPDATE datasets SET documentation = replace(documentation, 'other', 'user')",
    # Not named there.
    "a step that nobody took": "UPDATE request_steps SET detail = '[]' WHERE position = 1",
    "one tombstone for another record": "UPDATE tombstones SET record = 4 WHERE record = 2",
    "one suppression for another": "UPDATE suppressions SET digest = 'content:v1:x' WHERE digest "
    "= (SELECT min(digest) FROM suppressions)",
    "a parent less": "DELETE FROM model_parents",
    "nothing forgotten": "DELETE FROM use_forgotten",
    "a destroyed model come back": "DELETE FROM model_tombstones",
    "an alias more": "INSERT INTO aliases VALUES ('best', 1)",
    "a kept head dropped": "DELETE FROM checkpoints",
    "two people exchanged": "UPDATE subjects SET subject = 'x' WHERE pk = 1",
    "consent": "UPDATE records SET consent = 'granted' WHERE consent = 'unknown'",
    "another key": "UPDATE ledger SET key_version = 2",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_the_tables_is_found(filled: Store, bare: Bare, edit: str) -> None:
    head = filled.verify_log().head
    bare.execute(*EDITS[edit].split("; "))
    assert filled.verify_log(known_head=head).sound
    found = filled.differences()
    assert found
    with pytest.raises(StateError, match="not what its log says"):
        filled.check_entities(["people", "others"])
    # Nor does it become true by what is done after it.
    if edit == "request closed":
        filled.note("notice-written", {})
        assert filled.differences() == found


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE requests SET received_at = '2027-01-01T00:00:00+00:00' WHERE pk = 1",
        "UPDATE requests SET subject = NULL WHERE pk = 1",
        "UPDATE request_steps SET detail = '{}' WHERE request = 1",
        'UPDATE requests SET scope = \'{"model":"x"}\' WHERE pk = 1',
    ],
)
def test_what_goes_on_from_an_edit_does_not_hide_it(filled: Store, bare: Bare, edit: str) -> None:
    bare.execute(edit)
    for _ in range(2):
        filled.advance_request("req-0001", RequestStatus.LOCATED, {"again": True})
    assert filled.verify_log().sound
    assert [difference.what for difference in filled.differences()] == ["a request"]
    bare.execute("UPDATE requests SET law = 'lgpd' WHERE pk = 2")
    assert len(filled.differences()) == 2


def test_an_alias_put_back_by_sql_and_then_set_is_found(filled: Store, bare: Bare) -> None:
    bare.execute("UPDATE aliases SET model = 1 WHERE name = 'serving'")
    filled.set_alias("serving", filled.alias("previous").id)  # type: ignore[union-attr]
    assert filled.differences() != ()


@dataclass(frozen=True)
class Town:
    """A filled ledger in SQLite, whose edits are rolled back."""

    connection: Connection
    key: Key
    head: Digest
    rows: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    key = Key.create(folder / "key")
    with Store.create(folder / "ledger.db", key=key) as store:
        _filled(store, folder)
        head = store.verify_log().head
    database = engine.connect(engine.database_url(folder / "ledger.db"))
    # Who edits the database keeps no reference whole.
    event.listen(database, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = OFF"))
    with database.connect() as connection:
        rows = {
            table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in schema.metadata.sorted_tables
            if table.name not in EXEMPT
        }
        connection.rollback()
        assert all(rows.values()), "a table without rows is a table whose edits nobody draws"
        yield Town(connection, key, head, rows)


def _value(column: Column[Any], known: list[Any]) -> st.SearchStrategy[Any]:
    """What somebody might write there: what stands in other rows, and what stands nowhere."""
    if isinstance(column.type, Integer | Boolean):
        made: st.SearchStrategy[Any] = st.integers(-2, 9)
    elif isinstance(column.type, LargeBinary):
        made = st.binary(max_size=33)
    else:
        made = st.text(string.printable, max_size=4) | st.sampled_from(["erased", "exact", "{}"])
    absent = st.none() if column.nullable else st.nothing()
    return st.sampled_from(known) | made | absent


def _where(table: Table, row: dict[str, Any]) -> Any:
    return and_(*[column == row[column.name] for column in table.primary_key])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_edited_in_whichever_table_is_found(town: Town, data: st.DataObject) -> None:
    table = schema.metadata.tables[data.draw(st.sampled_from(sorted(town.rows)))]
    rows = town.rows[table.name]
    row = data.draw(st.sampled_from(rows))
    act = data.draw(st.sampled_from(["update", "delete", "insert"]))
    column = data.draw(st.sampled_from(list(table.columns)))
    value = data.draw(_value(column, [other[column.name] for other in rows]))
    keys = {c.name for c in table.primary_key}
    try:
        if act == "delete":
            town.connection.execute(table.delete().where(_where(table, row)))
        elif act == "update":
            assume(value != row[column.name])
            statement = table.update().where(_where(table, row))
            town.connection.execute(statement.values({column: value}))
        else:
            fresh = {
                c.name: data.draw(_value(c, [r[c.name] for r in rows])) if c.name in keys else None
                for c in table.columns
            }
            assume(all({k: r[k] for k in keys} != {k: fresh[k] for k in keys} for r in rows))
            town.connection.execute(table.insert().values(row | {k: fresh[k] for k in keys}))
    except engine.exc.IntegrityError:
        town.connection.rollback()
        assume(False)
    try:
        check = verifying.verify(town.connection, town.key, town.head, ())
        assert not check.sound or comparing.differences(town.connection, town.key)
    finally:
        town.connection.rollback()


def test_many_records_are_read_as_they_were_written(store: Store) -> None:
    _dataset(store, "many", [f"r-{i:06}" for i in range(BULK + 7)])
    assert store.differences() == ()
