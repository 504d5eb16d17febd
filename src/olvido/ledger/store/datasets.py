"""SQL of datasets, their records and their subjects."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from itertools import chain, count, islice, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Table, func, insert, select, true

from olvido.errors import InputError, UnknownName
from olvido.ledger.digests import Digest, canonical_json
from olvido.ledger.facts import (
    Consent,
    DatasetVersion,
    Documentation,
    NewRecord,
    Record,
    SourceClass,
    Tombstone,
)
from olvido.ledger.identity import SubjectId
from olvido.ledger.store import schema

if TYPE_CHECKING:
    from olvido.ledger.store.log import WriteTransaction

BULK = 10_000
"""Rows in one executemany: enough to be fast, few enough to stay small in memory."""

RECORDS = "records"
"""The kind of the entity of all of a dataset's records with their subjects: too many for digests
of their own, they have one together, computed as they stream by."""

FORMS = "forms"
"""The kind of the entity of all forms of names: its digest is the sum of its rows' digests, to
which an import adds the new ones."""

_IN = 500
"""Values in one IN: below the least number of parameters any database takes."""

_PROVENANCE = ("source", "licence", "consent", "collected_at")

_LONGEST_NAME = 200


def chunks(values: Iterable[Any], size: int = _IN) -> Iterator[list[Any]]:
    """The values in lists of at most `size`."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def next_pk(connection: Connection, column: Column[int]) -> int:
    """The first free number of a table. The caller holds the write lock."""
    return (connection.execute(select(func.max(column))).scalar() or 0) + 1


def add(
    change: WriteTransaction,
    *,
    name: str,
    root: Digest,
    file: str,
    rows: int,
    records: Iterable[NewRecord],
    forms: Mapping[str, Collection[bytes]],
    parent: str | None,
    documentation: Documentation,
) -> DatasetVersion:
    """Insert the next version of a dataset with all its records, and forms of subjects' names."""
    connection, table = change.connection, schema.datasets
    if not name.strip() or len(name) > _LONGEST_NAME or not {"\n", "\0"}.isdisjoint(name):
        raise InputError(
            f"expected a name for the dataset, a line of 1 to {_LONGEST_NAME} characters, got "
            f"{name[:20]!r}" + (" and more" if len(name) > 20 else "")
        )
    if parent is not None:
        find(connection, parent, None)
    newest = connection.execute(
        select(func.max(table.c.version)).where(table.c.name == name)
    ).scalar()
    dataset = DatasetVersion(
        name=name,
        version=(newest or 0) + 1,
        root=root,
        rows=rows,
        file=file,
        parent=parent,
        documentation=documentation,
        created_at=change.at,
    )
    pk = next_pk(connection, table.c.pk)
    change.touch("dataset", [(pk,)])
    connection.execute(
        insert(table).values(
            pk=pk,
            id=dataset.id,
            name=name,
            version=dataset.version,
            root=str(root),
            rows=dataset.rows,
            file=file,
            parent=parent,
            documentation=canonical_json(asdict(documentation)).decode(),
            created_at=dataset.created_at.isoformat(),
        )
    )
    first = next_pk(connection, schema.subjects.c.pk)
    _add_forms(change, forms, first, _add_records(change, pk, records, first))
    return dataset


def _add_records(
    change: WriteTransaction, dataset: int, records: Iterable[NewRecord], first: int
) -> dict[str, int]:
    """Add records, and return the numbers of their subjects; new ones begin with `first`."""
    connection, stream = change.connection, change.states.stream()
    pk = next_pk(connection, schema.records.c.pk)
    known: dict[str, int] = {}
    for chunk in chunks(records, BULK):
        # By columns: a third of the time of row by row.
        pks = range(pk, pk := pk + len(chunk))
        ids, digests, people, provenances = zip(*chunk, strict=True)
        # An empty column needs no parameter for every row.
        columns = {
            name: map(itemgetter(at), provenances)
            for at, name in enumerate(_PROVENANCE)
            if any(provenance[at] for provenance in set(provenances))
        }
        rows = zip(pks, repeat(dataset), ids, digests, *columns.values(), strict=False)
        _insert(connection, schema.records, ("pk", "dataset", "id", "digest", *columns), list(rows))
        # In the order of their records, so that the index from subject to record grows at its end.
        named = dict.fromkeys(chain.from_iterable(people))
        known |= _subject_pks(connection, [s for s in named if s not in known], first)
        links = [(pk, known[s]) for pk, subjects in zip(pks, people, strict=True) for s in subjects]
        _insert(connection, schema.record_subjects, ("record", "subject"), links)
        stream.add(pks, ids, digests, provenances, people)
    change.state((RECORDS, dataset), stream.digest())
    return known


