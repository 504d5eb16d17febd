"""Sessions: a random secret in a browser, with its digest in a file beside the tokens.

A session is no token: it ends when its owner signs out, when its token is revoked, when it is
unused for a while, and at the latest after half a day.

Also the cached check of log and tables, and the rate limit: a token bucket for each caller.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from olvido.accounts import digest_of
from olvido.files import LockedFile
from olvido.ledger.facts import now
from olvido.ledger.store import LogCheck, Store


class Buckets:
    """A rate limit with a token bucket for each caller.

    Args:
        size: requests allowed at once.
        every: seconds until another request is allowed.
        clock: a monotonic clock in seconds.
    """

    CALLERS = 10_000
    """Callers remembered; the least recent one is dropped first, its bucket full by then."""

    def __init__(
        self, size: int, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.size, self.every, self._clock = size, every, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> float:
        """Take a token; return 0.0, or the seconds to wait where the bucket is empty."""
        with self._lock:
            at = self._clock()
            left, seen = self._left.pop(caller, (float(self.size), at))
            left = min(float(self.size), left + (at - seen) / self.every)
            wait = 0.0 if left >= 1 else (1 - left) * self.every
            self._left[caller] = (left - 1 if left >= 1 else left, at)
            while len(self._left) > self.CALLERS:
                self._left.popitem(last=False)
            return wait

    def give_back(self, caller: str) -> None:
        """Put a token back that was taken for a request that does not count."""
        with self._lock:
            if caller in self._left:
                left, seen = self._left[caller]
                self._left[caller] = (min(float(self.size), left + 1), seen)


IDLE = 3600.0
"""Seconds without a request after which a session has ended."""
LASTS = 12 * 3600.0
"""Seconds after which any session has ended."""
AT_ONCE = 10
"""The limit of sessions by token: the oldest ends when another begins."""


@dataclass(frozen=True, slots=True)
class Session:
    """The session of one browser.

    Attributes:
        digest: the digest of its secret.
        token: the digest of the token that began it.
        began: its begin in seconds since 1970.
    """

    digest: str
    token: str
    began: float


def _parse(document: Mapping[str, Any] | None) -> dict[str, Session]:
    rows = [] if document is None else document["sessions"]
    return {row["digest"]: Session(**row) for row in rows}


class Sessions:
    """The sessions of one workspace.

    The time of a session's last use is only in memory: after a restart of the process, a session
    older than `IDLE` has ended.

    Args:
        path: the sessions' file; a missing file means no session.
        clock: gives seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = LockedFile(path, _parse, advice="remove it, and everybody signs in again")
        self._clock = clock
        self._seen: dict[str, float] = {}

    def begin(self, token: str) -> str:
        """Begin a session for the token of this digest; return the session's secret."""
        secret = secrets.token_urlsafe(32)
        made = Session(digest_of(secret), token, self._clock())
        with self._file.changing() as put:
            live = [one for one in self._file.read().values() if self._lasts(one)]
            theirs = [one for one in live if one.token == token]
            ended = {one.digest for one in theirs[: max(0, len(theirs) + 1 - AT_ONCE)]}
            kept = [*(one for one in live if one.digest not in ended), made]
            put({"sessions": [asdict(one) for one in kept]})
        known = {one.digest for one in kept}
        self._seen = {digest: at for digest, at in self._seen.items() if digest in known}
        return secret

    def find(self, secret: str) -> str | None:
        """The digest of the token that began this session; None where it has ended."""
        digest = digest_of(secret)
        found = self._file.read().get(digest)
        if found is None or not hmac.compare_digest(found.digest, digest) or not self._lasts(found):
            return None
        self._seen[digest] = self._clock()
        return found.token

    def end(self, secret: str) -> None:
        """End a session, if it is one."""
        digest = digest_of(secret)
        if digest not in self._file.read():
            return
        with self._file.changing() as put:
            left = [one for one in self._file.read().values() if one.digest != digest]
            put({"sessions": [asdict(one) for one in left]})
        self._seen.pop(digest, None)

    def _lasts(self, one: Session) -> bool:
        # A clock that was put back ends sessions, and lengthens none.
        used = self._clock() - max(one.began, self._seen.get(one.digest, one.began))
        return 0 <= self._clock() - one.began < LASTS and 0 <= used < IDLE


KEPT = 60.0
"""Seconds for which the result of a sound check is reused."""
SHARE = 0.01
"""The largest share of time spent on checks, for a log so long that a check takes longer."""


class LogCheckCache:
    """Caches the last check of a log, and its time.

    Only a sound check is cached: a log that was found changed is checked each time.

    Args:
        store: the ledger of the log.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._last: tuple[LogCheck, datetime] | None = None
        self._until = 0.0

    def log(self) -> tuple[LogCheck, datetime]:
        """The last check and its time; a new check where that was too long ago."""
        with self._lock:
            began = time.monotonic()
            if self._last is None or began >= self._until:
                self._last = self._checked(), now()
                took = time.monotonic() - began
                kept = max(KEPT, took / SHARE) if self._last[0].sound else 0.0
                self._until = time.monotonic() + kept
            return self._last

    def _checked(self) -> LogCheck:
        """Check the log and all tables except datasets' records, which may be millions."""
        check = self._store.verify_log()
        different = self._store.differences(datasets=()) if check.sound else ()
        if not different:
            return check
        why = f"the ledger is not what its log says: {different[0]}"
        return replace(check, bad=different[0].entry or check.entries, reason=why)
