"""The server under the application: how many may be connected, how long they may take.

What uvicorn has a setting for is set here. What it has none for is in `Connection`: a limit of time
for a request's headers and for a reader who does not read, a number of connections that strangers
cannot use up, and no request that a proxy may read in another way.
"""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import socket
import time
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.logging import DefaultFormatter
from uvicorn.protocols.http.h11_impl import H11Protocol

from olvido.errors import InputError
from olvido.serving.boundary.authentication import CALLER

HEADERS = 2**14
"""Bytes of a request's first line and headers."""
HEADERS_WITHIN = 10.0
"""Seconds in which these have to come."""
KEPT_ALIVE = 5
"""Seconds that a connection stays open without a request."""
READ_WITHIN = 30.0
"""Seconds that a reader may leave an answer where it is."""
CONNECTIONS = 512
"""Open at once, at most; and never more than half of the files that the process may open."""
ACCEPTED, QUEUED = 64, 1024
"""Connections taken in before those that are there are looked at again, and how many may queue."""
LINES = (20, 60.0)
"""Lines of one kind in the log, and the seconds after which they are counted anew."""
_END = re.compile(rb"\r?\n\r?\n")
# A bare line feed, a bare carriage return (one at the end may get its line feed), a folded line.
_ODD = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\n[ \t]")


def connections() -> int:
    """How many may be open at once on this machine."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, max(8, soft // 2))


def server(app: ASGIApp, *, proxies: Sequence[str] = ()) -> uvicorn.Server:
    """A server for an application.

    Args:
        app: what answers.
        proxies: addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed;
            nobody else's are.

    Raises:
        InputError: a proxy is no address.
    """
    quiet = Quiet(*LINES)
    for name in ("uvicorn.error", "asyncio"):
        log = logging.getLogger(name)
        for old in [one for one in log.filters if isinstance(one, Quiet)]:
            log.removeFilter(old)
        log.addFilter(quiet)
    # Ourselves: what uvicorn does would close the handlers of everybody in the process.
    shown = logging.StreamHandler()
    shown.setFormatter(DefaultFormatter("%(levelprefix)s %(message)s"))
    log = logging.getLogger("uvicorn")
    log.handlers[:], log.propagate = [shown], False
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            http=Connection,
            ws="none",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=ACCEPTED,
            timeout_keep_alive=KEPT_ALIVE,
            timeout_graceful_shutdown=10,
            h11_max_incomplete_event_size=HEADERS,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=checked_proxies(proxies),
        )
    )


def checked_proxies(proxies: Sequence[str]) -> list[str]:
    """Addresses and networks as they are. Raises InputError for what is neither."""
    for proxy in proxies:
        try:
            _ = ip_network(proxy) if "/" in proxy else ip_address(proxy)
        except ValueError:
            raise InputError(
                f"expected a proxy as an address or a network like 10.0.0.0/24, got {proxy!r}"
            ) from None
    return list(proxies)


class Connection(H11Protocol):
    """One connection, which ends when it takes too long.

    Where there are too many, the oldest that no known caller has used makes room: who has a token
    finds one even where strangers hold as many connections as they can.
    """

    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _trusted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take part, and let another go where there are too many."""
        super().connection_made(transport)
        # Connections in the order in which they came; uvicorn's own set has none.
        order = self.app_state.setdefault("olvido.connections", {})
        order[self] = None
        if len(order) > connections():
            self._make_room(order)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self.app_state["olvido.connections"].pop(self, None)
        for timer in (self._waiting, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Refuse what RFC 9112 lets a server refuse, and go on with the rest."""
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            waiting = self.conn.trailing_data[0]
            end = _END.search(waiting)
            head = waiting[: end.end()] if end else waiting
            if len(head) > HEADERS or _ODD.search(head):
                self.send_400_response("Invalid HTTP request received.")
                return
        super().handle_events()
        self._watch()

    def pause_writing(self) -> None:
        """Give who does not read some time."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READ_WITHIN, self.transport.abort)

    def resume_writing(self) -> None:
        """They read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    @property
    def trusted(self) -> bool:
        """Whether a known caller has used it."""
        self._trusted = self._trusted or bool(self.scope and CALLER in self.scope)
        return self._trusted

    def _watch(self) -> None:
        """Count the seconds from the first byte until a request's headers are whole."""
        begins = self.conn.their_state is h11.IDLE
        # Between two requests uvicorn counts, until something comes.
        expected = begins and (self.cycle is None or bool(self.conn.trailing_data[0]))
        if expected and self._waiting is None:
            self._waiting = self.loop.call_later(HEADERS_WITHIN, self.transport.abort)
        elif not expected and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    @staticmethod
    def _make_room(order: dict[Connection, None]) -> None:
        # There always is one: who has just come is not known yet.
        gone = next(one for one in order if not one.trusted)
        del order[gone]
        gone.transport.abort()


class Server(uvicorn.Server):
    """A server before which many may queue, though few are taken in at a time."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        # What asyncio takes in at a time is also how many may queue, unless that is said again.
        for one in sockets or ():
            one.listen(QUEUED)


class Quiet(logging.Filter):
    """Lets a log have some lines of one kind, and then says how many more there were.

    Args:
        lines: of one kind, in each stretch of time.
        seconds: how long that is.
    """

    KINDS = 100
    """Kinds of lines that are told apart; more are one kind."""

    def __init__(self, lines: int, seconds: float) -> None:
        super().__init__()
        self._lines, self._seconds = lines, seconds
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        kind = f"{record.name} {record.msg}"[:200]
        if kind not in self._seen and len(self._seen) >= self.KINDS:
            kind = "others"
        began, count = self._seen.get(kind, (time.monotonic(), 0))
        if time.monotonic() - began > self._seconds:
            if count > self._lines:
                record.msg = f"{record.getMessage()} (and {count - self._lines} more before)"
                record.args = ()
            began, count = time.monotonic(), 0
        self._seen[kind] = began, count + 1
        return count < self._lines
