"""SQL of what a request's closure found, and of what may not be brought in again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from olvido.ledger.facts import ClosureItem, Exit, now
from olvido.ledger.store import schema
from olvido.ledger.store.datasets import chunks
from olvido.ledger.store.requests import number


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
            at=datetime.fromisoformat(row.at),
        )
        for row in rows
    )


def put(
    connection: Connection, request: str, found: Mapping[str, tuple[Exit | None, str | None]]
) -> None:
    """Write down how these things left, whatever was known of them before."""
    table, pk, at = schema.closure_items, number(connection, request), now().isoformat()
    for chunk in chunks(found):
        connection.execute(delete(table).where(table.c.request == pk, table.c.item.in_(chunk)))
    rows = [
        {"request": pk, "item": item, "exit": exit, "detail": detail, "at": at}
        for item, (exit, detail) in found.items()
    ]
    if rows:
        connection.execute(insert(table), rows)


def suppress(connection: Connection, digests: Iterable[str]) -> int:
    """Put digests on the list; returns how many were not there."""
    fresh, at = set(digests) - suppressed(connection), now().isoformat()
    rows = [{"digest": digest, "at": at} for digest in sorted(fresh)]
    if rows:
        connection.execute(insert(schema.suppressions), rows)
    return len(rows)


def suppressed(connection: Connection) -> frozenset[str]:
    """Every digest on the list."""
    return frozenset(connection.execute(select(schema.suppressions.c.digest)).scalars())
