"""The server under the application, with limits on connections, times and bodies.

uvicorn's settings are set here. `Connection` adds limits that it lacks: a time for a request's
headers and for a client that does not read, a number of connections that anonymous callers cannot
use up, and no request that a proxy may read differently.

`Boundary` stands before every route: the caller is authenticated before a byte of the body is
read. It reads the whole body, up to the route's limit, so that routes parse small bodies in
memory. It knows ASGI alone, and nothing of the routes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network

import h11
import uvicorn
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.logging import DefaultFormatter
from uvicorn.protocols.http.h11_impl import H11Protocol

from olvido.accounts import Right
from olvido.errors import InputError, OlvidoError
from olvido.service.authentication import (
    CALLER,
    READING,
    Authenticator,
    RequestRefused,
    RequiresRight,
    refuse_foreign,
)

BODY = 2**20
"""The limit of a body in bytes, for a known caller."""
ANONYMOUS = 2**12
"""The same limit for other callers: enough for a token and a form's own entries."""
DRAINED = 2**24
"""The limit up to which a known caller's body is read before it is refused."""
PATIENCE = 20.0
"""Seconds within which a whole body has to arrive."""
HTTPS_ONLY = "max-age=31536000"
"""The header that has browsers use only TLS for a year."""


class Boundary:
    """Middleware that passes on authorised requests with a body of allowed size.

    Args:
        app: the application.
        authenticator: finds the callers.
        routes: the routes, with their right in `RequiresRight`, if any.
        refusal: makes a response of a refusal.
        headers: the headers of every response that sets no others.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        routes: Sequence[APIRoute],
        refusal: Callable[[Request, Exception], Response],
        headers: Mapping[str, str],
    ) -> None:
        self._app, self._authenticator, self._refusal = app, authenticator, refusal
        self._rights = [(route, right_of(route)) for route in routes]
        self._headers = [(k.lower().encode(), v.encode()) for k, v in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, arrived = Request(scope), not _has_body(scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                own = [*self._headers]
                if scope["scheme"] == "https":
                    own.append((b"strict-transport-security", HTTPS_ONLY.encode()))
                if not arrived:
                    # The unread rest of a body would come before the next request.
                    own.append((b"connection", b"close"))
                kept = [(name, value) for name, value in own if name not in given]
                message = {**message, "headers": [*message["headers"], *kept]}
            await send(message)

        try:
            _refuse_two_lengths(scope)
            right = self._right(scope)
            if right is not None:
                scope[CALLER] = self._authenticator.caller(request, right)
            elif request.method not in READING:
                refuse_foreign(request)
            body = b"" if arrived else await _body(scope, receive)
            arrived = True
        except (RequestRefused, OlvidoError, OSError) as error:
            if not arrived and CALLER in scope:
                arrived = await _drained(receive)
            await self._refusal(request, error)(scope, receive, answer)
            return
        sent = False

        async def replayed() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replayed, answer)

    def _right(self, scope: Scope) -> Right | None:
        for route, right in self._rights:
            if route.matches(scope)[0] is Match.FULL:
                return right
        return None


def right_of(route: APIRoute) -> Right | None:
    """The right that a route needs; None where it is open to everybody."""
    asked = [
        d.call.right for d in route.dependant.dependencies if isinstance(d.call, RequiresRight)
    ]
    return asked[0] if asked else None


def _has_body(scope: Scope) -> bool:
    named = dict(scope["headers"])
    return b"transfer-encoding" in named or named.get(b"content-length", b"0") != b"0"


def _refuse_two_lengths(scope: Scope) -> None:
    """Refuse two lengths (RFC 9112, 6.3): a proxy may read another request from them."""
    named = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" in named and b"content-length" in named:
        raise RequestRefused(400, "expected Content-Length or Transfer-Encoding, got both")


async def _body(scope: Scope, receive: Receive) -> bytes:
    limit = BODY if CALLER in scope else ANONYMOUS
    too_long = RequestRefused(413, f"expected at most {limit} bytes, got more")
    said = dict(scope["headers"]).get(b"content-length", b"0")
    if int(said) > limit:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestRefused(400, "the connection ended before the request did")
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_long
                more = message.get("more_body", False)
    except TimeoutError:
        raise RequestRefused(
            408, f"expected the whole request within {PATIENCE:.0f} seconds"
        ) from None
    return bytes(body)


async def _drained(receive: Receive) -> bool:
    """Read a known caller's body to its end, so that they get the refusal; whether it ended."""
    size = 0
    try:
        async with asyncio.timeout(PATIENCE):
            while size < DRAINED:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return True
    except TimeoutError:
        pass
    return False


