"""Who is signed in: a random secret in a browser, its digest in a file beside the tokens.

A session is no token: it ends when its owner signs out, when its token is revoked, when nobody used
it for a while, and at the latest after half a day.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from olvido.accounts import digest_of
from olvido.files import LockedFile

IDLE = 3600.0
"""Seconds without a request after which a session has ended."""
LASTS = 12 * 3600.0
"""Seconds after which it has ended, however it was used."""
AT_ONCE = 10
"""Sessions of one token: the oldest ends when another begins."""


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is signed in.

    Attributes:
        digest: of its secret.
        token: the digest of the token that it was begun with.
        began: seconds since 1970.
    """

    digest: str
    token: str
    began: float


def _parse(document: Mapping[str, Any] | None) -> dict[str, Session]:
    rows = [] if document is None else document["sessions"]
    return {row["digest"]: Session(**row) for row in rows}


class Sessions:
    """The sessions of one workspace.

    When somebody was last seen is remembered by the process alone: after it was begun anew, a
    session that is older than `IDLE` has ended.

    Args:
        path: their file; no file is no session.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = LockedFile(path, _parse, advice="remove it, and everybody signs in again")
        self._clock = clock
        self._seen: dict[str, float] = {}

    def begin(self, token: str) -> str:
        """Begin a session for the token of this digest; gives the secret that stands for it."""
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
        """The digest of the token that this session was begun with; None where it has ended."""
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
