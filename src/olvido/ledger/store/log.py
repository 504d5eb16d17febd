"""The ledger's log: append-only, the leaves of a Merkle tree whose head can be signed.

A leaf is a commitment to its entry: SHA-256 over 32 random bytes and the entry's canonical JSON.
Each entry also has a code (MAC) by the workspace's key, over its commitment and the code of the
entry before: with the database alone nobody can append entries or rebuild the log.

Destroying the salt redacts an entry (crypto-shredding): the tree is unchanged, and nobody can read
the entry any more, or test a guess at it. The entry about the redaction is signed.

Also a change of the ledger: one transaction with its time, its log entries, and its entities.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, true, update

from olvido.errors import InputError, StateError
from olvido.ledger.digests import (
    Digest,
    canonical_json,
    consistency_proof,
    inclusion_proof,
    merkle_root,
)
from olvido.ledger.facts import LogEntry, now
from olvido.ledger.identity import Key
from olvido.ledger.signing import LogCheckpoint, PublicKey, SigningKey
from olvido.ledger.store import schema
from olvido.ledger.store.state import Entity, States

REDACTED = "redacted"
"""The kind of an entry whose content was destroyed."""

REDACTION = "entries-redacted"
"""The kind of the entry that names redacted entries, and the reason."""

SIGNER = "signing-key-named"
"""The kind of the entry that names the key that signs for this ledger."""

SIGNED = "head-signed"
"""The kind of the entry about a signed head of the log."""

ROTATION = "key-rotated"
"""The kind of the entry from which on the next version of the key makes codes and state digests.

It also names redactions and has the state of every entity anew; the states in earlier entries are
destroyed, since the earlier key could test guesses with them."""

TELLING = (REDACTION, ROTATION)
"""The kinds of entries that name redacted entries."""

UNREDACTED = (REDACTED, REDACTION, ROTATION, SIGNER)
"""The kinds of entries that cannot be redacted: others depend on them."""

CLOCK = "clock-stepped-back"
"""The kind of the entry about a machine's clock that is behind the log, with the clock's time."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The proof that an entry is in the log: the path from its leaf to a signed head."""

    entry: LogEntry
    proof: tuple[bytes, ...]
    checkpoint: LogCheckpoint


def append(
    connection: Connection,
    key: Key,
    before: Any,
    at: datetime,
    kind: str,
    detail: Mapping[str, Any],
    state: str | None,
) -> Any:
    """Append one entry after `before` (a row of the log, or None); return its row."""
    table, moment = schema.log, at.isoformat()
    seq = 1 if before is None else before.seq + 1
    text, salt = canonical_json(detail).decode(), secrets.token_bytes(32)
    commitment = str(commit(salt, seq, moment, kind, text, state))
    connection.execute(
        insert(table).values(
            seq=seq,
            at=moment,
            kind=kind,
            detail=text,
            state=state,
            commitment=commitment,
            mac=code(key, before and before.mac, seq, commitment),
            salt=salt,
        )
    )
    return last(connection)


def commit(
    salt: bytes, seq: int, at: str, kind: str, detail: str, state: str | None = None
) -> Digest:
    """An entry's leaf; `detail` is its canonical JSON as text, `state` the entities' digests."""
    said = [seq, at, kind, detail]
    return Digest.of(salt + canonical_json(said if state is None else [*said, leaf_of(state)]))


def leaf_of(state: str) -> str:
    """The digest of a state in its entry's leaf, which also replaces a destroyed state."""
    return state if state.startswith("sha256:") else str(Digest.of(state.encode()))


def state_text(said: Mapping[str, Any]) -> str | None:
    """The state in an entry as text: the entities' digests with random bytes, or None for none."""
    if not said:
        return None
    return canonical_json({"of": dict(said), "salt": secrets.token_hex(32)}).decode()


def stated(state: str | None) -> Mapping[str, Any]:
    """The entities' digests in an entry; none where it has none or they were destroyed."""
    if state is None or state.startswith("sha256:"):
        return {}
    found: Mapping[str, Any] = json.loads(state)["of"]
    return found


def code(key: Key, before: str | None, seq: int, commitment: str) -> str:
    """The MAC by this key over an entry's commitment, its number and the code before it."""
    return key.derived(b"ledger log", canonical_json([before, seq, commitment])).hex()


def last(connection: Connection) -> Any:
    """The row of the newest entry, None where there is none."""
    query = select(schema.log).order_by(schema.log.c.seq.desc()).limit(1)
    return connection.execute(query).first()


def last_state(connection: Connection, name: str) -> str | None:
    """The digest of an entity in the newest entry about it, None for none."""
    table, named = schema.log, f'"{name}":'
    matches = table.c.state.contains(named, autoescape=True)
    query = select(table.c.seq, table.c.kind, table.c.state).where(matches)
    found: dict[int, Any] = {}
    for row in connection.execute(query.order_by(table.c.seq.desc())):
        said = stated(row.state)
        # A redaction repeats states of entries older than itself, and maybe than the next one here.
        of = said.items() if row.kind == REDACTION else [(row.seq, said)]
        found |= {int(seq): one[name] for seq, one in of if name in one}
        if row.kind != REDACTION:
            break
    value = found[max(found)] if found else None
    return value[1] if isinstance(value, list) else value