HEADERS = 2**14
"""The limit of a request's first line and headers, in bytes."""
HEADERS_WITHIN = 10.0
"""Seconds within which these have to arrive."""
KEPT_ALIVE = 5
"""Seconds that a connection stays open without a request."""
READ_WITHIN = 30.0
"""Seconds that a client may stop reading a response."""
CONNECTIONS = 512
"""The limit of open connections; never more than half of the files the process may open."""
ACCEPTED, QUEUED = 64, 1024
"""Connections accepted before open ones are handled again, and the length of the queue."""
LINES = (20, 60.0)
"""The limit of equal lines in the log, and the seconds after which they are counted anew."""
_END = re.compile(rb"\r?\n\r?\n")
# A bare line feed, a bare carriage return (one at the end may still get its line feed), a folded
# line.
_ODD = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\n[ \t]")


def connections() -> int:
    """The number of connections that may be open at once on this machine."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, max(8, soft // 2))


def server(app: ASGIApp, *, proxies: Sequence[str] = ()) -> uvicorn.Server:
    """A server for an application.

    Args:
        app: the application.
        proxies: addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are trusted;
            those of others are not.

    Raises:
        InputError: a proxy is no address.
    """
    quiet = Quiet(*LINES)
    for name in ("uvicorn.error", "asyncio"):
        log = logging.getLogger(name)
        for old in [one for one in log.filters if isinstance(one, Quiet)]:
            log.removeFilter(old)
        log.addFilter(quiet)
    # Configured here: uvicorn's own way would close all log handlers of the process.
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
    """Return the addresses and networks unchanged. Raises InputError for anything else."""
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

    Where there are too many, the oldest one that no known caller has used is closed, so that a
    caller with a token gets one even if anonymous callers hold as many connections as they can.
    """

    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _trusted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open the connection, and close another one where there are too many."""
        super().connection_made(transport)
        # Connections in the order in which they came; uvicorn's own set has none.
        order = self.app_state.setdefault("olvido.connections", {})
        order[self] = None
        if len(order) > connections():
            self._make_room(order)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self.app_state["olvido.connections"].pop(self, None)
        for timer in (self._waiting, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Refuse ambiguous requests as RFC 9112 allows, and handle all others."""
        # Before the next request replaces the scope: it has no caller until it is answered.
        self._trusted = self.trusted
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
        """Start the timer for a client that does not read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READ_WITHIN, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that timer: the client reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    @property
    def trusted(self) -> bool:
        """Whether a known caller has used this connection."""
        self._trusted = self._trusted or bool(self.scope and CALLER in self.scope)
        return self._trusted

    def _watch(self) -> None:
        """Start the timer from the first byte until a request's headers are whole."""
        begins = self.conn.their_state is h11.IDLE
        # Between two requests uvicorn has a timer, until a byte comes.
        expected = begins and (self.cycle is None or bool(self.conn.trailing_data[0]))
        if expected and self._waiting is None:
            self._waiting = self.loop.call_later(HEADERS_WITHIN, self.transport.abort)
        elif not expected and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    @staticmethod
    def _make_room(order: dict[Connection, None]) -> None:
        # There always is one: the newest connection has no known caller yet.
        gone = next(one for one in order if not one.trusted)
        del order[gone]
        gone.transport.abort()


class Server(uvicorn.Server):
    """A server with a long queue, although it accepts few connections at a time."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        # asyncio's number of accepted connections is also the queue's length, unless set again.
        for one in sockets or ():
            one.listen(QUEUED)


class Quiet(logging.Filter):
    """A log filter that passes some equal lines, and then reports the number of further ones.

    Args:
        lines: the number of equal lines passed in each interval.
        seconds: the length of the interval.
    """

    KINDS = 100
    """Kinds of lines that are counted separately; further kinds are counted as one."""

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