def _add_forms(
    change: WriteTransaction,
    forms: Mapping[str, Collection[bytes]],
    first: int,
    known: dict[str, int],
) -> None:
    """Keep forms of names; `first` is the argument and `known` the result of `_add_records`."""
    connection, table = change.connection, schema.subject_forms
    known |= _subject_pks(connection, [s for s in forms if s not in known], first)
    # Sorted like the table, which then grows at its end.
    rows = sorted((form, known[subject]) for subject, some in forms.items() for form in some)
    # A new person can have no forms in the table yet.
    seen = {form for form, subject in rows if subject < first}
    there: set[tuple[bytes, int]] = set()
    for chunk in chunks(seen):
        query = select(table.c.form, table.c.subject).where(table.c.form.in_(chunk))
        there.update((row.form, row.subject) for row in connection.execute(query))
    fresh = [row for row in rows if row not in there] if there else rows
    for chunk in chunks(fresh, BULK):
        _insert(connection, table, ("form", "subject"), chunk)
    if fresh:
        before, whose = change.last(FORMS), {known[subject]: subject for subject in forms}
        said = ((form, whose[pk]) for form, pk in fresh)
        change.state((FORMS,), change.states.sum_of(said, before), before)


def near_subjects(connection: Connection, forms: Collection[bytes]) -> tuple[SubjectId, ...]:
    """The subjects with any of these forms of their names."""
    f, s = schema.subject_forms, schema.subjects
    found: set[str] = set()
    for chunk in chunks(forms):
        found.update(
            connection.execute(select(s.c.subject).join(f).where(f.c.form.in_(chunk))).scalars()
        )
    return tuple(sorted(map(SubjectId.from_str, found)))


def _insert(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: list[tuple[Any, ...]],
) -> None:
    """Insert rows whose values stand in the order of these columns and need no conversion.

    A driver that takes tuples gets them directly: making a dictionary of each and undoing it would
    cost as much as the insertion.
    """
    if not rows:
        return
    statement = insert(table).compile(dialect=connection.dialect, column_keys=columns)
    if statement.positional:
        connection.exec_driver_sql(str(statement), rows)
    else:
        connection.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in rows])


def _subject_pks(connection: Connection, subjects: Collection[str], first: int) -> dict[str, int]:
    """The numbers of subjects; those without one get one, beginning with `first`."""
    table = schema.subjects
    known: dict[str, int] = {}
    if first > 1:
        for chunk in chunks(subjects):
            for row in connection.execute(select(table).where(table.c.subject.in_(chunk))):
                known[row.subject] = row.pk
    new = [subject for subject in subjects if subject not in known]
    fresh = dict(zip(new, count(next_pk(connection, table.c.pk)), strict=False))
    _insert(connection, table, ("pk", "subject"), [(pk, s) for s, pk in fresh.items()])
    return known | fresh


def every(connection: Connection) -> tuple[DatasetVersion, ...]:
    """All datasets, the oldest first."""
    return tuple(map(_dataset, connection.execute(_all().order_by(schema.datasets.c.pk))))


def find(connection: Connection, name_or_id: str, version: int | None) -> DatasetVersion:
    """The dataset with this id, or the given or newest version of this name."""
    table = schema.datasets
    rows = connection.execute(
        _all()
        .where((table.c.id == name_or_id) | (table.c.name == name_or_id))
        .order_by(table.c.version.desc())
    ).all()
    if not rows:
        raise UnknownName("dataset", name_or_id, {d.name for d in every(connection)})
    if version is None:
        return _dataset(rows[0])
    for row in rows:
        if row.version == version:
            return _dataset(row)
    known = ", ".join(str(row.version) for row in reversed(rows))
    raise InputError(f"dataset {name_or_id!r} has no version {version!r}: its versions are {known}")


def _all() -> Any:
    return select(schema.datasets)


def _dataset(row: Any) -> DatasetVersion:
    documentation = json.loads(row.documentation)
    return DatasetVersion(
        name=row.name,
        version=row.version,
        root=Digest.from_str(row.root),
        rows=row.rows,
        file=row.file,
        parent=row.parent,
        documentation=Documentation(
            **documentation | {"source_class": SourceClass(documentation["source_class"])}
        ),
        created_at=datetime.fromisoformat(row.created_at),
    )


def records_of_dataset(
    connection: Connection, dataset: DatasetVersion, *, tombstoned: bool = False
) -> tuple[Record, ...]:
    """The records of a dataset in the order of their ids: all of them, or the tombstoned ones."""
    r, d, t = schema.records, schema.datasets, schema.tombstones
    links, s = schema.record_subjects, schema.subjects
    wanted = d.c.id == dataset.id
    inside = r.join(d)
    if tombstoned:
        inside = inside.join(t, t.c.record == r.c.pk)
    rows = connection.execute(_RECORDS.where(wanted, t.c.at.is_not(None) if tombstoned else true()))
    subjects = connection.execute(
        select(links.c.record, s.c.subject)
        .select_from(inside.join(links, links.c.record == r.c.pk).join(s))
        .where(wanted)
    )
    found = _with_subjects(rows, subjects)
    return tuple(sorted((record for _, record in found), key=lambda record: record.id))


