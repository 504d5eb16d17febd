"""Checking the log entry by entry: who has the database alone changes none without being found."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from olvido.errors import InputError
from olvido.ledger.digests import Digest, merkle_root
from olvido.ledger.identity import Key
from olvido.ledger.signing import Checkpoint, PublicKey
from olvido.ledger.store.log import (
    REDACTED,
    ROTATION,
    SIGNER,
    TELLING,
    checkpoints,
    code,
    commit,
    redaction,
    rows_of,
)
from olvido.ledger.tree import heads

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


def verify(
    connection: Connection, key: Key, known_head: Digest | None, known: Sequence[Checkpoint]
) -> LogCheck:
    """Find the first entry that was edited, removed, added or moved.

    Told by commitments, by the codes that only the key makes, by signatures, and by heads: `known`
    are heads that the caller believes; those that the ledger keeps are tried as well.
    """
    rows = rows_of(connection)
    bad, reason = _first_wrong(rows, key)
    good = rows if bad is None else rows[: bad - 1]
    trail = [EMPTY, *heads([Digest.from_str(row.commitment).raw for row in good])]
    if bad is not None:
        return LogCheck(len(good), trail[-1], bad, reason)
    try:
        kept = checkpoints(connection)
    except InputError as error:
        return LogCheck(len(good), trail[-1], 1, f"a head that was signed was changed: {error}")
    for signer, checkpoint in kept:
        if not checkpoint.signed_by(signer):
            forged = f"the head of the first {checkpoint.entries} entries is not signed by {signer}"
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


def _first_wrong(rows: Sequence[Any], key: Key) -> tuple[int | None, str | None]:
    """The first entry that gives itself away, and why."""
    told = {s: r for r in rows if r.kind in TELLING and _committed(r) for s in _redacted(r)}
    rotations = [row.seq for row in rows if row.kind == ROTATION]
    if len(rotations) >= key.version:
        return rotations[0], f"entry {rotations[0]} tells of a key that nobody has"
    version = key.version - len(rotations)
    leaves = {row.seq: row.commitment for row in rows}
    signer: PublicKey | None = None
    before: str | None = None
    newest = ""
    for seq, row in enumerate(rows, 1):
        if row.seq != seq:
            return seq, f"entry {seq} is missing"
        if _DIGEST.fullmatch(row.commitment) is None:
            return seq, f"entry {seq} was changed"
        if row.salt is None:
            empty = (row.kind, row.detail, row.state) == (REDACTED, "{}", None)
            if not empty or seq not in told or row.at != told[seq].at:
                return seq, f"entry {seq} lost its content, and no entry of the log tells why"
        elif not _committed(row):
            return seq, f"entry {seq} was changed"
        if str(row.state).startswith("sha256:") and seq >= max(rotations, default=0):
            return seq, f"entry {seq} lost what it said of the tables, and no entry tells why"
        version += row.kind == ROTATION
        made = code(key.at(version), before, seq, row.commitment)
        if not hmac.compare_digest(made.encode(), row.mac.encode()):
            return seq, f"entry {seq} was not written with this workspace's key, or moved"
        before = row.mac
        if row.salt is None:
            continue
        if row.at < newest:
            return seq, f"entry {seq} is older than one before it"
        newest = row.at
        if row.kind == SIGNER and signer is None:
            signer = PublicKey.from_str(json.loads(row.detail)["key"])
        if row.kind in TELLING and not _signed(row, leaves, signer):
            return seq, f"entry {seq} tells of a redaction that this ledger's key did not sign"
    return None, None


def _redacted(row: Any) -> list[int]:
    """The entries that one says were redacted; whoever wrote it may have said anything."""
    try:
        return [int(seq) for seq in json.loads(row.detail)["entries"]]
    except (ValueError, KeyError, TypeError):
        return []


def _committed(row: Any) -> bool:
    """Whether an entry is what its commitment was made of."""
    if row.salt is None:
        return False
    leaf = commit(row.salt, row.seq, row.at, row.kind, row.detail, row.state)
    return row.commitment == str(leaf)


def _signed(row: Any, leaves: Mapping[int, str], signer: PublicKey | None) -> bool:
    try:
        said = json.loads(row.detail)
        gone = [leaves.get(seq, "") for seq in said["entries"]]
        message = redaction(row.at, said, gone, row.state)
        signature = bytes.fromhex(said["signature"])
    except (ValueError, KeyError, TypeError):
        return False
    return signer is not None and said["key"] == str(signer) and signer.verifies(message, signature)
