"""What the store promises it promises on SQLite and on Postgres."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, make_url, text

from olvido.ledger.identity import Key
from olvido.ledger.store import Store, engine, schema

BACKENDS = ("sqlite", "postgres")
TABLES = schema.metadata.sorted_tables
Rows = list[tuple[Table, list[dict[str, Any]]]]


@pytest.fixture(scope="session")
def blank_database(new_database: Callable[[], str], blank: Path) -> tuple[str, Rows]:
    """A Postgres database with a new ledger under the key of `blank`, and all its rows."""
    url = new_database()
    Store.create(url, key=Key.load(blank / "olvido.key")).close()
    with engine.transaction(engine.connect(make_url(url)), writing=False) as connection:
        rows = [(t, connection.execute(t.select()).mappings().all()) for t in TABLES]
    return url, [(table, [dict(row) for row in found]) for table, found in rows if found]


@pytest.fixture(params=BACKENDS)
def ledger(request: pytest.FixtureRequest, blank: Path, tmp_path: Path) -> Path | str:
    """Where a new ledger lies; its key is `olvido.key` in `tmp_path`."""
    shutil.copytree(blank, tmp_path, dirs_exist_ok=True)
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    (tmp_path / "ledger.db").unlink()
    url, rows = request.getfixturevalue("blank_database")
    # To make a database for each test would take seconds; what the last one left is swept out.
    with engine.transaction(engine.connect(make_url(url)), writing=True) as connection:
        for table in reversed(TABLES):
            connection.execute(table.delete())
        for table, found in rows:
            connection.execute(table.insert(), found)
    return str(url)


@pytest.fixture(params=BACKENDS)
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where no ledger is yet."""
    if request.param == "sqlite":
        return tmp_path / "none.db"
    make: Callable[[], str] = request.getfixturevalue("new_database")
    return make()


@pytest.fixture
def store(ledger: Path | str, tmp_path: Path) -> Iterator[Store]:
    with Store.open(ledger, key=Key.load(tmp_path / "olvido.key")) as opened:
        yield opened


@dataclass(frozen=True)
class Bare:
    """The ledger's database without the store."""

    database: Engine

    def execute(self, *statements: Any) -> None:
        with engine.transaction(self.database, writing=True) as connection:
            for statement in statements:
                connection.execute(text(statement) if isinstance(statement, str) else statement)


@pytest.fixture
def bare(ledger: Path | str) -> Bare:
    return Bare(engine.connect(engine.database_url(ledger)))
