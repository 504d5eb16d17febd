"""The ledger's log: append-only, the leaves of a Merkle tree whose head can be signed.

A leaf is a commitment to its entry: SHA-256 over 32 random bytes and the entry's canonical JSON.
Destroying the salt unlinks the leaf: the tree stays what it was, and nobody can tell any more, nor
test a guess at, what the leaf stood for. Whoever checks the log sees that, when and by which entry
it was unlinked.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, true, update

from olvido.errors import InputError
from olvido.ledger.digests import Digest, canonical_json, merkle_root
from olvido.ledger.facts import LogEntry, now
from olvido.ledger.signing import Checkpoint, PublicKey, SigningKey
from olvido.ledger.store import schema
from olvido.ledger.tree import consistency_proof, heads, inclusion_proof

UNLINKED = "unlinked"
"""The kind of an entry whose content is gone."""

UNLINKING = "entries-unlinked"
"""The kind of the entry that says which ones were unlinked, and why."""

_DIGEST = re.compile("sha256:[0-9a-f]{64}")

EMPTY = merkle_root([])
"""The head of a log without entries."""


@dataclass(frozen=True, slots=True)
class LogCheck:
    """What became of checking the log.

    `head` is the root of the tree over all entries that are sound: keep it elsewhere, best signed,
    for a shortened log is told only by a head that was known before. `bad` is the number of the
    first entry that is wrong.
    """

    entries: int
    head: Digest
    bad: int | None = None
    reason: str | None = None

    @property
    def sound(self) -> bool:
        """Whether every entry is as it was written."""
        return self.bad is None


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That an entry is in the log: the way from its leaf to a signed head."""

    entry: LogEntry
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint


def append(connection: Connection, kind: str, detail: Mapping[str, Any]) -> int:
    """Append one entry, in the transaction of the change that it tells of; returns its number."""
    log = schema.log
    seq = size(connection) + 1
    at, text, salt = now().isoformat(), canonical_json(detail).decode(), secrets.token_bytes(32)
    commitment = str(commit(salt, seq, at, kind, text))
    connection.execute(
        insert(log).values(seq=seq, at=at, kind=kind, detail=text, commitment=commitment, salt=salt)
    )
    return seq


def commit(salt: bytes, seq: int, at: str, kind: str, detail: str) -> Digest:
    """An entry's leaf; `detail` is its canonical JSON as text."""
    return Digest.of(salt + canonical_json([seq, at, kind, detail]))


def unlink(connection: Connection, numbers: Iterable[int], reason: str) -> None:
    """Destroy the salts and contents of entries, and say so in an entry of its own."""
    chosen, log = sorted(set(numbers)), schema.log
    kinds = {row.seq: row.kind for row in connection.execute(select(log.c.seq, log.c.kind))}
    for seq in chosen:
        if seq not in kinds:
            raise InputError(f"the log has no entry {seq}: its entries are 1 to {len(kinds)}")
        if kinds[seq] in (UNLINKED, UNLINKING):
            raise InputError(f"entry {seq} of the log is {kinds[seq]}: it can be unlinked no more")
    if not chosen or not reason.strip():
        raise InputError("expected the numbers of entries to unlink, and a reason")
    seq = append(connection, UNLINKING, {"entries": chosen, "reason": reason})
    at = connection.execute(select(log.c.at).where(log.c.seq == seq)).scalar_one()
    connection.execute(
        update(log)
        .where(log.c.seq.in_(chosen))
        .values(at=at, kind=UNLINKED, detail="{}", salt=None)
    )


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
    """At most so many entries between two numbers, the oldest or the newest of them first."""
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
    )


def sign(connection: Connection, key: SigningKey, size: int | None = None) -> Checkpoint:
    """Sign the head of the first `size` entries, or of all, and keep it."""
    leaves = _leaves(connection)
    size = len(leaves) if size is None else size
    checkpoint = Checkpoint.sign(size, merkle_root(leaves[:size]), key)
    table, name = schema.checkpoints, str(key.public)
    known = select(table.c.note).where(table.c.entries == size, table.c.key == name)
    if connection.execute(known).first() is None:
        connection.execute(insert(table).values(entries=size, key=name, note=checkpoint.note))
    return checkpoint


