"""A change of the ledger: one transaction, its moment, its entries in the log, what it touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from olvido.ledger.facts import now
from olvido.ledger.identity import Key
from olvido.ledger.store import log
from olvido.ledger.store.state import Entity, States


class Change:
    """What a writer works with, from the lock to the commit.

    Attributes:
        connection: the open transaction.
        at: the one moment of all that it stamps: the clock's, and never before the newest entry's.
        states: digests of entities.
    """

    def __init__(self, connection: Connection, key: Key) -> None:
        self.connection, self.states = connection, States(key)
        self._key = key
        self._last = log.last(connection)
        clock = now()
        self.at = clock if self._last is None else max(clock, datetime.fromisoformat(self._last.at))
        if clock < self.at and not log.known_behind(connection, clock, self.at):
            self.write(log.CLOCK, {"clock": clock.isoformat()}, None)
        self._told: list[tuple[str, Mapping[str, Any]]] = []
        self._before: dict[Entity, str | None] = {}
        self._after: dict[Entity, str | None] = {}

    def rekey(self, key: Key) -> None:
        """Go on under another version of the key."""
        self._key, self.states = key, States(key)

    def touch(self, kind: str, keys: Iterable[tuple[Any, ...]]) -> None:
        """Say which entities will be changed, by their primary keys, before that is done."""
        fresh = [e for key in keys if (e := (kind, *key)) not in self._before]
        self._before.update(self.states.several(self.connection, fresh))

    def state(self, entity: Entity, digest: str | None, before: str | None = None) -> None:
        """Give the digest of an entity, new unless said, where to read it again would take long."""
        self._before[entity], self._after[entity] = before, digest

    def last(self, name: str) -> str | None:
        """What the log last said that an entity of this name is."""
        return log.last_state(self.connection, name)

    def log(self, kind: str, detail: Mapping[str, Any]) -> int:
        """Tell the log of something; returns the number of its entry, written by `finish`."""
        self._told.append((kind, detail))
        return (0 if self._last is None else self._last.seq) + len(self._told)

    def finish(self) -> None:
        """Write the entries, the last of them with what the touched entities are now."""
        unread = [entity for entity in self._before if entity not in self._after]
        self._after.update(self.states.several(self.connection, unread))
        changed: dict[str, Any] = {}
        for entity, before in self._before.items():
            after = self._after[entity]
            if before != after:
                name = self.states.name(entity)
                changed[name] = after if before is None else [before, after]
        if changed and not self._told:
            raise AssertionError(f"the log is told nothing of a change of {sorted(changed)}")
        for number, (kind, detail) in enumerate(self._told, 1):
            said = changed if number == len(self._told) else {}
            self.write(kind, detail, log.state_text(said))

    def write(self, kind: str, detail: Mapping[str, Any], state: str | None) -> None:
        """Append one entry at once."""
        self._last = log.append(
            self.connection, self._key, self._last, self.at, kind, detail, state
        )
