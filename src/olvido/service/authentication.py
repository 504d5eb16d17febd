"""Who asks, and whether they may: the one place where a request meets a token or a session."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Annotated

from fastapi import Form, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from olvido.accounts import RIGHTS, Accounts, Password, Right, Token
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.passwords import matching
from olvido.service.sessions import Buckets, LogCheckCache, Sessions
from olvido.service.views import Inbox
from olvido.settings import Settings

COOKIE = "olvido"
"""Holds the session of who uses the pages; scripts cannot read it, other sites cannot send it."""
DEVICE = "olvido-device"
"""Holds what tells that an account signed in here with its password before; it opens nothing."""
UNKNOWN = "olvido-form"
"""The same for who has not signed in yet: what the form for signing in is tied to."""
CALLER = "olvido.caller"
"""Where a request's scope holds who asks, once that is known."""
READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""


class RequestRefused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        why: what was expected, what came and what to do, in a line.
        wait: seconds until asking again makes sense.
    """

    caller: Caller | None = None
    """Who is known and may not do this."""

    def __init__(self, status: int, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.status, self.why, self.wait = status, why, wait


@dataclass(frozen=True)
class Tenant:
    """One workspace behind the service, with a ledger and accounts of its own."""

    settings: Settings
    store: Store
    accounts: Accounts
    sessions: Sessions

    @cached_property
    def inbox(self) -> Inbox:
        """Its open requests."""
        return Inbox(self)

    @cached_property
    def checked(self) -> LogCheckCache:
        """Whether its log is as it was written."""
        return LogCheckCache(self.store)

    @classmethod
    def of(cls, settings: Settings) -> Tenant:
        """Open a workspace.

        Raises:
            StateError: its ledger or key is missing, or they do not belong together.
        """
        store = Store.open(settings.ledger, key=Key.load(settings.key))
        sessions = Sessions(settings.key.with_name("sessions.json"))
        return cls(settings, store, Accounts.of(settings), sessions)


@dataclass(frozen=True)
class Caller:
    """Who asks: a token, which belongs to one tenant; nobody else's data is within its reach."""

    tenant: Tenant
    token: Token

    def may(self, right: Right) -> bool:
        """Whether the token's role has this right."""
        return right in RIGHTS[self.token.role]


class Authenticator:
    """Finds the caller of a request.

    Whoever has a valid token or session is counted by that alone: no number of guesses from the
    same address slows them down.

    Args:
        tenants: whose tokens are known.
        asks: what each token may ask.
        guesses: how many unknown tokens are heard from one address.
        visits: how many pages that are not there one address may ask for, of those that need no
            token but their own address.
    """

    def __init__(
        self, tenants: Sequence[Tenant], *, asks: Buckets, guesses: Buckets, visits: Buckets
    ) -> None:
        self.tenants, self._asks, self._guesses, self._visits = tenants, asks, guesses, visits

    def caller(self, request: Request, right: Right) -> Caller:
        """Who asks, from what a request's headers say.

        Raises:
            RequestRefused: nobody who is known (401), not with this role or from another site
                (403), or too much was asked (429).
        """
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        cookie = request.cookies.get(COOKIE)
        if scheme.lower() == "bearer" and bearer:
            found = self.find(bearer.strip(), address(request))
        elif cookie is not None:
            if request.method not in READING:
                refuse_foreign(request)
                if request.url.path.startswith("/api"):
                    raise RequestRefused(
                        403, "the API is told what to do by a token, not by a browser"
                    )
            found = self._signed_in(cookie, address(request))
        else:
            raise RequestRefused(
                401, "give a token: 'Authorization: Bearer TOKEN', or sign in at /login"
            )
        if not found.may(right):
            error = RequestRefused(403, f"the role {found.token.role} may not {right}: ask who may")
            error.caller = found
            raise error
        return found

    def find(self, secret: str, where: str) -> Caller:
        """The caller with this token.

        Raises:
            RequestRefused: nobody has it (401), or too much was asked (429).
        """
        for tenant in self.tenants:
            if token := tenant.accounts.find(secret):
                return self._counted(tenant, token)
        raise self._guessed(where, "this token is not known here: ask for one ('olvido token new')")

    def sign_in(self, secret: str, where: str) -> tuple[Caller, str]:
        """The caller with this token, and a new session of theirs. Raises as `find`."""
        caller = self.find(secret, where)
        return caller, caller.tenant.sessions.begin(caller.token.digest)

    def sign_in_with_password(
        self, name: str, password: str, where: str, device: str | None
    ) -> tuple[Caller, str, str]:
        """The caller with this account and password, a new session of theirs, and their device.

        Guesses are counted by address, and those from a device that signed in to the account
        before by that device: nobody else's guesses keep its owner out. The work is the same
        whether or not there is such an account.

        Args:
            name: the account's label or id.
            password: what was given as its password.
            where: the address that asks.
            device: what `device` gave to this browser before, if anything.

        Raises:
            RequestRefused: no account has it (401), or too much was asked (429).
        """
        kept = [tenant.accounts.password_of(name) for tenant in self.tenants]
        known = any(
            one
            and device
            and hmac.compare_digest(self._device(tenant, one).encode(), device.encode())
            for tenant, one in zip(self.tenants, kept, strict=True)
        )
        by = f"device {device}" if known else where
        # Counted before the work is done: asked at once, no more are tried than one by one.
        if wait := self._guesses.take(by):
            raise RequestRefused(429, "too many wrong passwords came from here: wait", wait)
        found = matching(password, [None if one is None else one.phc for one in kept])
        for tenant, one, right in zip(self.tenants, kept, found, strict=True):
            if right and one and (token := tenant.accounts.with_digest(one.token("").digest)):
                self._guesses.give_back(by)
                caller = self._counted(tenant, token)
                session = tenant.sessions.begin(token.digest)
                return caller, session, self._device(tenant, one)
        raise RequestRefused(
            401, "no account has this name and password: ask for one, or try again"
        )

    @staticmethod
    def _device(tenant: Tenant, password: Password) -> str:
        # Of the password, and not of the account: with another one, or none, it ends.
        return tenant.store.key.derived(b"device", password.token("").digest.encode()).hex()

    def sign_out(self, session: str) -> None:
        """End a session, wherever it belongs."""
        for tenant in self.tenants:
            tenant.sessions.end(session)

    def visit(self, where: str, page: str | None) -> None:
        """Count a page that needs no token: against itself where there is one, or as a guess.

        Args:
            where: the address that asks.
            page: which one it is; None where what was asked for is not there.

        Raises:
            RequestRefused: too much was asked (429).
        """
        wait = self._visits.take(where) if page is None else self._asks.take(page)
        if wait:
            raise RequestRefused(429, "too many requests came from your address: wait", wait)

    def _signed_in(self, session: str, where: str) -> Caller:
        for tenant in self.tenants:
            digest = tenant.sessions.find(session)
            # A token that was revoked takes its sessions with it.
            token = None if digest is None else tenant.accounts.with_digest(digest)
            if token is not None:
                return self._counted(tenant, token)
        raise self._guessed(where, "you are not signed in any more: sign in at /login")

    def _counted(self, tenant: Tenant, token: Token) -> Caller:
        if wait := self._asks.take(token.digest):
            raise RequestRefused(429, "too many requests came with this token: wait", wait)
        return Caller(tenant, token)

    def _guessed(self, where: str, why: str) -> RequestRefused:
        if wait := self._guesses.take(where):
            return RequestRefused(429, "too many unknown tokens came from your address: wait", wait)
        return RequestRefused(401, why)


