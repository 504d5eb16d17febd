"""The tables cannot say anything but what the log says of them."""

from __future__ import annotations

import sqlite3
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
from olvido.ledger.facts import (
    DatasetUse,
    Ending,
    Exit,
    Guarantee,
    Model,
    RequestKind,
    RequestStatus,
)
from olvido.ledger.identity import Key
from olvido.ledger.store import Store, comparing, engine, schema, verifying
from olvido.ledger.store import verifying as shape
from olvido.ledger.store.datasets import BULK

OTHER = "not what its log says"


def _filled(store: Store, folder: Path) -> None:
    """Something in every table."""
    for name, consent in (("people", "granted"), ("others", "unknown")):
        _dataset(store, name, [f"r-{i}" for i in range(5)], consent)
    first = store.dataset("people").id, store.dataset("others").id
    uses = [DatasetUse(dataset=dataset, excluded=frozenset({"r-3"})) for dataset in first]
    parent = store.add_model(Model(digest=Digest.of(b"a"), path="a", learner="monolith"), uses)
    store.tombstone(["r-1", "r-2"], "erased", dataset="people")
    gone = frozenset({"r-1", "r-2"})
    child = Model(
        digest=Digest.of(b"b"), path="b", learner="monolith", parents=(parent.id,), method="npo"
    )
    forgot = DatasetUse(dataset=first[0], forgotten=gone, guarantee=Guarantee.EMPIRICAL)
    child = store.add_model(child, [forgot])
    store.set_aliases({"serving": child.id, "previous": parent.id})
    store.add_model(Model(digest=Digest.of(b"c"), path="c", learner="monolith"))
    store.tombstone_model(str(Digest.of(b"c")), "destroyed")
    asked = store.add_request(
        RequestKind.ERASURE,
        subject=store.key.subject("Ana Soler"),
        law="gdpr",
        detail={"unsearched": 1},
    )
    store.advance_request(asked.id, RequestStatus.LOCATED, {"records": 2})
    store.note_request(asked.id, by="acct-1", owner="acct-2")
    store.note_request(asked.id, by="acct-1", text="a look")
    store.add_request(RequestKind.POISON, scope={"source": "web"})
    store.put_closure(asked.id, {"rows:people": Ending(Exit.ERASED, None), "model:a": Ending(None)})
    store.suppress([store.key.content("Ana bakes"), str(store.key.subject("Ana Soler"))])
    store.sign_log(store.signer(folder / "signing.key"))
    store.note("notice-written", {"request": asked.id})


