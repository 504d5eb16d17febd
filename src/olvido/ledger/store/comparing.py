"""Compare the tables with the log's digests of every entity, and rotate the key.

A rotation makes every digest of an earlier version of the key anew, or destroys it, in one
transaction. The key file has the new secret already before, and also opens a ledger under the
earlier version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Select,
    String,
    Table,
    delete,
    exc,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from olvido.errors import StateError
from olvido.ledger.digests import canonical_json
from olvido.ledger.identity import Key
from olvido.ledger.signing import SigningKey
from olvido.ledger.store import log, schema
from olvido.ledger.store import verifying as shape
from olvido.ledger.store.datasets import BULK, FORMS, RECORDS, chunks, find
from olvido.ledger.store.log import REDACTION, ROTATION, WriteTransaction, rows_of, stated
from olvido.ledger.store.state import KINDS, Entity, States, tables_of
from olvido.ledger.store.verifying import LogCheck, verify

_ADVICE = "See 'olvido data check', and go back to a copy that you trust"
_WORDS = {RECORDS: "the records of dataset", "closure-item": "an item in the closure of request"}

_T = TypeVar("_T")
_Said = tuple[str | None, int | None]
"""An entity's digest (None: it does not exist), and the number of the entry with it."""


@dataclass(frozen=True, slots=True)
class TableDifference:
    """A difference between the tables and the log.

    Attributes:
        what: an entity, or a table, in words.
        how: what is wrong with it.
        entry: the number of the last log entry about it; None where there is none.
    """

    what: str
    how: str
    entry: int | None = None

    def __str__(self) -> str:
        """In one line."""
        source = "" if self.entry is None else f" (last in entry {self.entry} of the log)"
        return f"{self.what} {self.how}{source}"


class _Unreadable(Exception):
    """Raised where the database cannot read a row, or a value has the wrong type."""


def demand_sound(
    connection: Connection,
    key: Key,
    datasets: Collection[str] | None,
    check: LogCheck | None = None,
) -> None:
    """Raise StateError unless log and tables agree.

    `datasets` are those whose records are compared too, None for all. `check` is the result of
    verifying the log, where that was done.
    """
    check = check or verify(connection, key, None, ())
    if not check.sound:
        raise StateError(f"the ledger's log is not sound: {check.reason}. {_ADVICE}")
    chosen = None if datasets is None else [find(connection, d, None).id for d in datasets]
    found = differences(connection, key, chosen)
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise StateError(f"the ledger is not what its log says: {found[0]}{more}. {_ADVICE}")


def differences(
    connection: Connection, key: Key, datasets: Collection[str] | None = None
) -> tuple[TableDifference, ...]:
    """Every entity whose tables differ from the log. Trusts the log: check it before.

    An unreadable table is named, and the rest is still compared. `datasets` are the ids of those
    whose records are compared too, None for all.
    """
    states = States(key)
    last, found = _replayed(rows_of(connection))
    now: dict[str, tuple[Entity, str]] = {}
    unread: set[str] = set()
    for kind in (*KINDS, FORMS, RECORDS):
        try:
            if kind == RECORDS:
                digests = _records(connection, states, last, datasets)
            else:
                digests = _tried(connection, states.every, kind)
        except _Unreadable:
            unread.add(kind)
        else:
            now |= {states.name(entity): (entity, made) for entity, made in digests.items()}
    for name, (entity, digest) in now.items():
        said, entry = last.get(name, (None, None))
        if said != digest:
            how = "was added" if said is None else "was changed"
            found.append(TableDifference(_named(connection, entity), how, entry))
    for name, (said, entry) in last.items():
        kind, *rest = name.split(":")
        if said is not None and name not in now and kind not in unread:
            words = f"{kind} {' '.join(rest)}" if all(map(str.isdecimal, rest)) else f"a {kind}"
            found.append(TableDifference(words, "is missing", entry))
    broken = _broken(connection) if unread else set()
    unreadable: set[str] = set()
    for kind in unread:
        names = {table.name for table in tables_of(kind)}
        # If each table can be read by itself, a value has the wrong type.
        unreadable |= (names & broken) or names
    found += [
        TableDifference(f"table {name}", "cannot be read whole") for name in sorted(unreadable)
    ]
    foreign = dict.fromkeys(shape.misshapen(connection), "is not as Olvido makes it")
    foreign |= dict.fromkeys(shape.meddling(connection), "is not of Olvido's making")
    found += [TableDifference(what, how) for what, how in foreign.items()]
    if not unread and (said := shape.corrupt(connection)):
        found.append(TableDifference("database file", f"contradicts itself: SQLite says {said!r}"))
    return (*found, *_loose(connection, unreadable))