_bearer = HTTPBearer(auto_error=False, description="A token made by 'olvido token new'.")


class RequiresRight:
    """What a route depends on: a caller who has this right.

    The caller was found before a byte of the body was read; a route that nobody looked at so is not
    answered.
    """

    def __init__(self, right: Right) -> None:
        self.right = right

    def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> Caller:
        caller = request.scope.get(CALLER)
        if not isinstance(caller, Caller) or not caller.may(self.right):
            raise RequestRefused(
                401, "give a token: 'Authorization: Bearer TOKEN', or sign in at /login"
            )
        return caller


def form_token(request: Request) -> str | None:
    """What a form on a page for this browser says, so that it is known to be ours."""
    name = UNKNOWN if request.url.path == "/login" else COOKIE
    cookie = request.cookies.get(name)
    return None if cookie is None else form_token_of(cookie)


def form_token_of(cookie: str) -> str:
    """What forms say for a browser with this cookie; the cookie cannot be told from it."""
    return hmac.digest(cookie.encode(), b"olvido form", "sha256").hex()


def own_form(request: Request, form: Annotated[str, Form(max_length=200)] = "") -> None:
    """What a route that a form goes to depends on: the form came from this service's own page.

    Raises:
        RequestRefused: it did not.
    """
    expected = form_token(request)
    if expected is None and "authorization" in request.headers:
        # No browser sends that header by itself.
        return
    if expected is None or not hmac.compare_digest(form.encode(), expected.encode()):
        raise RequestRefused(403, "this form is an old one, or another site's: open its page again")


def refuse_foreign(request: Request) -> None:
    """A page of another site must not act through this browser.

    Raises:
        RequestRefused: the browser says that the request came from elsewhere.
    """
    ours = f"{request.url.scheme}://{request.headers.get('host')}"
    came = request.headers.get("origin")
    if came is None and (referer := request.headers.get("referer")):
        came = "/".join(referer.split("/", 3)[:3])
    if came is not None and came != ours:
        raise RequestRefused(
            403,
            f"this form was sent from another site than {ours}: open it here and send it again. "
            "Behind a proxy, name it with 'olvido serve --proxy'",
        )
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise RequestRefused(
            403, "this form was sent from another site: open it here and send it again"
        )


_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_TRANSLATED = IPv6Network("64:ff9b::/96")


def address(request: Request) -> str:
    """Where a request comes from, for counting; who has one IPv6 address has 2^64.

    One of IPv4 is itself, also as a socket for both kinds, or a translator, writes it in IPv6 (RFC
    4291, 2.5.5.2; RFC 6052). The port that some proxies write behind it counts for nothing.
    """
    host = request.client.host if request.client else "unknown"
    try:
        bare = _PORT.fullmatch(host)
        found = ip_address(bare[1] or bare[2] if bare else host)
    except ValueError:
        return host
    if not isinstance(found, IPv6Address):
        return str(found)
    within = IPv4Address(int(found) % 2**32) if found in _TRANSLATED else found.ipv4_mapped
    return str(within) if within is not None else found.exploded[:19]
