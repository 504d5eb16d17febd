"""Whether log and tables are as they were written: checked, and not again for every page."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from threading import Lock

from olvido.ledger.facts import now
from olvido.ledger.store import LogCheck, Store

KEPT = 60.0
"""Seconds for which a check of a sound log is told again."""
SHARE = 0.01
"""Of the time, at most, that goes into checking a log so long that a check takes longer."""


class Checked:
    """Remembers the last check of a log, and when it was.

    Only a sound log is remembered: one that was found changed is looked at each time.

    Args:
        store: whose log.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._last: tuple[LogCheck, datetime] | None = None
        self._until = 0.0

    def log(self) -> tuple[LogCheck, datetime]:
        """What the last check found, and when it was made: now, where that was too long ago."""
        with self._lock:
            began = time.monotonic()
            if self._last is None or began >= self._until:
                self._last = self._checked(), now()
                took = time.monotonic() - began
                kept = max(KEPT, took / SHARE) if self._last[0].sound else 0.0
                self._until = time.monotonic() + kept
            return self._last

    def _checked(self) -> LogCheck:
        """The check of the log and of all tables but datasets' records, which may be millions."""
        check = self._store.verify_log()
        different = self._store.differences(datasets=()) if check.sound else ()
        if not different:
            return check
        why = f"the ledger is not what its log says: {different[0]}"
        return replace(check, bad=different[0].entry or check.entries, reason=why)