def known_behind(connection: Connection, clock: datetime, at: datetime) -> bool:
    """Whether the log already notes that the clock is behind, since a clock no later than now."""
    table = schema.log
    query = select(table).where(table.c.kind == CLOCK).order_by(table.c.seq.desc()).limit(1)
    entry = connection.execute(query).first()
    if entry is None or entry.at != at.isoformat():
        return False
    return datetime.fromisoformat(json.loads(entry.detail)["clock"]) <= clock


def redact(change: WriteTransaction, numbers: Iterable[int], reason: str, key: SigningKey) -> None:
    """Destroy the salts and contents of entries, and note that in a signed entry.

    That entry takes over their digests of entities.
    """
    chosen = sorted(set(numbers))
    rows = {row.seq: row for row in rows_of(change.connection)}
    for seq in chosen:
        if seq not in rows:
            raise InputError(f"the log has no entry {seq}: its entries are 1 to {len(rows)}")
        if rows[seq].kind in UNREDACTED:
            raise InputError(f"entry {seq} of the log is {rows[seq].kind}: it cannot be redacted")
    if not chosen or not reason.strip():
        raise InputError("expected the numbers of entries to redact, and a reason")
    states = {str(seq): said for seq in chosen if (said := stated(rows[seq].state))}
    empty(change, [rows[seq] for seq in chosen], REDACTION, {"reason": reason}, states, key)


def empty(
    change: WriteTransaction,
    rows: Sequence[Any],
    kind: str,
    detail: Mapping[str, Any],
    states: Mapping[str, Any],
    key: SigningKey,
) -> None:
    """Destroy the content of entries, and write the signed entry about that."""
    table, at = schema.log, change.at.isoformat()
    gone = {"at": at, "kind": REDACTED, "detail": "{}", "state": None, "salt": None}
    for row in rows:
        change.connection.execute(update(table).where(table.c.seq == row.seq).values(gone))
    said = {**detail, "entries": [row.seq for row in rows], "key": str(key.public)}
    state = state_text(states)
    signature = key.sign(redaction(at, said, [row.commitment for row in rows], state))
    change.write(kind, said | {"signature": signature.hex()}, state)


def redaction(at: str, said: Mapping[str, Any], leaves: Sequence[str], state: str | None) -> bytes:
    """The signed bytes of a redaction: its time, its detail, the redacted leaves, and its state."""
    unsigned = {name: value for name, value in said.items() if name != "signature"}
    leaf = None if state is None else leaf_of(state)
    return canonical_json(["olvido/log-redaction/1", at, unsigned, list(leaves), leaf])


def entries(connection: Connection, kind: str | None = None) -> tuple[LogEntry, ...]:
    """All entries, or those of one kind, the oldest first."""
    wanted = true() if kind is None else schema.log.c.kind == kind
    query = select(schema.log).where(wanted).order_by(schema.log.c.seq)
    return tuple(map(_entry, connection.execute(query)))


def size(connection: Connection) -> int:
    """The number of the newest entry; 0 where there is none."""
    return connection.execute(select(func.max(schema.log.c.seq))).scalar() or 0


def part(
    connection: Connection, *, after: int, before: int | None, limit: int, newest: bool
) -> tuple[LogEntry, ...]:
    """At most `limit` entries between two numbers, the oldest or the newest of them first."""
    seq = schema.log.c.seq
    wanted = seq > after if before is None else (seq > after) & (seq < before)
    query = select(schema.log).where(wanted).order_by(seq.desc() if newest else seq).limit(limit)
    return tuple(map(_entry, connection.execute(query)))


def _entry(row: Any) -> LogEntry:
    return LogEntry(
        row.seq,
        datetime.fromisoformat(row.at),
        row.kind,
        json.loads(row.detail),
        Digest.from_str(row.commitment),
        row.salt,
        row.state,
    )


def signer(connection: Connection) -> PublicKey | None:
    """The key that signs for this ledger, from its log; None where none was made yet."""
    table = schema.log
    query = select(table.c.detail).where(table.c.kind == SIGNER).order_by(table.c.seq).limit(1)
    said = connection.execute(query).scalar()
    return None if said is None else PublicKey.from_str(json.loads(said)["key"])


def demand_signer(known: PublicKey | None, key: SigningKey) -> None:
    """Raise StateError where another key signs for the ledger than this one."""
    if known not in (None, key.public):
        raise StateError(
            f"the signing key is not this ledger's: expected {known}, found {key.public}. Put "
            "back the copy that you kept"
        )


def name_signer(change: WriteTransaction, key: SigningKey) -> None:
    """Note in the log, once, which key signs. Raises StateError where it names another."""
    known = signer(change.connection)
    demand_signer(known, key)
    if known is None:
        change.write(SIGNER, {"key": str(key.public)}, None)


