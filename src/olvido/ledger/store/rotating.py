"""Another version of the key: every digest that an earlier one made is made anew, or destroyed.

All of it is one transaction. The key file holds the new secret before, so that a ledger under the
version before it is opened with the same file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, String, Table, delete, insert, or_, select, tuple_, update

from olvido.ledger.digests import canonical_json
from olvido.ledger.identity import Key
from olvido.ledger.signing import SigningKey
from olvido.ledger.store import log, schema
from olvido.ledger.store.changing import Change
from olvido.ledger.store.comparing import demand_sound
from olvido.ledger.store.datasets import BULK, FORMS, RECORDS, chunks
from olvido.ledger.store.state import KINDS

_MARKS = ("hmac-sha256:v", "content:v", "name:v", "place:v")
_NEAR = "near"
"""Where a request keeps forms of a name to look for, in hexadecimal digits."""
_FORM = re.compile("[0-9a-f]{32}")
_STEPS = schema.request_steps.c.detail
"""The column where that is; in the others stands what people wrote, which is no JSON."""


def rotate(change: Change, old: Key, new: Key, signer: SigningKey) -> None:
    """Bring a ledger under the next version of its key.

    Log entries that hold digests of the old one are redacted and said again, with the number and
    time that they had; what entries said of the state of entities is forgotten and said anew.

    Raises:
        StateError: the ledger is not sound: nothing is built on that.
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
    told = {
        "version": new.version,
        "fingerprint": str(new.fingerprint),
        "reason": "the key was rotated",
    }
    log.empty(change, held, log.ROTATION, told, _all(change), signer)
    for row in held:
        detail = _nearer(json.loads(new.renewed(row.detail)), old, new)
        change.write(row.kind, detail | {"restates": {"entry": row.seq, "at": row.at}}, None)


def _renew_tables(change: Change, old: Key, new: Key) -> None:
    """Every text of every table but the log's, wherever a digest stands in it."""
    for table in schema.metadata.sorted_tables:
        columns = [column for column in table.columns if isinstance(column.type, String)]
        for column in columns if table is not schema.log else ():
            _renew_column(change, table, column, old, new)


def _renew_column(change: Change, table: Table, column: Column[Any], old: Key, new: Key) -> None:
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


def _renew_forms(change: Change, old: Key, new: Key) -> None:
    table, connection = schema.subject_forms, change.connection
    rows = [
        {"form": new.current_form(row.form, old.version), "subject": row.subject}
        for row in connection.execute(select(table))
    ]
    connection.execute(delete(table))
    for chunk in chunks(sorted(rows, key=lambda row: (row["form"], row["subject"])), BULK):
        connection.execute(insert(table), chunk)


def _nearer(said: Any, old: Key, new: Key) -> Any:
    """A JSON value with the forms in it under the new key, wherever they are."""
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
    """Whether an entry says a digest that the old key made."""
    return any(mark in detail for mark in _MARKS) or f'"{_NEAR}":[' in detail


def _forget_states(change: Change, rows: Any) -> None:
    table = schema.log
    for row in rows:
        if row.state is not None:
            leaf = log.leaf_of(row.state)
            change.connection.execute(
                update(table).where(table.c.seq == row.seq).values(state=leaf)
            )


def _all(change: Change) -> dict[str, str]:
    """The state of every entity, under the new key."""
    found: dict[str, str] = {}
    for kind in (*KINDS, FORMS, RECORDS):
        made = change.states.every(change.connection, kind)
        found.update((change.states.name(entity), digest) for entity, digest in made.items())
    return found
