"""SQL of what a request's closure found, and of what may not be brought in again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select

from olvido.ledger.facts import ClosureItem, Ending, Exit
from olvido.ledger.identity import Key
from olvido.ledger.store import schema
from olvido.ledger.store.datasets import chunks
from olvido.ledger.store.requests import number

if TYPE_CHECKING:
    from olvido.ledger.store.changing import Change

_BY_ID = ("rows", "near", "model", "checkpoints", "activations")
_DIGEST = re.compile(r"place:v[0-9]+:([0-9a-f]{64})")


def sealed(key: Key, item: str) -> str:
    """An item without its place, which is told by a keyed digest; as it is where it has an id."""
    kind, colon, place = item.partition(":")
    if not colon or kind in _BY_ID or _DIGEST.fullmatch(place):
        return item
    return f"{kind}:{key.place(place)}"


def is_sealed(item: str) -> bool:
    """Whether an item's place is told by a digest alone."""
    return _DIGEST.fullmatch(item.partition(":")[2]) is not None


def items(connection: Connection, request: str) -> tuple[ClosureItem, ...]:
    """Everything found for a request, by name."""
    table = schema.closure_items
    rows = connection.execute(
        select(table).where(table.c.request == number(connection, request)).order_by(table.c.item)
    )
    return tuple(
        ClosureItem(
            item=row.item,
            exit=None if row.exit is None else Exit(row.exit),
            detail=row.detail,
            by_word=row.by_word,
            at=datetime.fromisoformat(row.at),
        )
        for row in rows
    )


def put(change: Change, key: Key, request: str, found: Mapping[str, Ending]) -> None:
    """Write down how these things left, whatever was known of them before.

    Where something lay that was erased is kept as a digest alone: nobody has to look there again
    to find it, and names of files may be those of people.
    """
    connection, table, at = change.connection, schema.closure_items, change.at.isoformat()
    pk = number(connection, request)
    hidden = {item: sealed(key, item) for item in found}
    both = sorted({*hidden, *hidden.values()})
    change.touch("closure-item", [(pk, item) for item in both])
    for chunk in chunks(both):
        connection.execute(delete(table).where(table.c.request == pk, table.c.item.in_(chunk)))
    rows = [
        {
            "request": pk,
            "item": hidden[item] if said.exit is Exit.ERASED else item,
            "at": at,
            **said._asdict(),
        }
        for item, said in found.items()
    ]
    if rows:
        connection.execute(insert(table), rows)


def suppress(change: Change, digests: Iterable[str]) -> int:
    """Put digests on the list; returns how many were not there."""
    fresh, at = set(digests) - suppressed(change.connection), change.at.isoformat()
    rows = [{"digest": digest, "at": at} for digest in sorted(fresh)]
    change.touch("suppression", [(digest,) for digest in sorted(fresh)])
    if rows:
        change.connection.execute(insert(schema.suppressions), rows)
    return len(rows)


def suppressed(connection: Connection) -> frozenset[str]:
    """Every digest on the list."""
    return frozenset(connection.execute(select(schema.suppressions.c.digest)).scalars())
