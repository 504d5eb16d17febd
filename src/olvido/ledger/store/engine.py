"""Connections to the ledger's database, and its schema's migrations.

The only place that knows SQLite from other databases.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    exc,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from olvido.errors import InputError, OutOfReach, StateError
from olvido.ledger.store import schema

_MIGRATIONS = Path(__file__).parents[1] / "migrations"
_BUSY_MILLISECONDS = 30_000
_CACHE_KIBIBYTES = 65_536
_BACKENDS = ("sqlite", "postgresql")
_WRITING = 0x6F6C7669646F
"""The number of the lock that writers to a Postgres ledger take, one after the other."""


def database_url(path_or_url: Path | str) -> URL:
    """A path as the URL of an SQLite file; a URL as it is.

    >>> database_url("ledger.db").drivername
    'sqlite'
    """
    if isinstance(path_or_url, str) and "://" in path_or_url:
        try:
            return make_url(path_or_url)
        except exc.ArgumentError:
            raise InputError(
                "expected the ledger as a file or as a URL like postgresql+psycopg://host/name"
            ) from None
    return URL.create("sqlite", database=str(path_or_url))


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite ledger, None for any other database."""
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None


def require_file(url: URL) -> Path | None:
    """The existing file of an SQLite ledger, None for any other database.

    Raises StateError: it is missing or empty.
    """
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        raise StateError(f"there is no ledger at {file}: make one with 'olvido init'")
    if file is not None and not file.stat().st_size:
        # SQLite would make a database of it.
        raise StateError(f"{file} is empty: put back the ledger from a backup")
    return file


def connect(url: URL) -> Engine:
    """An engine whose readers see one state and whose writers are serialised."""
    if url.get_backend_name() not in _BACKENDS:
        raise InputError(f"a ledger lies in SQLite or Postgres, not in {url.get_backend_name()}")
    try:
        engine = create_engine(url, poolclass=NullPool)
    except (exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(
            f"there is no driver for a ledger at {shown(url)} ({error}): install one, or name a "
            "file"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _open_sqlite)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_sqlite(_dialect: object, _record: object, given: Any, named: Any) -> Any:
    """Open a ledger; read-only if nothing can be written beside it and it has no journal.

    Even a reader needs a journal's index beside the file, which a read-only folder or a full disk
    refuses. Without a journal everything is in the file itself and nobody has it open; with one,
    the file alone would be an older state, and the error stands.
    """
    connection = sqlite3.connect(*given, **named)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        # Closed at once, to leave no journal beside the file, even a damaged one.
        connection.close()
        file = Path(given[0])
        if error.sqlite_errorcode & 0xFF not in _UNWRITABLE or not _at_rest(file):
            raise
        where = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(where, **named | {"uri": True})
    return connection


_UNWRITABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)


