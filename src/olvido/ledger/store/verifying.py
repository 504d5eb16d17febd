"""Verify a ledger's database: its schema has no foreign objects, and its log is unchanged.

The log is checked entry by entry: with the database alone nobody can change one undetected.
"""

from __future__ import annotations

import hmac
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import StaticPool

from olvido.errors import InputError
from olvido.ledger.digests import Digest, heads, merkle_root
from olvido.ledger.identity import Key
from olvido.ledger.signing import LogCheckpoint, PublicKey
from olvido.ledger.store import engine, schema
from olvido.ledger.store.log import (
    REDACTED,
    ROTATION,
    SIGNER,
    TELLING,
    checkpoints,
    code,
    commit,
    redaction,
    rows_of,
)

_INDEXES = sorted(str(i.name) for t in schema.metadata.tables.values() for i in t.indexes)

LEFT = (
    "SQLite's ANALYZE: 'DROP TABLE sqlite_stat1' and its like; an extension of Postgres: give it a "
    "schema of its own"
)
"""Objects that tools leave in a database without harm, and how to remove them."""


def meddling(connection: Connection) -> tuple[str, ...]:
    """Find objects that act by themselves in a ledger's database, or intercept its readers.

    Olvido makes no triggers, rules, views, policies, operators or statistics. A writer without the
    key could make one that changes values in the same transaction, before their state is recorded
    in the log, or one that hides rows from some queries and not from others: an empty index, with
    statistics by which it is chosen; a policy that depends on the query.
    """
    query = _ACTING[connection.dialect.name]
    return tuple(f"{kind} {name}" for kind, name in connection.exec_driver_sql(query))


def misshapen(connection: Connection) -> tuple[str, ...]:
    """Find tables and indexes that differ from the migrations: missing, foreign, or altered.

    In SQLite the whole schema is compared; in Postgres the columns, with types, collations and
    defaults, and the inheritance of tables. Postgres's indexes are not compared: no index that the
    tables' owner can make hides a row.
    """
    postgres = connection.dialect.name == "postgresql"
    found, own = _shape(connection), _own_columns() if postgres else _own_objects()
    return tuple(sorted({fact[0] for fact in ((found - own) + (own - found))}))


def corrupt(connection: Connection) -> str | None:
    """The first fault that SQLite finds in its file, such as an index without rows of its table.

    Linear in the file's size. Postgres has no such check of its own.
    """
    if connection.dialect.name == "postgresql":
        return None
    said = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
    return None if said == "ok" else said


def _shape(connection: Connection) -> Counter[tuple[Any, ...]]:
    """The facts of a database's schema, each beginning with its object."""
    if connection.dialect.name == "postgresql":
        return Counter((f"table {r[0]}", *r[1:]) for r in connection.exec_driver_sql(_COLUMNS))
    # Versions of SQLAlchemy and Alembic differ in white space and quotes.
    return Counter(
        (f"{kind} {name}", table, "".join((sql or "").split()).replace('"', ""))
        for kind, name, table, sql in connection.exec_driver_sql(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('table', 'index')"
        )
    )


@cache
def _own_objects() -> Counter[tuple[Any, ...]]:
    empty = create_engine("sqlite://", poolclass=StaticPool)
    engine.migrate(empty)
    with engine.transaction(empty, writing=False) as connection:
        return _shape(connection)


@cache
def _own_columns() -> Counter[tuple[Any, ...]]:
    dialect = postgresql.dialect()
    found: list[tuple[Any, ...]] = [
        ("table alembic_version", "version_num", "character varying(32)", True, *_PLAIN)
    ]
    for table in schema.metadata.tables.values():
        for column in table.columns:
            kind = str(column.type.compile(dialect)).lower().replace("varchar", "character varying")
            default: Any = column.server_default
            given = default and f"'{default.arg}'::{kind}"
            found.append(
                (f"table {table.name}", column.name, kind, not column.nullable, given, *_PLAIN[1:])
            )
    return Counter(found)


