"""The server under the application: how many may be connected, how long they may take.

What uvicorn has a setting for is set here. What it has none for is in `Connection`: a limit of time
for a request's headers and for a reader who does not read, a number of connections that anonymous
callers cannot use up, and no request that a proxy may read in another way.

What stands before every route: who asks is known before a byte of a body is read.

A body is read here, whole, and no further than its route allows; what a route then parses is in
memory and small. This knows ASGI alone, and nothing of what the routes do.
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
"""Bytes of a body that a known caller may send."""
ANONYMOUS = 2**12
"""The same for anybody else: a token and a form's own entries."""
DRAINED = 2**24
"""Bytes that a known caller's body may have to be heard out before it is refused."""
PATIENCE = 20.0
"""Seconds in which a whole body has to come."""
HTTPS_ONLY = "max-age=31536000"
"""For browsers that came by TLS: never come otherwise, for a year."""


class Boundary:
    """Middleware that lets through whoever may ask, with a body of the size that they may send.

    Args:
        app: what answers.
        authenticator: who knows the callers.
        routes: with the right that each asks for in `RequiresRight`; others ask for none.
        refusal: makes an answer of a refusal.
        headers: of every answer that does not say otherwise.
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
                    # The rest of a body that nobody reads would come before the next request.
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
    """What a route asks for; None where it is open to everybody."""
    asked = [
        d.call.right for d in route.dependant.dependencies if isinstance(d.call, RequiresRight)
    ]
    return asked[0] if asked else None


def _has_body(scope: Scope) -> bool:
    named = dict(scope["headers"])
    return b"transfer-encoding" in named or named.get(b"content-length", b"0") != b"0"


def _refuse_two_lengths(scope: Scope) -> None:
    """RFC 9112, 6.3: who says two lengths may mean another request to whoever is in between."""
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
    """Hear out what a known caller sends, so that they read the refusal; gives whether it ended."""
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
    finds one even where anonymous callers hold as many connections as they can.
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
        # Before the next request takes the scope's place: until it is answered it has no caller.
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
