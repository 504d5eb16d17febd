"""SQL for models, their uses of data, and their aliases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from olvido.errors import InputError, Overtaken, UnknownName
from olvido.ledger.digests import Digest, canonical_json
from olvido.ledger.facts import DatasetUse, Guarantee, Model, Tombstone, UseBrief
from olvido.ledger.lineage import Lineage
from olvido.ledger.store import schema
from olvido.ledger.store.datasets import chunks, find, next_pk, record_pks

if TYPE_CHECKING:
    from olvido.ledger.store.log import WriteTransaction


def add(change: WriteTransaction, model: Model, uses: Sequence[DatasetUse]) -> bool:
    """Insert a model with its uses; whether it is new. The same one twice is no error."""
    connection, table = change.connection, schema.models
    numbers = _numbers(connection)
    uses = [replace(use, dataset=find(connection, use.dataset, None).id) for use in uses]
    if len({use.dataset for use in uses}) < len(uses):
        raise InputError(
            f"expected one use for each dataset, got two in {[u.dataset for u in uses]}"
        )
    if model.id in numbers:
        _same_again(connection, model, uses)
        return False
    for parent in model.parents:
        if parent not in numbers:
            raise UnknownName("model", parent, numbers)
    pk = next_pk(connection, table.c.pk)
    change.touch("model", [(pk,)])
    # If the clock stepped back since it was made: nothing may be newer than its log entry.
    created_at = min(model.created_at, change.at)
    connection.execute(
        insert(table).values(
            pk=pk,
            id=model.id,
            digest=str(model.digest),
            function=model.function and str(model.function),
            path=model.path,
            learner=model.learner,
            method=model.method,
            recipe=canonical_json(dict(model.recipe)).decode(),
            seed=model.seed,
            environment=canonical_json(dict(model.environment)).decode(),
            created_at=created_at.isoformat(),
        )
    )
    parents = [
        {"model": pk, "position": position, "parent": numbers[parent]}
        for position, parent in enumerate(model.parents)
    ]
    if parents:
        connection.execute(insert(schema.model_parents), parents)
    for use in uses:
        _add_use(connection, pk, use)
    return True


def refuse_gone(connection: Connection, model: Model) -> None:
    """Raise Overtaken where a model was removed by now, or a training began with a removed one.

    The data that the removal was to erase are in the new model.
    """
    known = {found.id: found for found in every(connection)}
    if known[model.id].tombstone is not None:
        raise Overtaken(
            f"model {model.id} is gone by now, and what was made is the same once more: it was not "
            "entered"
        )
    for parent in model.parents if model.method is None else ():
        if known[parent].tombstone is not None:
            raise Overtaken(
                f"model {parent}, with which the training began, is gone by now: what came of it "
                "was not entered"
            )


def refuse_holding(model: Model, tombstoned: Lineage) -> None:
    """Raise Overtaken where a model holds records that carry a tombstone by now.

    Args:
        model: the model that was trained, or that a training would begin with.
        tombstoned: the lineage of all such records.
    """
    held = {state.model.id: state.contained for state in tombstoned.models}
    for parent in model.parents if model.method is None else ():
        if held.get(parent):
            raise Overtaken(
                f"model {parent}, with which the training began, holds {len(held[parent])} records "
                "that were to be forgotten, and what came of it was not entered: begin with a "
                "model that forgot them"
            )
    names = {dataset.id: dataset.name for dataset in tombstoned.datasets}
    learned = Counter(record.dataset for record in held.get(model.id, ()))
    for dataset, count in learned.items():
        raise Overtaken(
            f"{count} records of dataset {names[dataset]} were to be forgotten while a model was "
            "made that holds them, and it was not entered: begin again"
        )


def _same_again(connection: Connection, model: Model, uses: Sequence[DatasetUse]) -> None:
    def order(use: DatasetUse) -> str:
        return use.dataset

    if sorted(uses, key=order) != sorted(uses_of(connection, model.id), key=order):
        raise InputError(
            f"model {model.id} is in the ledger with other uses of data than the ones given: "
            "the same weights, parents and recipe cannot come from different data"
        )


def _add_use(connection: Connection, model: int, use: DatasetUse) -> None:
    dataset = find(connection, use.dataset, None)
    number = _number(connection, dataset.id)
    pk = next_pk(connection, schema.uses.c.pk)
    connection.execute(
        insert(schema.uses).values(pk=pk, model=model, dataset=number, guarantee=use.guarantee)
    )
    for table, ids in ((schema.use_excluded, use.excluded), (schema.use_forgotten, use.forgotten)):
        records = record_pks(connection, dataset, ids)
        if records:
            connection.execute(insert(table), [{"record": r, "use": pk} for r in records])


def certify(change: WriteTransaction, model: Model, uses: Sequence[DatasetUse]) -> int:
    """Add records to those that a training bounds as it is; return the number of new ones."""
    connection, fresh = change.connection, 0
    if model.method is not None:
        raise InputError(f"model {model.id} was made by forgetting, and no training bounds it")
    number = _numbers(connection)[model.id]
    known = {use.dataset: use for use in uses_of(connection, model.id)}
    change.touch("model", [(number,)])
    for use in uses:
        if use.guarantee is not Guarantee.CERTIFIED:
            raise InputError(f"expected records that are certified, got {use.guarantee}")
        dataset = find(connection, use.dataset, None)
        own = known.get(dataset.id)
        if own is None or (left := own.excluded & use.forgotten):
            raise InputError(
                f"model {model.id} did not learn "
                + (f"dataset {dataset.id}" if own is None else f"{len(left)} of these records")
            )
        u = schema.uses
        mine = (u.c.model == number) & (u.c.dataset == _number(connection, dataset.id))
        pk = connection.execute(select(u.c.pk).where(mine)).scalar_one()
        records = record_pks(connection, dataset, use.forgotten - own.forgotten)
        fresh += len(records)
        if records:
            connection.execute(update(u).where(u.c.pk == pk).values(guarantee=use.guarantee))
            rows = [{"record": record, "use": pk} for record in records]
            connection.execute(insert(schema.use_forgotten), rows)
    return fresh


def _number(connection: Connection, dataset: str) -> int:
    table = schema.datasets
    found: int = connection.execute(select(table.c.pk).where(table.c.id == dataset)).scalar_one()
    return found


def _numbers(connection: Connection) -> dict[str, int]:
    query = select(schema.models.c.id, schema.models.c.pk)
    return {row.id: row.pk for row in connection.execute(query)}


def every(connection: Connection) -> tuple[Model, ...]:
    """All models, parents before their children."""
    numbers = {pk: identifier for identifier, pk in _numbers(connection).items()}
    parents: dict[int, list[str]] = {}
    table = schema.model_parents
    for row in connection.execute(select(table).order_by(table.c.model, table.c.position)):
        parents.setdefault(row.model, []).append(numbers[row.parent])
    t = schema.model_tombstones
    gone = {
        row.model: Tombstone(row.reason, datetime.fromisoformat(row.at))
        for row in connection.execute(select(t))
    }
    rows = connection.execute(select(schema.models).order_by(schema.models.c.pk))
    return tuple(
        Model(
            digest=Digest.from_str(row.digest),
            function=row.function and Digest.from_str(row.function),
            path=row.path,
            learner=row.learner,
            parents=tuple(parents.get(row.pk, ())),
            method=row.method,
            recipe=json.loads(row.recipe),
            seed=row.seed,
            environment=json.loads(row.environment),
            created_at=datetime.fromisoformat(row.created_at),
            tombstone=gone.get(row.pk),
        )
        for row in rows
    )


def find_model(connection: Connection, ref: str) -> Model:
    """The model with this alias, id, unique prefix of an id, or digest of weights."""
    models = every(connection)
    names = aliases(connection)
    if ref in names:
        return next(model for model in models if model.id == names[ref])
    found = [m for m in models if ref == str(m.digest) or (ref and m.id.startswith(ref))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownName("model", ref, [*names, *(model.id for model in models)])
    raise InputError(
        f"{ref!r} names {len(found)} models: give one of {', '.join(m.id for m in found)}"
    )


def uses_of(connection: Connection, model: str) -> tuple[DatasetUse, ...]:
    """The complete uses of data in this model's own training or forgetting."""
    m = schema.models
    return uses_by_model(connection, None, where=m.c.id == model).get(model, ())