def _records(
    connection: Connection,
    states: States,
    last: dict[str, _Said],
    datasets: Collection[str] | None,
) -> dict[Entity, str]:
    """The digests of datasets' records; for those not asked for, the log's own."""
    known, found = schema.datasets, {}
    rows = _tried(connection, _drained, select(known.c.pk, known.c.id))
    for pk, identifier in rows:
        entity: Entity = (RECORDS, pk)
        if datasets is None or identifier in datasets:
            made = _tried(connection, states.one, entity)
        else:
            made, _ = last.get(states.name(entity), (None, None))
        if made is not None:
            found[entity] = made
    return found


def _replayed(rows: Sequence[Any]) -> tuple[dict[str, _Said], list[TableDifference]]:
    """The log's last digest of each entity, and the entries that contradict the one before."""
    last: dict[str, _Said] = {}
    found: list[TableDifference] = []
    moved: dict[int, Any] = {}
    rotated = max((row.seq for row in rows if row.kind == ROTATION), default=0)
    # The entry of a rotation has all digests anew.
    rows = rows[max(rotated - 1, 0) :]
    for row in rows:
        if row.kind == REDACTION:
            moved.update((int(seq), said) for seq, said in stated(row.state).items())
    for row in rows:
        if row.kind == REDACTION:
            continue
        said = stated(row.state) or moved.get(row.seq, {})
        for name, value in said.items():
            before, after = value if isinstance(value, list) else (None, value)
            known, entry = last.get(name, (None, None))
            if before != known:
                kind = name.partition(":")[0]
                how = f"had been changed before entry {row.seq} of the log went on from it"
                found.append(TableDifference(f"a {kind}", how, entry))
            last[name] = after, row.seq
    return last, found


def _named(connection: Connection, entity: Entity) -> str:
    """An entity in words for people: by its name, where that can be read."""
    kind, key, *rest = (*entity, "of names") if entity == (FORMS,) else entity
    table = {
        "dataset": schema.datasets,
        RECORDS: schema.datasets,
        "tombstone": schema.records,
        "model": schema.models,
        "model-tombstone": schema.models,
        "request": schema.requests,
        "closure-item": schema.requests,
    }.get(kind)
    known = None
    if table is not None:
        query = select(table.c.id).where(table.c.pk == key)
        try:
            known = next((row.id for row in _tried(connection, _drained, query)), None)
        except _Unreadable:
            known = None
    words = [_WORDS.get(kind, kind), key if known is None else known, *rest]
    return " ".join(map(str, words))


def _loose(connection: Connection, unreadable: Collection[str]) -> Iterator[TableDifference]:
    """Rows whose owner is missing."""
    tables = [t for t in schema.metadata.sorted_tables if t.name not in unreadable]
    for table in tables:
        for column in table.columns:
            for target in [reference.column for reference in column.foreign_keys]:
                there = select(target.table.alias().c[target.name])
                hanging = select(column).where(column.is_not(None), column.not_in(there))
                if target.table in tables and connection.execute(hanging.limit(1)).first():
                    how = f"refer to {target.table.name} that are not there"
                    yield TableDifference(f"rows of {table.name}", how)
    people, links = schema.subjects, schema.record_subjects
    unnamed = select(people.c.pk).where(people.c.pk.not_in(select(links.c.subject)))
    if {people, links} <= set(tables) and connection.execute(unnamed.limit(1)).first():
        yield TableDifference("rows of subjects", "were added: no record is about them")


def _broken(connection: Connection) -> set[str]:
    """The tables that cannot be read completely."""
    found = set()
    for table in schema.metadata.sorted_tables:
        try:
            _tried(connection, _drained, select(table))
        except _Unreadable:
            found.add(table.name)
    return found


def _drained(connection: Connection, query: Select[Any]) -> Sequence[Any]:
    return connection.execute(query).all()


def _tried(connection: Connection, read: Callable[..., _T], *asked: Any) -> _T:
    """Read a maybe damaged table. Raises _Unreadable; the transaction stays usable."""
    try:
        with connection.begin_nested():
            return read(connection, *asked)
    except (exc.DatabaseError, ValueError, TypeError) as error:
        raise _Unreadable from error