def withdrawn(connection: Connection, dataset: DatasetVersion) -> frozenset[str]:
    """Ids of the records whose consent was withdrawn."""
    r, d = schema.records, schema.datasets
    query = select(r.c.id).join(d).where(d.c.id == dataset.id, r.c.consent == Consent.WITHDRAWN)
    return frozenset(connection.execute(query).scalars())


def records_of_subject(
    connection: Connection, subject: SubjectId
) -> tuple[tuple[int, Record], ...]:
    """A subject's records with their numbers, by dataset and id; none for an unknown subject."""
    links, s = schema.record_subjects, schema.subjects
    numbers = connection.execute(
        select(links.c.record).join(s).where(s.c.subject == str(subject))
    ).scalars()
    return numbered_records(connection, numbers)


def records_of_sources(
    connection: Connection, sources: Collection[str]
) -> tuple[tuple[int, Record], ...]:
    """The records that came from any of these sources, with their numbers."""
    r = schema.records
    numbers = connection.execute(select(r.c.pk).where(r.c.source.in_(sources))).scalars()
    return numbered_records(connection, numbers)


def tombstoned_records(connection: Connection) -> tuple[tuple[int, Record], ...]:
    """Every record that carries a tombstone, with its number."""
    return numbered_records(
        connection, connection.execute(select(schema.tombstones.c.record)).scalars()
    )


def numbered_records(
    connection: Connection, numbers: Iterable[int]
) -> tuple[tuple[int, Record], ...]:
    """The records of these numbers, in their order."""
    r, links, s = schema.records, schema.record_subjects, schema.subjects
    found: list[tuple[int, Record]] = []
    for chunk in chunks(numbers):
        rows = connection.execute(_RECORDS.where(r.c.pk.in_(chunk)))
        others = connection.execute(
            select(links.c.record, s.c.subject).join(s).where(links.c.record.in_(chunk))
        )
        found += _with_subjects(rows.all(), others.all())
    return tuple(sorted(found, key=lambda pair: pair[0]))


_RECORDS = select(
    schema.datasets.c.id.label("dataset_id"), schema.records, schema.tombstones
).select_from(
    schema.records.join(schema.datasets).outerjoin(
        schema.tombstones, schema.tombstones.c.record == schema.records.c.pk
    )
)


def _with_subjects(rows: Iterable[Any], links: Iterable[Any]) -> list[tuple[int, Record]]:
    subjects: dict[int, list[SubjectId]] = {}
    for record, subject in links:
        subjects.setdefault(record, []).append(SubjectId.from_str(subject))
    return [
        (
            row.pk,
            Record(
                dataset=row.dataset_id,
                id=row.id,
                digest=Digest(row.digest.hex()),
                subjects=tuple(sorted(subjects.get(row.pk, ()))),
                source=row.source,
                licence=row.licence,
                consent=Consent(row.consent),
                collected_at=row.collected_at and date.fromisoformat(row.collected_at),
                tombstone=row.at and Tombstone(row.reason, datetime.fromisoformat(row.at)),
            ),
        )
        for row in rows
    ]


def known_ids(connection: Connection, dataset: DatasetVersion, ids: Iterable[str]) -> set[str]:
    """The ids among these that records of a dataset have."""
    r, d = schema.records, schema.datasets
    found: set[str] = set()
    for chunk in chunks(sorted(set(ids))):
        query = select(r.c.id).join(d).where(d.c.id == dataset.id, r.c.id.in_(chunk))
        found.update(connection.execute(query).scalars())
    return found


def record_pks(connection: Connection, dataset: DatasetVersion, ids: Iterable[str]) -> list[int]:
    """The numbers of these records of a dataset. Raises UnknownName for the first it lacks."""
    r, d = schema.records, schema.datasets
    wanted = sorted(set(ids))
    found: dict[str, int] = {}
    for chunk in chunks(wanted):
        query = select(r.c.id, r.c.pk).join(d).where(d.c.id == dataset.id, r.c.id.in_(chunk))
        found.update((row.id, row.pk) for row in connection.execute(query))
    for identifier in wanted:
        if identifier not in found:
            known = connection.execute(
                select(r.c.id).join(d).where(d.c.id == dataset.id).limit(1000)
            ).scalars()
            raise UnknownName(f"record of dataset {dataset.name!r}", identifier, known)
    return [found[identifier] for identifier in wanted]


def add_tombstones(
    change: WriteTransaction, dataset: DatasetVersion, ids: Iterable[str], reason: str
) -> int:
    """Mark records as no longer used; an earlier tombstone stays. Return the number of new ones."""
    connection, table = change.connection, schema.tombstones
    numbers = record_pks(connection, dataset, ids)
    marked: set[int] = set()
    for chunk in chunks(numbers):
        query = select(table.c.record).where(table.c.record.in_(chunk))
        marked.update(connection.execute(query).scalars())
    at = change.at.isoformat()
    fresh = [{"record": pk, "reason": reason, "at": at} for pk in numbers if pk not in marked]
    change.touch("tombstone", [(row["record"],) for row in fresh])
    for chunk in chunks(fresh, BULK):
        connection.execute(insert(table), chunk)
    return len(fresh)
