"""SQL for one dataset or one model: counts, and the requests that concern it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, select

from olvido.ledger.facts import DatasetVersion, RequestStatus
from olvido.ledger.store import schema
from olvido.ledger.store.datasets import chunks

_TELLING = (RequestStatus.LOCATED, RequestStatus.PUBLISHED)
"""Steps that name the models that held the data, and those made or destroyed."""


@dataclass(frozen=True, slots=True)
class SubjectCounts:
    """Counts of a dataset's records, those with a tombstone included.

    Attributes:
        people: the number of subjects.
        nameless: the number of records without a subject.
        sources: the number of sources.
        consents: the number of records by consent.
        tombstones: the number of records with a tombstone, by reason.
    """

    people: int
    nameless: int
    sources: int
    consents: Mapping[str, int]
    tombstones: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Touch:
    """The relation of a request to a model.

    Attributes:
        request: the request's id.
        located: whether the model was found to hold its records, or to descend from one to destroy.
        answer: its answer, if this model forgot for it, or was made or destroyed by it.
        listed, exit: whether its closure names the model, and the model's exit.
    """

    request: str
    located: bool = False
    answer: Mapping[str, Any] | None = None
    listed: bool = False
    exit: str | None = None


def count(connection: Connection, dataset: DatasetVersion) -> SubjectCounts:
    """The counts of a dataset."""
    r, links, t = schema.records, schema.record_subjects, schema.tombstones
    d = schema.datasets
    pk = connection.execute(select(d.c.pk).where(d.c.id == dataset.id)).scalar_one()
    inside = r.c.dataset == pk
    about = select(
        func.count(links.c.subject.distinct()), func.count(links.c.record.distinct())
    ).join(r, r.c.pk == links.c.record)
    people, named = connection.execute(about.where(inside)).one()
    consents = select(r.c.consent, func.count()).where(inside).group_by(r.c.consent)
    reasons = select(t.c.reason, func.count()).join(r).where(inside).group_by(t.c.reason)
    sources = select(func.count(r.c.source.distinct())).where(inside)
    return SubjectCounts(
        people=people,
        nameless=dataset.rows - named,
        sources=connection.execute(sources).scalar_one(),
        consents=_pairs(connection, consents),
        tombstones=_pairs(connection, reasons),
    )


def _pairs(connection: Connection, query: Any) -> dict[Any, Any]:
    return {row[0]: row[1] for row in connection.execute(query)}


def of_dataset(connection: Connection, dataset: DatasetVersion) -> frozenset[str]:
    """Ids of requests about a person, a source or records of a dataset, or closed over it."""
    r, q, items = schema.records, schema.requests, schema.closure_items
    links, s, d = schema.record_subjects, schema.subjects, schema.datasets
    pk = connection.execute(select(d.c.pk).where(d.c.id == dataset.id)).scalar_one()
    named = [f"{kind}:{dataset.id}" for kind in ("rows", "near")]
    closed = select(q.c.id).join(items).where(items.c.item.in_(named))
    found = set(connection.execute(closed).scalars())
    # Looked up for each person in a request, and not for each record of the dataset.
    member = exists().where(links.c.subject == s.c.pk, links.c.record == r.c.pk, r.c.dataset == pk)
    about = select(q.c.id).join(s, s.c.subject == q.c.subject).where(member)
    found |= set(connection.execute(about).scalars())
    # Other names and sources are in the scope, which is empty for most requests about a person.
    scopes = connection.execute(select(q.c.id, q.c.scope).where(q.c.scope != "{}"))
    asked = {row.id: json.loads(row.scope) for row in scopes}
    others = {name for scope in asked.values() for name in scope.get("also", ())}
    sources = {scope["source"] for scope in asked.values() if "source" in scope}
    known: set[str] = set()
    for chunk in chunks(sorted(others)):
        query = select(s.c.subject).where(s.c.subject.in_(chunk), member)
        known.update(connection.execute(query).scalars())
    for chunk in chunks(sorted(sources)):
        query = select(r.c.source).where(r.c.dataset == pk, r.c.source.in_(chunk)).distinct()
        known.update(connection.execute(query).scalars())
    for request, scope in asked.items():
        here = {scope.get("source"), *scope.get("also", ())} & known
        named_here = {scope.get("dataset"), *scope.get("versions", ())}
        if here or dataset.id in named_here:
            found.add(request)
    return frozenset(found)


def of_model(connection: Connection, model: str) -> tuple[Touch, ...]:
    """The requests that concern the model of this id, the oldest first."""
    q, steps, items = schema.requests, schema.request_steps, schema.closure_items
    quoted = f'"{model}"'
    found: dict[int, dict[str, Any]] = {}
    statement = (
        select(steps.c.request, steps.c.status, steps.c.detail)
        .where(steps.c.status.in_(_TELLING), steps.c.detail.contains(quoted))
        .order_by(steps.c.request, steps.c.position)
    )
    for row in connection.execute(statement):
        one = found.setdefault(row.request, {})
        if row.status == RequestStatus.LOCATED:
            one["located"] = True
        else:
            one["answer"] = json.loads(row.detail).get("answer")
    closed = select(items.c.request, items.c.exit).where(items.c.item == f"model:{model}")
    for pk, exit in connection.execute(closed):
        found.setdefault(pk, {}).update(listed=True, exit=exit)
    asked = select(q.c.pk, q.c.id).where(q.c.scope.contains(quoted))
    names = _pairs(connection, asked)
    for pk in names:
        found.setdefault(pk, {})
    for chunk in chunks(found.keys() - names):
        query = select(q.c.pk, q.c.id).where(q.c.pk.in_(chunk))
        names |= _pairs(connection, query)
    return tuple(Touch(names[pk], **found[pk]) for pk in sorted(found))
