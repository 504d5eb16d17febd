"""The schema is what the migrations make, and one that is too new is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select
from tests.ledger.store.conftest import Bare

from olvido.errors import StateError
from olvido.ledger.store import Store, engine, schema


def test_the_migrations_make_the_tables(ledger: Path | str) -> None:
    database = engine.connect(engine.database_url(ledger))
    with engine.transaction(database, writing=False) as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []


def test_the_code_knows_its_newest_migration() -> None:
    folder = Path(engine.__file__).parents[1] / "migrations"
    assert ScriptDirectory(str(folder), version_locations=[str(folder)]).get_heads() == [
        schema.VERSION
    ]


def test_migrating_again_changes_nothing(ledger: Path | str, store: Store) -> None:
    before = store.events()
    engine.migrate(engine.connect(engine.database_url(ledger)))
    assert store.events() == before


@pytest.mark.parametrize(
    ("version", "why"),
    [("9999", "made by a newer"), ("0001", "from before any"), ("0005", "from before any")],
)
def test_another_schema_is_refused(
    ledger: Path | str, store: Store, bare: Bare, version: str, why: str
) -> None:
    before = store.events()
    store.close()
    bare.execute(f"UPDATE alembic_version SET version_num = '{version}'")
    content = ledger.read_bytes() if isinstance(ledger, Path) else b""
    with pytest.raises(StateError, match=f"schema {version}, {why}") as refused:
        Store.open(ledger, key=store.key)
    assert "\n" not in str(refused.value)
    assert not isinstance(ledger, Path) or ledger.read_bytes() == content
    bare.execute(f"UPDATE alembic_version SET version_num = '{schema.VERSION}'")
    assert store.events() == before


def test_a_broken_reference_is_refused_by_the_database(ledger: Path | str, store: Store) -> None:
    from sqlalchemy.exc import IntegrityError

    database = engine.connect(engine.database_url(ledger))
    statement = schema.tombstones.insert().values(record=99, reason="x", at="x")
    with (
        pytest.raises(IntegrityError),
        engine.transaction(database, writing=True) as connection,
    ):
        connection.execute(statement)
    assert store.verify_log().sound


def test_a_reader_sees_one_state(ledger: Path | str, store: Store) -> None:
    database = engine.connect(engine.database_url(ledger))
    query = select(func.count()).select_from(schema.log)
    with engine.transaction(database, writing=False) as connection:
        before = connection.execute(query).scalar_one()
        store.note("test", {})
        assert connection.execute(query).scalar_one() == before
    assert len(store.events()) == before + 1
