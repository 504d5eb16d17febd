"""The ledger's log: append-only, each entry's digest covering the entry before it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from olvido.ledger.digests import Digest, canonical_json
from olvido.ledger.facts import LogEntry, now
from olvido.ledger.store import schema

GENESIS = Digest("0" * 64)
"""What the first entry is chained to."""


@dataclass(frozen=True, slots=True)
class LogCheck:
    """What became of checking the log.

    `head` is the digest of the last entry: keep it elsewhere, for a shortened log is told only by
    a head that was known before. `bad` is the number of the first entry that is wrong.
    """

    entries: int
    head: Digest
    bad: int | None = None
    reason: str | None = None

    @property
    def sound(self) -> bool:
        """Whether every entry is as it was written."""
        return self.bad is None


def append(connection: Connection, kind: str, detail: Mapping[str, Any]) -> None:
    """Append one entry, in the transaction of the change that it tells of."""
    log = schema.log
    last = connection.execute(
        select(log.c.seq, log.c.digest).order_by(log.c.seq.desc()).limit(1)
    ).first()
    seq, previous = (last.seq + 1, last.digest) if last else (1, str(GENESIS))
    at, text = now().isoformat(), canonical_json(detail).decode()
    connection.execute(
        insert(log).values(
            seq=seq, at=at, kind=kind, detail=text, digest=str(_link(previous, seq, at, kind, text))
        )
    )


def _link(previous: str, seq: int, at: str, kind: str, detail: str) -> Digest:
    return Digest.of(canonical_json([previous, seq, at, kind, detail]))


def entries(connection: Connection) -> tuple[LogEntry, ...]:
    """All entries, the oldest first."""
    return tuple(
        LogEntry(
            row.seq,
            datetime.fromisoformat(row.at),
            row.kind,
            json.loads(row.detail),
            Digest.from_str(row.digest),
        )
        for row in _rows(connection)
    )


def verify(connection: Connection, known_head: Digest | None) -> LogCheck:
    """Follow the chain to the first entry that was edited, removed or moved."""
    previous, seq, met_known = str(GENESIS), 0, known_head in (None, GENESIS)
    for row in _rows(connection):
        seq += 1
        if row.seq != seq:
            return LogCheck(seq - 1, _head(previous), seq, f"entry {seq} is missing")
        if row.digest != str(_link(previous, seq, row.at, row.kind, row.detail)):
            return LogCheck(
                seq - 1, _head(previous), seq, f"entry {seq} or the one before was changed"
            )
        previous = row.digest
        met_known = met_known or previous == str(known_head)
    if not met_known:
        reason = f"the known head {known_head} is not in the log: entries were cut off or rewritten"
        return LogCheck(seq, _head(previous), seq + 1, reason)
    return LogCheck(seq, _head(previous))


def _head(digest: str) -> Digest:
    return Digest.from_str(digest)


def _rows(connection: Connection) -> Iterable[Any]:
    return connection.execute(select(schema.log).order_by(schema.log.c.seq))
