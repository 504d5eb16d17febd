"""The schema is what the migrations make, and one that is too new is left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from olvido.errors import StateError
from olvido.ledger.store import Store, engine, schema


@pytest.mark.usefixtures("store")
def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    database = engine.connect(engine.database_url(tmp_path / "ledger.db"))
    with engine.transaction(database, writing=False) as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []


def test_the_code_knows_its_newest_migration() -> None:
    folder = Path(engine.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [schema.VERSION]


def test_migrating_again_changes_nothing(tmp_path: Path, store: Store) -> None:
    before = store.events()
    engine.migrate(engine.connect(engine.database_url(tmp_path / "ledger.db")))
    assert store.events() == before


def test_a_newer_schema_is_refused(tmp_path: Path, store: Store) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(StateError, match="schema 9999, made by a newer Olvido"):
        Store.open(tmp_path / "ledger.db", key=store.key)
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_a_broken_reference_is_refused_by_the_database(tmp_path: Path, store: Store) -> None:
    from sqlalchemy.exc import IntegrityError

    database = engine.connect(engine.database_url(tmp_path / "ledger.db"))
    statement = schema.tombstones.insert().values(record=99, reason="x", at="x")
    with (
        pytest.raises(IntegrityError),
        engine.transaction(database, writing=True) as connection,
    ):
        connection.execute(statement)
    assert store.verify_log().sound