def uses_by_model(
    connection: Connection, records: Iterable[int] | None, *, where: Any = True
) -> dict[str, tuple[DatasetUse, ...]]:
    """Uses by model id, with only these of the records left out or forgotten; None: with all."""
    m, d, u = schema.models, schema.datasets, schema.uses
    wanted = None if records is None else list(records)
    rows = connection.execute(
        select(u.c.pk, u.c.guarantee, m.c.id.label("model"), d.c.id.label("dataset"))
        .select_from(u.join(m).join(d))
        .where(where)
        .order_by(u.c.pk)
    ).all()
    numbers = [row.pk for row in rows]
    excluded = _members(connection, schema.use_excluded, wanted, numbers)
    forgotten = _members(connection, schema.use_forgotten, wanted, numbers)
    uses: dict[str, tuple[DatasetUse, ...]] = {}
    for row in rows:
        gone = frozenset(forgotten.get(row.pk, ()))
        use = DatasetUse(
            dataset=row.dataset,
            excluded=frozenset(excluded.get(row.pk, ())),
            forgotten=gone,
            guarantee=Guarantee(row.guarantee) if gone else None,
        )
        uses[row.model] = (*uses.get(row.model, ()), use)
    return uses


def uses_in_brief(
    connection: Connection, ids: Collection[str] | None
) -> dict[str, tuple[UseBrief, ...]]:
    """Uses by model id, of these models or of all, without the ids of records."""
    m, d, u = schema.models, schema.datasets, schema.uses
    columns = (u.c.pk, u.c.guarantee, m.c.id, d.c.id.label("dataset"), d.c.name, d.c.version)
    query = select(*columns).select_from(u.join(m).join(d)).order_by(u.c.pk)
    parts = [query] if ids is None else [query.where(m.c.id.in_(c)) for c in chunks(sorted(ids))]
    rows = [row for part in parts for row in connection.execute(part)]
    numbers = [row.pk for row in rows]
    excluded = _counted(connection, schema.use_excluded, numbers)
    forgotten = _counted(connection, schema.use_forgotten, numbers)
    uses: dict[str, tuple[UseBrief, ...]] = {}
    for row in rows:
        gone = forgotten.get(row.pk, 0)
        use = UseBrief(
            dataset=row.dataset,
            name=row.name,
            version=row.version,
            excluded=excluded.get(row.pk, 0),
            forgotten=gone,
            guarantee=Guarantee(row.guarantee) if gone else None,
        )
        uses[row.id] = (*uses.get(row.id, ()), use)
    return uses


