"""Who asks, and whether they may: the one place where a route meets a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.serving.checked import Checked
from olvido.serving.inbox import Inbox
from olvido.serving.limits import Buckets
from olvido.serving.tokens import RIGHTS, Right, Token, Tokens
from olvido.settings import Settings

COOKIE = "olvido"
"""Holds the token of who uses the pages; scripts cannot read it, other sites cannot send it."""


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        why: what was expected, what came and what to do, in a line.
        wait: seconds until asking again makes sense.
    """

    def __init__(self, status: int, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.status, self.why, self.wait = status, why, wait


@dataclass(frozen=True)
class Tenant:
    """One workspace behind the service, with a ledger and tokens of its own."""

    settings: Settings
    store: Store
    tokens: Tokens

    @cached_property
    def inbox(self) -> Inbox:
        """Its open requests."""
        return Inbox(self)

    @cached_property
    def checked(self) -> Checked:
        """Whether its log is as it was written."""
        return Checked(self.store)

    @classmethod
    def of(cls, settings: Settings) -> Tenant:
        """Open a workspace.

        Raises:
            StateError: its ledger or key is missing, or they do not belong together.
        """
        store = Store.open(settings.ledger, key=Key.load(settings.key))
        return cls(settings, store, Tokens.of(settings))


@dataclass(frozen=True)
class Caller:
    """Who asks: a token, which belongs to one tenant; nobody else's data is within its reach."""

    tenant: Tenant
    token: Token

    def may(self, right: Right) -> bool:
        """Whether the token's role has this right."""
        return right in RIGHTS[self.token.role]


class Guard:
    """Finds the caller of a request.

    Args:
        tenants: whose tokens are known.
        asks: what each token may ask.
        guesses: how many unknown tokens are heard from one address.
    """

    def __init__(self, tenants: Sequence[Tenant], *, asks: Buckets, guesses: Buckets) -> None:
        self.tenants, self._asks, self._guesses = tenants, asks, guesses

    def find(self, secret: str, address: str) -> Caller:
        """The caller with this token.

        Raises:
            Refused: nobody has it, or too much was asked (429).
        """
        if wait := self._guesses.wait(address):
            raise Refused(429, "too many unknown tokens came from your address: wait", wait)
        for tenant in self.tenants:
            if token := tenant.tokens.find(secret):
                if wait := self._asks.take(token.digest):
                    raise Refused(429, "too many requests came with this token: wait", wait)
                return Caller(tenant, token)
        self._guesses.take(address)
        raise Refused(401, "this token is not known here: ask for one ('olvido token new')")

    def stranger(self, address: str) -> None:
        """Count a page that needs no token against its address.

        Raises:
            Refused: too much was asked (429).
        """
        if wait := self._guesses.take(address):
            raise Refused(429, "too many requests came from your address: wait", wait)


_bearer = HTTPBearer(auto_error=False, description="A token made by 'olvido token new'.")


class Needs:
    """What a route depends on: the caller, who has this right."""

    def __init__(self, right: Right) -> None:
        self.right = right

    def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> Caller:
        cookie = request.cookies.get(COOKIE)
        if bearer is None and cookie is None:
            raise Refused(401, "give a token: 'Authorization: Bearer TOKEN', or sign in at /login")
        if bearer is None and request.method not in ("GET", "HEAD"):
            _refuse_foreign(request)
        secret = bearer.credentials if bearer else cookie or ""
        caller: Caller = request.app.state.guard.find(secret, address(request))
        if not caller.may(self.right):
            raise Refused(403, f"the role {caller.token.role} may not {self.right}: ask who may")
        return caller


def address(request: Request) -> str:
    """Where a request comes from, for counting."""
    return request.client.host if request.client else "unknown"


def _refuse_foreign(request: Request) -> None:
    """A form on another site must not act with this browser's cookie."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        raise Refused(403, "this form was sent from another site: open it here and send it again")