def sign(change: WriteTransaction, key: SigningKey, size: int | None = None) -> LogCheckpoint:
    """Sign the head of the first `size` entries, or of all, and keep it."""
    name_signer(change, key)
    leaves = _leaves(change.connection)
    size = len(leaves) if size is None else size
    checkpoint = LogCheckpoint.sign(size, merkle_root(leaves[:size]), key)
    table, name = schema.checkpoints, str(key.public)
    known = select(table.c.note).where(table.c.entries == size, table.c.key == name)
    if change.connection.execute(known).first() is None:
        change.touch("checkpoint", [(size, name)])
        row = {"entries": size, "key": name, "note": checkpoint.note}
        change.connection.execute(insert(table).values(**row))
        change.log(SIGNED, {"entries": size, "head": str(checkpoint.head), "key": name})
    return checkpoint


def grown(connection: Connection, first: int, second: int) -> tuple[bytes, ...]:
    """Prove that the log's first `second` entries begin with its first `first`."""
    return consistency_proof(_leaves(connection)[:second], first)


def include(change: WriteTransaction, seq: int, key: SigningKey) -> Inclusion:
    """Prove that an entry is in the log, by the head that it made."""
    rows = rows_of(change.connection)
    if not 0 < seq <= len(rows):
        raise InputError(f"the log has no entry {seq}: its entries are 1 to {len(rows)}")
    leaves = [Digest.from_str(row.commitment).raw for row in rows[:seq]]
    return Inclusion(
        _entry(rows[seq - 1]), inclusion_proof(leaves, seq - 1), sign(change, key, seq)
    )


def checkpoints(connection: Connection) -> tuple[tuple[PublicKey, LogCheckpoint], ...]:
    """Every signed head with its alleged signing key, the oldest first."""
    table = schema.checkpoints
    return tuple(
        (PublicKey.from_str(row.key), LogCheckpoint.read(row.note))
        for row in connection.execute(select(table).order_by(table.c.entries, table.c.key))
    )


def _leaves(connection: Connection) -> list[bytes]:
    query = select(schema.log.c.commitment).order_by(schema.log.c.seq)
    return [Digest.from_str(text).raw for text in connection.execute(query).scalars()]


def rows_of(connection: Connection) -> Sequence[Any]:
    """The log's table, in the order of its numbers."""
    return connection.execute(select(schema.log).order_by(schema.log.c.seq)).all()


class WriteTransaction:
    """A writer's transaction, from the lock to the commit.

    Attributes:
        connection: the open transaction.
        at: the time of all its entries: the clock's, and never before the newest entry's.
        states: computes the digests of entities.
    """

    def __init__(self, connection: Connection, key: Key) -> None:
        self.connection, self.states = connection, States(key)
        self._key = key
        self._last = last(connection)
        clock = now()
        self.at = clock if self._last is None else max(clock, datetime.fromisoformat(self._last.at))
        if clock < self.at and not known_behind(connection, clock, self.at):
            self.write(CLOCK, {"clock": clock.isoformat()}, None)
        self._entries: list[tuple[str, Mapping[str, Any]]] = []
        self._before: dict[Entity, str | None] = {}
        self._after: dict[Entity, str | None] = {}

    def rekey(self, key: Key) -> None:
        """Change to another version of the key."""
        self._key, self.states = key, States(key)

    def touch(self, kind: str, keys: Iterable[tuple[Any, ...]]) -> None:
        """Name entities by their primary keys, before they are changed."""
        fresh = [e for key in keys if (e := (kind, *key)) not in self._before]
        self._before.update(self.states.several(self.connection, fresh))

    def state(self, entity: Entity, digest: str | None, before: str | None = None) -> None:
        """Set the digest of an entity that is slow to read again; `before` is its earlier one."""
        self._before[entity], self._after[entity] = before, digest

    def last(self, name: str) -> str | None:
        """The log's last digest of the entity of this name."""
        return last_state(self.connection, name)

    def log(self, kind: str, detail: Mapping[str, Any]) -> int:
        """Add a log entry, to be written by `finish`; return its number."""
        self._entries.append((kind, detail))
        return (0 if self._last is None else self._last.seq) + len(self._entries)

    def finish(self) -> None:
        """Write the entries, the last of them with the new digests of the touched entities."""
        unread = [entity for entity in self._before if entity not in self._after]
        self._after.update(self.states.several(self.connection, unread))
        changed: dict[str, Any] = {}
        for entity, before in self._before.items():
            after = self._after[entity]
            if before != after:
                name = self.states.name(entity)
                changed[name] = after if before is None else [before, after]
        if changed and not self._entries:
            raise AssertionError(f"no log entry describes the change of {sorted(changed)}")
        for number, (kind, detail) in enumerate(self._entries, 1):
            said = changed if number == len(self._entries) else {}
            self.write(kind, detail, state_text(said))

    def write(self, kind: str, detail: Mapping[str, Any], state: str | None) -> None:
        """Append one entry at once."""
        self._last = append(self.connection, self._key, self._last, self.at, kind, detail, state)