def _at_rest(file: Path) -> bool:
    """Whether a database has no journal beside it, so that nobody is writing to it."""
    return file.is_file() and not any(
        file.with_name(file.name + end).exists() for end in ("-wal", "-journal")
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Leave BEGIN to _begin_sqlite: Python's driver would open a transaction only before a write,
    # and then too late to take the lock that keeps two writers from reading the same state.
    connection.isolation_level = None
    # A database of another program, named by mistake, is left unchanged.
    foreign = connection.execute(
        "SELECT count(*) > 0 AND sum(name = 'alembic_version') = 0 FROM sqlite_master"
    ).fetchone()[0]
    for pragma in (
        f"busy_timeout = {_BUSY_MILLISECONDS}",
        *([] if foreign else ["journal_mode = WAL"]),
        "synchronous = FULL",
        "foreign_keys = ON",
        # Overwrite deleted values: they may have the path of a person's file.
        "secure_delete = ON",
        f"cache_size = -{_CACHE_KIBIBYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def transaction(engine: Engine, *, writing: bool) -> Iterator[Connection]:
    """One transaction; a writer's is committed at the end of the block, unless there is an error.

    A writer waits for the writer before it. Raises OutOfReach when the database refuses.
    """
    postgres = engine.dialect.name == "postgresql"
    # A reader's statements all see the state at its first statement. A writer's see all that was
    # committed before it got the lock: the state at its first statement could be older.
    level = {"isolation_level": "READ COMMITTED" if writing else "REPEATABLE READ"}
    try:
        with engine.connect() as plain:
            connection = plain.execution_options(writing=writing, **(level if postgres else {}))
            with connection.begin() as running:
                if writing and postgres:
                    connection.execute(select(func.pg_advisory_xact_lock(_WRITING)))
                yield connection
                if not writing:
                    # SQLite cannot commit after a damaged page, and there is nothing to commit.
                    running.rollback()
    except exc.IntegrityError:
        # A fault of this code, not of the disk: show it whole.
        raise
    except exc.DatabaseError as error:
        # Only the driver's own message, in a line, without the statement's parameters.
        why = " ".join(str(error.orig).split())
        if isinstance(error.orig, sqlite3.OperationalError) and not _has_code(error.orig):
            # The error comes from Python, not from SQLite, and would repeat the text.
            why = "it holds a text that is no UTF-8"
        raise OutOfReach(
            f"the ledger {shown(engine.url)} could not be used: {why}. Nothing was "
            "changed. See that it is a ledger, that the disk has room and that you may write there"
        ) from error


def _has_code(error: sqlite3.Error) -> bool:
    """Whether an error came from SQLite itself, which numbers its errors."""
    return getattr(error, "sqlite_errorcode", None) is not None


def wipe(engine: Engine) -> None:
    """Erase deleted values from SQLite's free pages and journal.

    In Postgres this is the task of VACUUM and of the administrator.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def shown(url: URL) -> str:
    """The address of a ledger without its password."""
    return str(sqlite_file(url) or url.render_as_string(hide_password=True))


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """The facts of a database that need no key: its kind, schema, and the key's fingerprint."""

    kind: str
    version: str | None
    fingerprint: str | None


def look(url: URL) -> DatabaseInfo:
    """Look at a ledger without changing it, migrating it or waiting long for a lock.

    Raises StateError: there is none, or it cannot be opened.
    """
    file = require_file(url)
    if file is None:
        url = url.update_query_dict({"connect_timeout": "2"})
    engine = connect(url)
    try:
        with transaction(engine, writing=False) as connection:
            version = _version(connection)
            query = select(schema.ledger.c.key_fingerprint)
            known = None if version is None else connection.execute(query).scalar()
    finally:
        engine.dispose()
    return DatabaseInfo("SQLite" if file else "Postgres", version, known)


def check_schema(engine: Engine) -> None:
    """Migrate an older ledger; refuse one from before any release, a newer one, or none.

    Raises StateError.
    """
    with transaction(engine, writing=False) as connection:
        found = _version(connection)
    if found == schema.VERSION:
        return
    if found is None:
        raise StateError(f"{shown(engine.url)} holds no ledger: make one with 'olvido init'")
    migrate(engine)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if version is None else str(version)


def migrate(engine: Engine) -> None:
    """Apply the migrations that are missing, all in one transaction."""
    # Alembic takes a while to import and an up-to-date ledger does not need it.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(_MIGRATIONS, version_locations=[str(_MIGRATIONS)])
    known = [revision.revision for revision in script.walk_revisions()]
    with transaction(engine, writing=True) as connection:
        context = MigrationContext.configure(connection, opts={"transactional_ddl": True})
        found = context.get_current_revision()
        if found is not None and found < min(known):
            raise StateError(
                f"{shown(engine.url)} has schema {found}, from before any release, and this Olvido "
                f"begins at {min(known)}: make a new ledger with 'olvido init' and add the data "
                "again"
            )
        if found is not None and found not in known:
            raise StateError(
                f"{shown(engine.url)} has schema {found}, made by a newer Olvido; this one knows "
                f"up to {schema.VERSION}: upgrade Olvido"
            )
        missing = list(script.iterate_revisions("head", found or "base"))
        with Operations.context(context):
            for revision in reversed(missing):
                revision.module.upgrade()
                context.stamp(script, revision.revision)
