"""Authentication and authorisation: the one place that checks tokens and sessions."""

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
"""The cookie with a browser's session; scripts cannot read it, other sites cannot send it."""
DEVICE = "olvido-device"
"""The cookie that shows an earlier sign-in of an account by password; it gives no access."""
UNKNOWN = "olvido-form"
"""The cookie of a browser that has not signed in yet, which the sign-in form is tied to."""
CALLER = "olvido.caller"
"""The key of the authenticated caller in a request's scope."""
READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""


class RequestRefused(Exception):
    """Raised for a request that is refused.

    Args:
        status: the HTTP status.
        why: what was expected, what came and what to do, in a line.
        wait: seconds until asking again makes sense.
    """

    caller: Caller | None = None
    """The known caller, if one lacks the right."""

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
        """The tenant's requests."""
        return Inbox(self)

    @cached_property
    def checked(self) -> LogCheckCache:
        """The check of the tenant's log."""
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
    """The caller: a token of one tenant, which reaches no other tenant's data."""

    tenant: Tenant
    token: Token

    def may(self, right: Right) -> bool:
        """Whether the token's role has this right."""
        return right in RIGHTS[self.token.role]


class Authenticator:
    """Finds the caller of a request.

    The limits of a valid token or session are its own: guesses from the same address do not slow
    it down.

    Args:
        tenants: the tenants whose tokens are valid.
        asks: the limit of requests by token.
        guesses: the limit of unknown tokens by address.
        visits: the limit of unknown status pages by address.
    """

    def __init__(
        self, tenants: Sequence[Tenant], *, asks: Buckets, guesses: Buckets, visits: Buckets
    ) -> None:
        self.tenants, self._asks, self._guesses, self._visits = tenants, asks, guesses, visits

    def caller(self, request: Request, right: Right) -> Caller:
        """Find the caller from a request's headers.

        Raises:
            RequestRefused: unknown caller (401), wrong role or another site (403), or too many
                requests (429).
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
                        403, "the API needs a token: a browser's session cannot act through it"
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
            RequestRefused: unknown token (401), or too many requests (429).
        """
        for tenant in self.tenants:
            if token := tenant.accounts.find(secret):
                return self._counted(tenant, token)
        raise self._guessed(where, "this token is not known here: ask for one ('olvido token new')")

    def sign_in(self, secret: str, where: str) -> tuple[Caller, str]:
        """The caller with this token, and a new session. Raises as `find`."""
        caller = self.find(secret, where)
        return caller, caller.tenant.sessions.begin(caller.token.digest)

    def sign_in_with_password(
        self, name: str, password: str, where: str, device: str | None
    ) -> tuple[Caller, str, str]:
        """The caller with this account and password, a new session, and the value for `device`.

        Guesses are counted by address; those from a device that signed in to the account before
        are counted by that device, so that others' guesses do not lock its owner out. The work is
        the same whether or not there is such an account.

        Args:
            name: the account's label or id.
            password: the password to check.
            where: the caller's address.
            device: the value that this browser got at an earlier sign-in, if any.

        Raises:
            RequestRefused: wrong account or password (401), or too many tries (429).
        """
        kept = [tenant.accounts.password_of(name) for tenant in self.tenants]
        known = any(
            one
            and device
            and hmac.compare_digest(self._device(tenant, one).encode(), device.encode())
            for tenant, one in zip(self.tenants, kept, strict=True)
        )
        by = f"device {device}" if known else where
        # Counted before the work, so that parallel tries gain nothing.
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
        # Bound to the password, not to the account: it ends with the password.
        return tenant.store.key.derived(b"device", password.token("").digest.encode()).hex()

    def sign_out(self, session: str) -> None:
        """End a session of any tenant."""
        for tenant in self.tenants:
            tenant.sessions.end(session)

    def visit(self, where: str, page: str | None) -> None:
        """Count a visit to a status page: by page where it exists, else as a guess.

        Args:
            where: the caller's address.
            page: the page; None where it does not exist.

        Raises:
            RequestRefused: too many requests (429).
        """
        wait = self._visits.take(where) if page is None else self._asks.take(page)
        if wait:
            raise RequestRefused(429, "too many requests came from your address: wait", wait)

    def _signed_in(self, session: str, where: str) -> Caller:
        for tenant in self.tenants:
            digest = tenant.sessions.find(session)
            # Revoking a token ends its sessions.
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
    """The dependency of a route on a caller with this right.

    The caller is found before a byte of the body is read (`server.Boundary`); without one the
    route does not answer.
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
    """The form token for a browser, by which a form is recognised as our own."""
    name = UNKNOWN if request.url.path == "/login" else COOKIE
    cookie = request.cookies.get(name)
    return None if cookie is None else form_token_of(cookie)


def form_token_of(cookie: str) -> str:
    """The form token for a browser with this cookie; it does not reveal the cookie."""
    return hmac.digest(cookie.encode(), b"olvido form", "sha256").hex()


def own_form(request: Request, form: Annotated[str, Form(max_length=200)] = "") -> None:
    """The dependency of a form's route: the form came from this service's own page.

    Raises:
        RequestRefused: it did not.
    """
    expected = form_token(request)
    if expected is None and "authorization" in request.headers:
        # A browser never sends this header by itself.
        return
    if expected is None or not hmac.compare_digest(form.encode(), expected.encode()):
        raise RequestRefused(403, "this form is an old one, or another site's: open its page again")


def refuse_foreign(request: Request) -> None:
    """Refuse a request that another site's page makes through this browser.

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
    """The address of a caller, for counting: of IPv6 the first 64 bits, as one owner has the rest.

    An IPv4 address counts whole, also as a dual-stack socket or a translator writes it in IPv6 (RFC
    4291, 2.5.5.2; RFC 6052). A port that some proxies write behind it is ignored.
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