_MARKS = ("hmac-sha256:v", "content:v", "name:v", "place:v")
_NEAR = "near"
"""The key under which a request keeps forms of a name to search for, in hexadecimal digits."""
_FORM = re.compile("[0-9a-f]{32}")
_STEPS = schema.request_steps.c.detail
"""The column with that key; the other columns have text by people, which is no JSON."""


def rotate(change: WriteTransaction, old: Key, new: Key, signer: SigningKey) -> None:
    """Rotate a ledger to the next version of its key.

    Log entries with digests of the old key are redacted and written again, with the number and time
    that they had; the entities' states in earlier entries are destroyed and written anew.

    Raises:
        StateError: the ledger is not sound.
    """
    demand_sound(change.connection, old, None)
    log.name_signer(change, signer)
    _renew_tables(change, old, new)
    _renew_forms(change, old, new)
    change.connection.execute(
        update(schema.ledger).values(key_version=new.version, key_fingerprint=str(new.fingerprint))
    )
    rows = log.rows_of(change.connection)
    change.rekey(new)
    _forget_states(change, rows)
    held = [row for row in rows if row.kind not in log.UNREDACTED and _holds(row.detail)]
    rotation = {
        "version": new.version,
        "fingerprint": str(new.fingerprint),
        "reason": "the key was rotated",
    }
    log.empty(change, held, log.ROTATION, rotation, _all(change), signer)
    for row in held:
        detail = _nearer(json.loads(new.renewed(row.detail)), old, new)
        change.write(row.kind, detail | {"restates": {"entry": row.seq, "at": row.at}}, None)


def _renew_tables(change: WriteTransaction, old: Key, new: Key) -> None:
    """Renew the digests in every text of every table except the log."""
    for table in schema.metadata.sorted_tables:
        columns = [column for column in table.columns if isinstance(column.type, String)]
        for column in columns if table is not schema.log else ():
            _renew_column(change, table, column, old, new)


def _renew_column(
    change: WriteTransaction, table: Table, column: Column[Any], old: Key, new: Key
) -> None:
    key, marks = tuple(table.primary_key), [*_MARKS]
    if column is _STEPS:
        marks.append(f'"{_NEAR}":')
    marked = or_(*[column.contains(mark, autoescape=True) for mark in marks])
    rows = change.connection.execute(select(column, *key).where(marked)).all()
    for text, *values in rows:
        made = new.renewed(text)
        if column is _STEPS:
            made = canonical_json(_nearer(json.loads(made), old, new)).decode()
        if made != text:
            one = tuple_(*key) == tuple_(*values)
            change.connection.execute(update(table).where(one).values({column: made}))


def _renew_forms(change: WriteTransaction, old: Key, new: Key) -> None:
    table, connection = schema.subject_forms, change.connection
    rows = [
        {"form": new.current_form(row.form, old.version), "subject": row.subject}
        for row in connection.execute(select(table))
    ]
    connection.execute(delete(table))
    for chunk in chunks(sorted(rows, key=lambda row: (row["form"], row["subject"])), BULK):
        connection.execute(insert(table), chunk)


def _nearer(said: Any, old: Key, new: Key) -> Any:
    """A JSON value with all forms in it under the new key."""
    if isinstance(said, list):
        return [_nearer(one, old, new) for one in said]
    if not isinstance(said, Mapping):
        return said
    made = {name: _nearer(value, old, new) for name, value in said.items()}
    forms = said.get(_NEAR)
    if isinstance(forms, list) and all(_FORM.fullmatch(str(form)) for form in forms):
        kept = [new.current_form(bytes.fromhex(form), old.version).hex() for form in forms]
        made[_NEAR] = sorted(kept)
    return made


def _holds(detail: str) -> bool:
    """Whether an entry contains a digest of the old key."""
    return any(mark in detail for mark in _MARKS) or f'"{_NEAR}":[' in detail


def _forget_states(change: WriteTransaction, rows: Any) -> None:
    table = schema.log
    for row in rows:
        if row.state is not None:
            leaf = log.leaf_of(row.state)
            change.connection.execute(
                update(table).where(table.c.seq == row.seq).values(state=leaf)
            )


def _all(change: WriteTransaction) -> dict[str, str]:
    """The state of every entity, under the new key."""
    found: dict[str, str] = {}
    for kind in (*KINDS, FORMS, RECORDS):
        made = change.states.every(change.connection, kind)
        found.update((change.states.name(entity), digest) for entity, digest in made.items())
    return found