def _counted(connection: Connection, table: Table, uses: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for chunk in chunks(uses):
        query = select(table.c.use, func.count()).where(table.c.use.in_(chunk))
        found.update((use, count) for use, count in connection.execute(query.group_by(table.c.use)))
    return found


def _members(
    connection: Connection, table: Table, records: Sequence[int] | None, uses: Sequence[int]
) -> dict[int, list[str]]:
    column, values = (table.c.use, uses) if records is None else (table.c.record, records)
    members: dict[int, list[str]] = {}
    for chunk in chunks(values):
        query = (
            select(table.c.use, schema.records.c.id)
            .join(schema.records, schema.records.c.pk == table.c.record)
            .where(column.in_(chunk))
        )
        for row in connection.execute(query):
            members.setdefault(row.use, []).append(row.id)
    return members


def aliases(connection: Connection) -> dict[str, str]:
    """Every alias with the id of the model it points to."""
    a, m = schema.aliases, schema.models
    rows = connection.execute(select(a.c.name, m.c.id).select_from(a.join(m)).order_by(a.c.name))
    return {row.name: row.id for row in rows}


def tombstone(change: WriteTransaction, model: Model, reason: str) -> bool:
    """Mark a model whose weights were removed, and remove its aliases; whether that is new."""
    if model.tombstone is not None:
        return False
    connection, table = change.connection, schema.aliases
    pk = _numbers(connection)[model.id]
    named = connection.execute(select(table.c.name).where(table.c.model == pk)).scalars()
    change.touch("alias", [(name,) for name in named])
    change.touch("model-tombstone", [(pk,)])
    connection.execute(delete(table).where(table.c.model == pk))
    at = change.at.isoformat()
    connection.execute(insert(schema.model_tombstones).values(model=pk, reason=reason, at=at))
    return True


def set_alias(change: WriteTransaction, name: str, model: Model) -> bool:
    """Point an alias to a model, whatever it pointed to before; whether that is new."""
    connection, table = change.connection, schema.aliases
    known = _numbers(connection)
    if not name.strip() or name in known:
        raise InputError(f"expected a name for the alias that is no model's id, got {name!r}")
    change.touch("alias", [(name,)])
    before = connection.execute(select(table.c.model).where(table.c.name == name)).scalar()
    connection.execute(delete(table).where(table.c.name == name))
    connection.execute(insert(table).values(name=name, model=known[model.id]))
    return before != known[model.id]