def grown(connection: Connection, first: int) -> tuple[bytes, ...]:
    """Prove that the log as it is begins with its first so many entries."""
    return consistency_proof(_leaves(connection), first)


def include(connection: Connection, seq: int, key: SigningKey) -> Inclusion:
    """Prove that an entry is in the log, by the head that it made."""
    rows = _rows(connection)
    if not 0 < seq <= len(rows):
        raise InputError(f"the log has no entry {seq}: its entries are 1 to {len(rows)}")
    leaves = [Digest.from_str(row.commitment).raw for row in rows[:seq]]
    return Inclusion(
        _entry(rows[seq - 1]), inclusion_proof(leaves, seq - 1), sign(connection, key, seq)
    )


def checkpoints(connection: Connection) -> tuple[tuple[PublicKey, Checkpoint], ...]:
    """Every head that was signed, with whose key is said to have signed it, the oldest first."""
    table = schema.checkpoints
    return tuple(
        (PublicKey.from_str(row.key), Checkpoint.read(row.note))
        for row in connection.execute(select(table).order_by(table.c.entries, table.c.key))
    )


def verify(
    connection: Connection, known_head: Digest | None, known: Sequence[Checkpoint]
) -> LogCheck:
    """Find the first entry that was edited, removed, added or moved, by commitments and heads.

    `known` are heads that the caller believes; those that the ledger keeps are tried as well.
    """
    rows = _rows(connection)
    bad, reason = _first_wrong(rows)
    good = rows if bad is None else rows[: bad - 1]
    trail = [EMPTY, *heads([Digest.from_str(row.commitment).raw for row in good])]
    if bad is not None:
        return LogCheck(len(good), trail[-1], bad, reason)
    try:
        kept = checkpoints(connection)
    except InputError as error:
        return LogCheck(len(good), trail[-1], 1, f"a head that was signed was changed: {error}")
    for key, checkpoint in kept:
        if not checkpoint.signed_by(key):
            forged = f"the head of the first {checkpoint.entries} entries is not signed by {key}"
            return LogCheck(len(good), trail[-1], 1, forged)
    sound = 0
    for checkpoint in sorted([*known, *(one for _, one in kept)], key=lambda one: one.entries):
        size = checkpoint.entries
        if size >= len(trail):
            missing = f"the log had {size} entries when its head was signed: entries were cut off"
            return LogCheck(len(good), trail[-1], len(trail), missing)
        if trail[size] != checkpoint.head:
            changed = f"entries {sound + 1} to {size} are not those whose head was signed"
            return LogCheck(sound, trail[sound], sound + 1, changed)
        sound = size
    if known_head is not None and known_head not in trail:
        missing = (
            f"the known head {known_head} is not of this log: entries were cut off or rewritten"
        )
        return LogCheck(len(good), trail[-1], len(trail), missing)
    return LogCheck(len(good), trail[-1])


def _first_wrong(rows: Sequence[Any]) -> tuple[int | None, str | None]:
    """The first entry that its own commitment gives away, and why."""
    told: dict[int, str] = {}
    for row in rows:
        if row.kind == UNLINKING and _committed(row):
            told |= dict.fromkeys(json.loads(row.detail)["entries"], row.at)
    for seq, row in enumerate(rows, 1):
        if row.seq != seq:
            return seq, f"entry {seq} is missing"
        if row.salt is not None and not _committed(row):
            return seq, f"entry {seq} was changed"
        if row.salt is None and (row.kind, row.detail, row.at) != (UNLINKED, "{}", told.get(seq)):
            return seq, f"entry {seq} lost its content, and no entry of the log tells why"
        if _DIGEST.fullmatch(row.commitment) is None:
            return seq, f"entry {seq} was changed"
    return None, None


def _committed(row: Any) -> bool:
    """Whether an entry is what its commitment was made of."""
    if row.salt is None:
        return False
    return row.commitment == str(commit(row.salt, row.seq, row.at, row.kind, row.detail))


def _leaves(connection: Connection) -> list[bytes]:
    query = select(schema.log.c.commitment).order_by(schema.log.c.seq)
    return [Digest.from_str(text).raw for text in connection.execute(query).scalars()]


def _rows(connection: Connection) -> Sequence[Any]:
    return connection.execute(select(schema.log).order_by(schema.log.c.seq)).all()
