"""What the workflow's tables may hold: JSON, and workflows that a worker here began.

DBOS reads a row as that row itself says, and it knows pickle: whoever writes to its tables, or
hands over a workspace, would run code in the worker, which holds both keys. So pickle is switched
off for as long as a worker is at it, and tables with anything else than JSON are refused before
DBOS looks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import MetaData, create_engine, inspect, select
from sqlalchemy.pool import NullPool

from olvido.errors import StateError

_SCHEMA = "dbos"
_VALUES = ("inputs", "output", "error", "value", "message", "context")
"""Columns with what workflows were given, gave, sent and failed with."""
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


def require_plain(url: str, workflow: str) -> None:
    """Look through the tables as they are, and unpack nothing.

    Args:
        url: of DBOS's database; tables that are not there yet hold nothing.
        workflow: the only one that may wait to be taken up.

    Raises:
        StateError: a row holds something else than JSON, or another workflow waits.
    """
    engine = create_engine(url, poolclass=NullPool)
    schema = _SCHEMA if engine.dialect.name == "postgresql" else None
    try:
        with engine.connect() as connection:
            if schema is not None and not inspect(connection).has_schema(schema):
                return
            tables = MetaData()
            tables.reflect(connection, schema=schema)
            for table in tables.sorted_tables:
                for row in connection.execute(select(table)).mappings():
                    if why := _wrong(table.name, row, workflow):
                        raise StateError(
                            f"the workflow's table {table.name} at "
                            f"{engine.url.render_as_string(hide_password=True)} holds {why}: no "
                            "worker wrote that, and nothing was run. Find out who can write there, "
                            "then remove the workflow's tables: the ledger knows what is left to do"
                        )
    finally:
        engine.dispose()


def _wrong(table: str, row: Mapping[Any, Any], workflow: str) -> str | None:
    from dbos import DBOSPortableJSONSerializer

    written = row.get("serialization")
    if written not in (None, DBOSPortableJSONSerializer().name()):
        return f"a value written as {str(written)!r}, where only JSON is read"
    for name in _VALUES:
        value = row.get(name)
        if value is not None and not _is_json(value):
            return f"something in {name!r} that is no JSON"
    waits = table == "workflow_status" and row["status"] not in _ENDED
    if waits and row["name"] != workflow:
        return f"the workflow {str(row['name'])!r}, which is none of Olvido's"
    return None


def _is_json(value: Any) -> bool:
    try:
        json.loads(value)
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def without_pickle() -> Iterator[None]:
    """Inside, DBOS unpickles nothing, whatever a row says it is written as.

    A row may be changed while the worker runs, after it was looked at.
    """
    from dbos._serialization import DefaultSerializer

    def refuse(_self: Any, _text: str) -> None:
        raise StateError("the workflow's tables hold a pickle: it is not read")

    with patch.object(DefaultSerializer, "deserialize", refuse):
        yield
