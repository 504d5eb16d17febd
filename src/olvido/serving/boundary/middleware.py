"""What stands before every route: who asks is known before a byte of a body is read.

A body is read here, whole, and no further than its route allows; what a route then parses is in
memory and small. This knows ASGI alone, and nothing of what the routes do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from olvido.accounts import Right
from olvido.errors import OlvidoError
from olvido.serving.boundary.authentication import (
    CALLER,
    READING,
    Authenticator,
    Needs,
    Refused,
    refuse_foreign,
)

BODY = 2**20
"""Bytes of a body that a known caller may send."""
STRANGERS = 2**12
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
        routes: with the right that each asks for in `Needs`; others ask for none.
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
        except (Refused, OlvidoError, OSError) as error:
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
    asked = [d.call.right for d in route.dependant.dependencies if isinstance(d.call, Needs)]
    return asked[0] if asked else None


def _has_body(scope: Scope) -> bool:
    named = dict(scope["headers"])
    return b"transfer-encoding" in named or named.get(b"content-length", b"0") != b"0"


def _refuse_two_lengths(scope: Scope) -> None:
    """RFC 9112, 6.3: who says two lengths may mean another request to whoever is in between."""
    named = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" in named and b"content-length" in named:
        raise Refused(400, "expected Content-Length or Transfer-Encoding, got both")


async def _body(scope: Scope, receive: Receive) -> bytes:
    limit = BODY if CALLER in scope else STRANGERS
    too_long = Refused(413, f"expected at most {limit} bytes, got more")
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
                    raise Refused(400, "the connection ended before the request did")
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_long
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refused(408, f"expected the whole request within {PATIENCE:.0f} seconds") from None
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