def _dataset(store: Store, name: str, ids: list[str], consent: str = "unknown") -> None:
    """Records about nobody, about the first of two people, and about both, in turn."""
    digests = {i: Digest.of(f"{name}{i}".encode()).raw for i in ids}
    names = ("Ana Soler", "Berta Puig i Mas")
    people = [str(store.key.subject(person)) for person in names]
    store.add_dataset(
        name=name,
        root=records_root(digests),
        file=f"{name}.parquet",
        rows=len(ids),
        records=[
            (i, digests[i], tuple(people[: n % 3]), ("web", None, consent, None))
            for n, i in enumerate(ids)
        ],
        forms={people[n]: store.key.kept(person) for n, person in enumerate(names)},
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
    covered = {
        t.name for kind in (*comparing.KINDS, "forms", "records") for t in comparing.tables_of(kind)
    }
    assert covered | {"log"} == set(schema.metadata.tables)


# The 15 edits of tables that went unnoticed on 2026-11-29, and others of their kind.
EDITS = {
    "request deleted": "DELETE FROM closure_items; DELETE FROM request_steps WHERE request = 1; "
    "DELETE FROM request_notes; "
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
    "closure invented": "INSERT INTO closure_items VALUES (1, 'backup', 'erased', NULL, false, '')",
    "documentation": "UPDATE datasets SET documentation = replace(documentation, 'other', 'user')",
    # Not named there.
    "a step that nobody took": "UPDATE request_steps SET detail = '[]' WHERE position = 1",
    "a note that nobody wrote": "UPDATE request_notes SET text = 'x' WHERE position = 1",
    "another owner": "UPDATE request_notes SET owner = 'acct-1' WHERE position = 0",
    "a note less": "DELETE FROM request_notes WHERE position = 1",
    "one tombstone for another record": "UPDATE tombstones SET record = 4 WHERE record = 2",
    "one suppression for another": "UPDATE suppressions SET digest = 'content:v1:x' WHERE digest "
    "= (SELECT min(digest) FROM suppressions)",
    "a parent less": "DELETE FROM model_parents",
    "nothing forgotten": "DELETE FROM use_forgotten",
    "a destroyed model come back": "DELETE FROM model_tombstones",
    "an alias more": "INSERT INTO aliases VALUES ('best', 1)",
    "a kept head dropped": "DELETE FROM checkpoints",
    "two people exchanged": "UPDATE subjects SET subject = 'x' WHERE pk = 1",
    "two people exchanged wherever records have them": "UPDATE subjects SET subject = subject || "
    "'|' || (SELECT o.subject FROM subjects o WHERE o.pk = 2) WHERE pk = 1; "
    "UPDATE subjects SET subject = (SELECT substr(o.subject, 1, length(subjects.subject)) "
    "FROM subjects o WHERE o.pk = 1) WHERE pk = 2; "
    "UPDATE subjects SET subject = substr(subject, length(subject) / 2 + 2) WHERE pk = 1; "
    "UPDATE record_subjects SET subject = 3 - subject WHERE subject IN (1, 2) AND record NOT IN "
    "(SELECT record FROM record_subjects GROUP BY record HAVING count(*) > 1)",
    "somebody's names left to nobody": "INSERT INTO subjects (pk, subject) SELECT 9, "
    "substr(subject, 1, length(subject) - 4) || '0000' FROM subjects WHERE pk = 1; "
    "UPDATE subjects SET subject = subject || '|' WHERE pk = 9; "
    "UPDATE subject_forms SET subject = 9 WHERE subject = 1; "
    "UPDATE subjects SET subject = substr(subject, 1, length(subject) - 1) WHERE pk = 9",
    "consent": "UPDATE records SET consent = 'granted' WHERE consent = 'unknown'",
    "another name that is like theirs": "UPDATE subject_forms SET subject = 3 - subject WHERE form "
    "= (SELECT form FROM subject_forms ORDER BY form LIMIT 1)",
    "a name that is like nobody's": "DELETE FROM subject_forms WHERE form = (SELECT form FROM "
    "subject_forms ORDER BY form DESC LIMIT 1)",
    "another key": "UPDATE ledger SET key_version = 2",
    "no key": "UPDATE ledger SET key_version = 0",
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_the_tables_is_found(filled: Store, bare: Bare, edit: str) -> None:
    head = filled.verify_log().head
    bare.execute(*EDITS[edit].split("; "))
    assert filled.verify_log(known_head=head).sound
    found = filled.differences()
    assert found
    with pytest.raises(StateError, match=OTHER):
        filled.check_entities(["people", "others"])
    with pytest.raises(StateError, match=OTHER):
        filled.check_entities(["people", "others"], filled.verify_log())
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
        filled.advance_request("req-0001", RequestStatus.LOCATED, {"why": "again"})
    assert filled.verify_log().sound
    assert [difference.what for difference in filled.differences()] == ["a request"]
    bare.execute("UPDATE requests SET law = 'lgpd' WHERE pk = 2")
    assert len(filled.differences()) == 2


def test_forms_add_up_whatever_came_and_was_redacted_between(
    filled: Store, bare: Bare, tmp_path: Path
) -> None:
    key = filled.key
    for number in range(3):
        _dataset(filled, f"again {number}", ["r"])
        name = f"Carles Pla {'aeiou'[number]}x"
        known = str(key.subject("Ana Soler"))
        digests = {"c": Digest.of(name.encode()).raw}
        filled.add_dataset(
            name="more",
            root=records_root(digests),
            file=f"more-{number}",
            rows=1,
            records=[("c", digests["c"], (str(key.subject(name)),), (None, None, "unknown", None))],
            forms={str(key.subject(name)): key.kept(name), known: key.kept(name)},
        )
        assert filled.differences() == ()
        added = [entry.seq for entry in filled.events("dataset-added")]
        signer = filled.signer(tmp_path / "signing.key")
        filled.redact([added[0] if number == 0 else added[-1]], "old", signer)
        assert filled.differences() == ()
    bare.execute(
        "DELETE FROM subject_forms WHERE form = "
        "(SELECT form FROM subject_forms ORDER BY form DESC LIMIT 1)"
    )
    assert [difference.what for difference in filled.differences()] == ["forms of names"]
    _dataset(filled, "people", ["after"])
    assert "forms of names" in {difference.what for difference in filled.differences()}


@pytest.mark.slow
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


_GIVING = "UPDATE closure_items SET exit = 'cannot' WHERE exit IS NULL"
MEDDLING = {
    "sqlite": [
        f"CREATE TRIGGER t AFTER INSERT ON closure_items BEGIN {_GIVING}; END",
        "CREATE TRIGGER t AFTER UPDATE ON requests BEGIN UPDATE requests SET law = NULL; END",
        "CREATE VIEW v AS SELECT * FROM records",
    ],
    "postgresql": [
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.exit = 'cannot'; RETURN NEW; END$$; "
        "CREATE TRIGGER t BEFORE INSERT ON closure_items FOR EACH ROW EXECUTE FUNCTION f()",
        f"CREATE RULE r AS ON INSERT TO closure_items DO ALSO {_GIVING}",
        "CREATE VIEW v AS SELECT * FROM records",
    ],
}
SWEPT = {
    "sqlite": ("DROP TRIGGER IF EXISTS t", "DROP VIEW IF EXISTS v"),
    "postgresql": (
        *("DROP TRIGGER IF EXISTS t ON closure_items", "DROP FUNCTION IF EXISTS f"),
        *("DROP RULE IF EXISTS r ON closure_items", "DROP VIEW IF EXISTS v"),
    ),
}


@pytest.mark.parametrize("number", range(3))
def test_what_acts_in_the_database_by_itself_is_found_and_nothing_is_written(
    filled: Store, bare: Bare, number: int
) -> None:
    """Who has no key could let the database change what is written before the log tells of it."""
    backend = bare.database.dialect.name
    before = filled.verify_log().head
    bare.execute(MEDDLING[backend][number])
    try:
        assert len(filled.differences()) == 1
        with pytest.raises(StateError, match="did not make"):
            filled.set_alias("other", filled.models()[0].id)
        assert filled.verify_log().head == before
    finally:
        bare.execute(*SWEPT[backend])
    assert filled.differences() == ()
    filled.set_alias("other", filled.models()[0].id)


@pytest.mark.parametrize(
    "edit",
    [
        "ALTER TABLE closure_items ADD COLUMN said TEXT DEFAULT 'x'",
        "ALTER TABLE closure_items ADD COLUMN said TEXT AS (exit) VIRTUAL",
        "CREATE TABLE mine (pk INTEGER)",
    ],
)
def test_a_table_that_olvido_did_not_make_so_is_found(tmp_path: Path, edit: str) -> None:
    with Store.create(tmp_path / "ledger.db", key=Key.create(tmp_path / "key")) as store:
        assert store.differences() == ()
        with sqlite3.connect(tmp_path / "ledger.db") as raw:
            raw.execute(edit)
        raw.close()
        assert [one.what.partition(" ")[0] for one in store.differences()] == ["table"]


@pytest.mark.parametrize(
    "edit",
    [
        "ALTER TABLE closure_items ALTER COLUMN exit SET DEFAULT 'erased'",
        'ALTER TABLE suppressions ALTER COLUMN digest TYPE varchar COLLATE "C"',
        "ALTER TABLE requests ALTER COLUMN status TYPE text",
        "ALTER TABLE tombstones ALTER COLUMN reason DROP NOT NULL",
        "CREATE TABLE mine () INHERITS (records)",
        "ALTER TABLE uses ADD COLUMN said varchar GENERATED ALWAYS AS (guarantee) STORED",
    ],
)
def test_a_table_in_postgres_that_olvido_did_not_make_so_is_found(
    blank_database: tuple[str, Any], edit: str
) -> None:
    database = engine.connect(engine.database_url(blank_database[0]))
    with database.connect() as connection:
        assert shape.misshapen(connection) == ()
        connection.exec_driver_sql(edit)
        assert shape.misshapen(connection)


@pytest.mark.parametrize(
    "act",
    [
        "CREATE POLICY p ON suppressions USING (current_query() LIKE '%%at%%')",
        "ALTER TABLE tombstones ENABLE ROW LEVEL SECURITY",
        "CREATE FUNCTION f(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT false'; "
        "CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = f)",
        "CREATE FUNCTION max(integer) RETURNS integer LANGUAGE sql AS 'SELECT 0'",
        # By a role's or a database's search path, what has the same name is read instead.
        "SET LOCAL search_path = before, public; CREATE TABLE suppressions (digest varchar)",
        "SET LOCAL search_path = before, public; "
        "CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT NULL'",
        "SET LOCAL search_path = public, pg_catalog",
    ],
)
def test_what_hides_rows_in_postgres_is_found(blank_database: tuple[str, Any], act: str) -> None:
    database = engine.connect(engine.database_url(blank_database[0]))
    with database.connect() as connection:
        connection.exec_driver_sql("CREATE SCHEMA before; SET LOCAL search_path = before, public")
        assert shape.meddling(connection) == shape.misshapen(connection) == ()
        connection.exec_driver_sql("SET LOCAL search_path = public")
        connection.exec_driver_sql(act)
        assert shape.meddling(connection)


@pytest.mark.parametrize(
    "act",
    [
        "CREATE INDEX x ON suppressions (digest COLLATE NOCASE) WHERE 0",
        "CREATE UNIQUE INDEX x ON request_notes (request, position DESC)",
        "ANALYZE suppressions",
    ],
)
def test_what_hides_rows_in_sqlite_is_found(town: Town, act: str) -> None:
    assert shape.meddling(town.connection) == ()
    try:
        town.connection.exec_driver_sql(act)
        assert len(shape.meddling(town.connection)) == 1
        assert len(comparing.differences(town.connection, town.key)) == 1
    finally:
        town.connection.rollback()


LYING = {
    "an own index without rows": "DROP INDEX ix_record_subjects_subject; CREATE INDEX "
    "ix_record_subjects_subject ON record_subjects (subject) WHERE 0; "
    "UPDATE sqlite_master SET sql = 'CREATE INDEX ix_record_subjects_subject ON record_subjects "
    "(subject)' WHERE name = 'ix_record_subjects_subject'",
    "an own index on something else": "DROP INDEX ix_models_digest; "
    "CREATE INDEX ix_models_digest ON models (path); UPDATE sqlite_master SET sql = "
    "'CREATE INDEX ix_models_digest ON models (digest)' WHERE name = 'ix_models_digest'",
    "an own index that is gone": "DROP INDEX ix_models_digest",
    "a collation": "UPDATE sqlite_master SET sql = replace(sql, 'item VARCHAR', "
    "'item VARCHAR COLLATE NOCASE') WHERE name = 'closure_items'",
    "pages exchanged": "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master "
    "WHERE name = 'ix_use_excluded_use') WHERE name = 'ix_use_forgotten_use'",
}


@pytest.mark.parametrize("edit", LYING)
def test_what_makes_sqlite_answer_otherwise_is_found(town: Town, tmp_path: Path, edit: str) -> None:
    """The rows are as they were, and so is what the log says of them."""
    raw = sqlite3.connect(tmp_path / "ledger.db")
    raw.isolation_level = None
    town.connection.connection.driver_connection.backup(raw)  # type: ignore[union-attr]
    raw.execute("PRAGMA writable_schema = ON")
    for statement in LYING[edit].split("; "):
        raw.execute(statement)
    (version,) = raw.execute("PRAGMA schema_version").fetchone()
    raw.execute(f"PRAGMA schema_version = {version + 1}")
    raw.close()
    with Store.open(tmp_path / "ledger.db", key=town.key) as store:
        assert store.verify_log().sound
        assert store.differences()
        with pytest.raises(StateError, match=OTHER):
            store.check_entities()


def test_many_records_are_read_as_they_were_written(store: Store) -> None:
    _dataset(store, "many", [f"r-{i:06}" for i in range(BULK + 7)])
    assert store.differences() == ()


def test_what_cannot_be_read_is_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    """A page of the database file is overwritten, as a failing disk does."""
    with Store.create(tmp_path / "ledger.db", key=Key.create(tmp_path / "key")) as store:
        _filled(store, tmp_path)
        key = store.key
    raw = sqlite3.connect(tmp_path / "ledger.db")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = raw.execute("PRAGMA page_size").fetchone()
    (root,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tombstones'").fetchone()
    raw.close()
    with (tmp_path / "ledger.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"secret words" * (size // 12))
    with Store.open(tmp_path / "ledger.db", key=key) as store:
        assert store.verify_log().sound
        assert [str(one) for one in store.differences()] == [
            "table tombstones cannot be read whole"
        ]
        assert store.models()
        with pytest.raises(StateError) as told:
            store.records("people")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("edit", "table"),
    [
        ("UPDATE models SET recipe = CAST(x'ff736563726574' AS TEXT) WHERE pk = 1", "models"),
        ("UPDATE tombstones SET reason = CAST(x'ff736563726574' AS TEXT)", "tombstones"),
        ("UPDATE records SET digest = 'secret' WHERE pk = 1", "records"),
    ],
)
def test_a_row_of_another_kind_is_told_without_what_it_says(
    tmp_path: Path, edit: str, table: str
) -> None:
    with Store.create(tmp_path / "ledger.db", key=Key.create(tmp_path / "key")) as store:
        _filled(store, tmp_path)
        with sqlite3.connect(tmp_path / "ledger.db") as raw:
            raw.execute(edit)
        raw.close()
        assert f"table {table}" in [one.what for one in store.differences()]
        with pytest.raises(StateError) as told:
            (store.models if table == "models" else lambda: store.records("people"))()
    assert "secret" not in str(told.value)
