"""Holding the tables against what the log says of every entity in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, exc, select

from olvido.errors import StateError
from olvido.ledger.identity import Key
from olvido.ledger.store import schema, shape
from olvido.ledger.store.datasets import FORMS, RECORDS, find
from olvido.ledger.store.log import REDACTION, ROTATION, rows_of, stated
from olvido.ledger.store.state import KINDS, Entity, States, tables_of
from olvido.ledger.store.verifying import LogCheck, verify

_ADVICE = "See 'olvido data check', and go back to a copy that you trust"
_WORDS = {RECORDS: "the records of dataset", "closure-item": "an item in the closure of request"}

_T = TypeVar("_T")
_Said = tuple[str | None, int | None]
"""A digest (None: it is not there), and the number of the entry that tells so."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in the tables that is not what the log says.

    Attributes:
        what: an entity, or a table, in words.
        how: what is wrong with it.
        entry: the number of the entry that last told of it; None where none did.
    """

    what: str
    how: str
    entry: int | None = None

    def __str__(self) -> str:
        """In one line."""
        told = "" if self.entry is None else f" (entry {self.entry} of the log told of it last)"
        return f"{self.what} {self.how}{told}"


class _Unreadable(Exception):
    """The database could not give what it holds, or a value is not of its column's kind."""


def demand_sound(
    connection: Connection,
    key: Key,
    datasets: Collection[str] | None,
    check: LogCheck | None = None,
) -> None:
    """Raise StateError unless log and tables agree; the records only of these datasets.

    None stands for all of them. `check` is what came of verifying the log, where that was done.
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
) -> tuple[Difference, ...]:
    """Every entity whose tables are not what the log says. Believes the log: check it before.

    What cannot be read is told by its table, and the rest is compared all the same. `datasets` are
    ids of those whose records are gone through, None for all.
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
            found.append(Difference(_named(connection, entity), how, entry))
    for name, (said, entry) in last.items():
        kind, *rest = name.split(":")
        if said is not None and name not in now and kind not in unread:
            words = f"{kind} {' '.join(rest)}" if all(map(str.isdecimal, rest)) else f"a {kind}"
            found.append(Difference(words, "is missing", entry))
    broken = _broken(connection) if unread else set()
    unreadable: set[str] = set()
    for kind in unread:
        names = {table.name for table in tables_of(kind)}
        # Where each can be read by itself, a value is not of the kind that its column holds.
        unreadable |= (names & broken) or names
    found += [Difference(f"table {name}", "cannot be read whole") for name in sorted(unreadable)]
    foreign = dict.fromkeys(shape.misshapen(connection), "is not as Olvido makes it")
    foreign |= dict.fromkeys(shape.meddling(connection), "is not of Olvido's making")
    found += [Difference(what, how) for what, how in foreign.items()]
    if not unread and (said := shape.corrupt(connection)):
        found.append(Difference("database file", f"contradicts itself: SQLite says {said!r}"))
    return (*found, *_loose(connection, unreadable))


def _records(
    connection: Connection,
    states: States,
    last: dict[str, _Said],
    datasets: Collection[str] | None,
) -> dict[Entity, str]:
    """The digests of datasets' records; of those that are not asked for, what the log says."""
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


def _replayed(rows: Sequence[Any]) -> tuple[dict[str, _Said], list[Difference]]:
    """What the log last says of each entity, and where an entry went on from something else."""
    last: dict[str, _Said] = {}
    found: list[Difference] = []
    moved: dict[int, Any] = {}
    rotated = max((row.seq for row in rows if row.kind == ROTATION), default=0)
    # A rotated key says all of it anew.
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
                found.append(Difference(f"a {kind}", how, entry))
            last[name] = after, row.seq
    return last, found


def _named(connection: Connection, entity: Entity) -> str:
    """An entity in the words of who asks: by what it is called, where that can be read."""
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
    told = None
    if table is not None:
        query = select(table.c.id).where(table.c.pk == key)
        try:
            told = next((row.id for row in _tried(connection, _drained, query)), None)
        except _Unreadable:
            told = None
    words = [_WORDS.get(kind, kind), key if told is None else told, *rest]
    return " ".join(map(str, words))


def _loose(connection: Connection, unreadable: Collection[str]) -> Iterator[Difference]:
    """Rows that hang on nothing: what they belong to would not know them."""
    tables = [t for t in schema.metadata.sorted_tables if t.name not in unreadable]
    for table in tables:
        for column in table.columns:
            for target in [reference.column for reference in column.foreign_keys]:
                there = select(target.table.alias().c[target.name])
                hanging = select(column).where(column.is_not(None), column.not_in(there))
                if target.table in tables and connection.execute(hanging.limit(1)).first():
                    how = f"refer to {target.table.name} that are not there"
                    yield Difference(f"rows of {table.name}", how)
    people, links = schema.subjects, schema.record_subjects
    unnamed = select(people.c.pk).where(people.c.pk.not_in(select(links.c.subject)))
    if {people, links} <= set(tables) and connection.execute(unnamed.limit(1)).first():
        yield Difference("rows of subjects", "were added: no record is about them")


def _broken(connection: Connection) -> set[str]:
    """The tables that cannot be read from their first row to their last."""
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
    """Read what may be damaged. Raises _Unreadable, and the transaction goes on."""
    try:
        with connection.begin_nested():
            return read(connection, *asked)
    except (exc.DatabaseError, ValueError, TypeError) as error:
        raise _Unreadable from error