_PLAIN = (None, "", True, "r", False)
"""No default, not generated, its type's collation, a common table, nothing inherited."""
# The schema that the tables are read from, whatever precedes it on the path.
_HOME = "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass('log'))"
_COLUMNS = f"""
    SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull,
        pg_get_expr(adbin, adrelid), concat(attgenerated, attidentity),
        attcollation = typcollation, relkind::text, relhassubclass
    FROM pg_class LEFT JOIN pg_attribute ON attrelid = pg_class.oid
        AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_type ON pg_type.oid = atttypid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = {_HOME} AND relkind IN ('r', 'p', 'f', 'm')
    """
# The schemas whose functions and operators may be preferred to Postgres's own, and the argument
# types that matter: those of the ledger's values, or any.
_PATH = """(SELECT oid FROM pg_namespace
    WHERE nspname = ANY (current_schemas(false)) AND nspname <> 'pg_catalog')"""
_TAKES = """ARRAY (SELECT oid FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
    AND (typtype = 'p' OR typname IN ('text', 'varchar', 'bpchar', 'name', 'bytea', 'int2', 'int4',
        'int8', 'bool')) UNION SELECT 0)"""
_OWN = ", ".join(f"'{name}'" for name in sorted(schema.metadata.tables))
_ACTING = {
    "sqlite": f"""
        SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')
            OR name LIKE 'sqlite!_stat%' ESCAPE '!'
            OR type = 'index' AND sql IS NOT NULL
                AND name NOT IN ({", ".join(f"'{name}'" for name in _INDEXES)})
        """,
    "postgresql": f"""
        SELECT 'trigger', tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE NOT tgisinternal AND relnamespace = {_HOME}
        UNION ALL SELECT 'rule or view of', relname FROM pg_rewrite
        JOIN pg_class ON pg_class.oid = ev_class WHERE relnamespace = {_HOME}
        UNION ALL SELECT 'policy', polname FROM pg_policy
        JOIN pg_class ON pg_class.oid = polrelid WHERE relnamespace = {_HOME}
        UNION ALL SELECT 'row security of table', relname FROM pg_class
        WHERE relrowsecurity AND relnamespace = {_HOME}
        UNION ALL SELECT 'table in another schema,', relname FROM pg_class
        WHERE relname IN ({_OWN}) AND pg_table_is_visible(oid) AND relnamespace <> {_HOME}
        UNION ALL SELECT 'search path', 'that ends in pg_catalog'
        WHERE 'pg_catalog' = ANY ((current_schemas(false))[2:])
        UNION ALL SELECT 'operator', mine.oprname FROM pg_operator AS mine
        WHERE oprnamespace IN {_PATH} AND ARRAY[oprleft, oprright] <@ {_TAKES}
            AND oprname IN ('=', '<>', '<', '<=', '>', '>=', '||', '~~')
        UNION ALL SELECT 'function', mine.proname FROM pg_proc AS mine
        WHERE pronamespace IN {_PATH} AND pronargs > 0 AND proargtypes::oid[] <@ {_TAKES}
            AND EXISTS (SELECT FROM pg_proc WHERE proname = mine.proname
                AND pronamespace = 'pg_catalog'::regnamespace)
        """,
}


_DIGEST = re.compile("sha256:[0-9a-f]{64}")

EMPTY = merkle_root([])
"""The head of a log without entries."""


@dataclass(frozen=True, slots=True)
class LogCheck:
    """The result of checking the log.

    `head` is the root of the tree over all sound entries: keep it elsewhere, best signed, for only
    an earlier known head reveals a shortened log. `bad` is the number of the first wrong entry.
    """

    entries: int
    head: Digest
    bad: int | None = None
    reason: str | None = None

    @property
    def sound(self) -> bool:
        """Whether every entry is unchanged."""
        return self.bad is None


def verify(
    connection: Connection, key: Key, known_head: Digest | None, known: Sequence[LogCheckpoint]
) -> LogCheck:
    """Find the first entry that was edited, removed, added or moved.

    The check uses commitments, the key's codes, signatures, and heads: `known` are heads that the
    caller trusts; those in the ledger are checked as well.
    """
    rows = rows_of(connection)
    bad, reason = _first_wrong(rows, key)
    good = rows if bad is None else rows[: bad - 1]
    trail = [EMPTY, *heads([Digest.from_str(row.commitment).raw for row in good])]
    if bad is not None:
        return LogCheck(len(good), trail[-1], bad, reason)
    try:
        kept = checkpoints(connection)
    except InputError as error:
        return LogCheck(len(good), trail[-1], 1, f"a head that was signed was changed: {error}")
    for signer, checkpoint in kept:
        if not checkpoint.signed_by(signer):
            forged = f"the head of the first {checkpoint.entries} entries is not signed by {signer}"
            return LogCheck(len(good), trail[-1], 1, forged)
    sound = 0
    for checkpoint in sorted([*known, *(one for _, one in kept)], key=lambda one: one.entries):
        size = checkpoint.entries
        if size >= len(trail):
            missing = f"the log had {size} entries when its head was signed: entries were cut off"
            return LogCheck(len(good), trail[-1], len(trail), missing)
        if trail[size] != checkpoint.head:
            changed = f"entries {sound + 1} to {size} are not those whose head was signed"
            return LogCheck(sound, trail[sound], sound + 1, changed)
        sound = size
    if known_head is not None and known_head not in trail:
        missing = (
            f"the known head {known_head} is not of this log: entries were cut off or rewritten"
        )
        return LogCheck(len(good), trail[-1], len(trail), missing)
    return LogCheck(len(good), trail[-1])


def _first_wrong(rows: Sequence[Any], key: Key) -> tuple[int | None, str | None]:
    """The first wrong entry, and the reason."""
    redactions = {s: r for r in rows if r.kind in TELLING and _committed(r) for s in _redacted(r)}
    rotations = [row.seq for row in rows if row.kind == ROTATION]
    if len(rotations) >= key.version:
        return rotations[0], f"entry {rotations[0]} tells of a key that nobody has"
    version = key.version - len(rotations)
    leaves = {row.seq: row.commitment for row in rows}
    signer: PublicKey | None = None
    before: str | None = None
    newest = ""
    for seq, row in enumerate(rows, 1):
        if row.seq != seq:
            return seq, f"entry {seq} is missing"
        if _DIGEST.fullmatch(row.commitment) is None:
            return seq, f"entry {seq} was changed"
        if row.salt is None:
            empty = (row.kind, row.detail, row.state) == (REDACTED, "{}", None)
            if not empty or seq not in redactions or row.at != redactions[seq].at:
                return seq, f"entry {seq} lost its content, and no entry of the log tells why"
        elif not _committed(row):
            return seq, f"entry {seq} was changed"
        if str(row.state).startswith("sha256:") and seq >= max(rotations, default=0):
            return seq, f"entry {seq} lost what it said of the tables, and no entry tells why"
        version += row.kind == ROTATION
        made = code(key.at(version), before, seq, row.commitment)
        if not hmac.compare_digest(made.encode(), row.mac.encode()):
            return seq, f"entry {seq} was not written with this workspace's key, or moved"
        before = row.mac
        if row.salt is None:
            continue
        if row.at < newest:
            return seq, f"entry {seq} is older than one before it"
        newest = row.at
        if row.kind == SIGNER and signer is None:
            signer = PublicKey.from_str(json.loads(row.detail)["key"])
        if row.kind in TELLING and not _signed(row, leaves, signer):
            return seq, f"entry {seq} tells of a redaction that this ledger's key did not sign"
    return None, None


def _redacted(row: Any) -> list[int]:
    """The entries that an entry names as redacted; its detail may be forged."""
    try:
        return [int(seq) for seq in json.loads(row.detail)["entries"]]
    except (ValueError, KeyError, TypeError):
        return []


def _committed(row: Any) -> bool:
    """Whether an entry matches its commitment."""
    if row.salt is None:
        return False
    leaf = commit(row.salt, row.seq, row.at, row.kind, row.detail, row.state)
    return row.commitment == str(leaf)


def _signed(row: Any, leaves: Mapping[int, str], signer: PublicKey | None) -> bool:
    try:
        said = json.loads(row.detail)
        gone = [leaves.get(seq, "") for seq in said["entries"]]
        message = redaction(row.at, said, gone, row.state)
        signature = bytes.fromhex(said["signature"])
    except (ValueError, KeyError, TypeError):
        return False
    return signer is not None and said["key"] == str(signer) and signer.verifies(message, signature)
