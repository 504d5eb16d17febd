"""The page on which whoever asked can follow their request: its address is the secret.

Nothing is kept of an address. The team's is derived from the workspace's key. A receipt, which is
given to whoever may file requests and see none, is sealed by that key: it holds when it was filed
and which request it became, and looks the same whatever that is.

What the role that files requests and sees none is told: the same, whatever is the case.

Whether a person is in the data, whether somebody asked for them before, and which datasets, records
and models there are: none of it may be learned by filing. Every filing is in the log.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import secrets
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from starlette.concurrency import run_in_threadpool

from olvido.errors import AskedBefore, InputError
from olvido.ledger.facts import Request, RequestKind
from olvido.ledger.identity import Key, SubjectId
from olvido.requests import handlers
from olvido.requests.handlers import RequestContext
from olvido.requests.rights.clock import Clock, deadline
from olvido.requests.rights.deadlines import today
from olvido.requests.rights.registry import find_law
from olvido.requests.scope import look_up

_SEALED = struct.Struct(">QQI?")
_NONCE = 12
_NUMBER = "req-{:04d}"


def path(key: Key, identifier: str) -> str:
    """Where a request's page is, below the service's address."""
    return f"/status/{identifier}/{_secret(key, identifier)}"


def find(
    contexts: Iterable[RequestContext], identifier: str, secret: str
) -> tuple[RequestContext, Request] | None:
    """The request with this secret, and whose it is; None where there is none."""
    for context in contexts:
        if hmac.compare_digest(_secret(context.store.key, identifier).encode(), secret.encode()):
            return context, context.store.request(identifier)
    return None


def _secret(key: Key, identifier: str) -> str:
    mac = key.derived(b"status", identifier.encode())
    return base64.b32encode(mac[:20]).decode().lower()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a filing.

    Attributes:
        request: the id of the request that it became, or that asked for the same before.
        filed_at: when it came, to the second.
        due: when an answer is due, counted from there; None where no law was said.
        first: whether it became a request of its own.
    """

    request: str
    filed_at: datetime
    due: date | None
    first: bool

    def path(self, key: Key) -> str:
        """Where its page is, below the service's address; another address each time."""
        number = int(self.request.removeprefix("req-"))
        due = 0 if self.due is None else self.due.toordinal()
        plain = _SEALED.pack(number, int(self.filed_at.timestamp()), due, self.first)
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + _cipher(key).encrypt(nonce, plain, None)
        return f"/status/{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    @classmethod
    def find(
        cls, contexts: Iterable[RequestContext], sealed: str
    ) -> tuple[RequestContext, Receipt] | None:
        """The receipt of this address, and whose it is; None where nobody gave it."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), b"-_", validate=True)
        except ValueError:
            return None
        for context in contexts:
            try:
                plain = _cipher(context.store.key).decrypt(raw[:_NONCE], raw[_NONCE:], None)
            except (InvalidTag, ValueError):
                continue
            number, at, due, first = _SEALED.unpack(plain)
            day = date.fromordinal(due) if due else None
            return context, cls(_NUMBER.format(number), datetime.fromtimestamp(at, UTC), day, first)
        return None


def _cipher(key: Key) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(key.derived(b"receipt", b""))


KINDS = (RequestKind.ERASURE, RequestKind.OPT_OUT, RequestKind.ACCESS)
"""What may be filed for a person."""
STEP = 0.25
"""Seconds: an answer comes at a multiple of this, so that its time tells nothing."""


async def file_quietly(
    context: RequestContext, names: Sequence[str], *, kind: str, law: str | None
) -> str:
    """Enter a request about a person, under all their names.

    Gives the path of the page on which it can be followed. One that asks for the same as an open
    one is noted there.

    Raises:
        InputError: it names no person, another kind, or a law that is not known; after the same
            time, too.
    """
    began = time.monotonic()
    try:
        receipt = await run_in_threadpool(_file, context, names, kind, law)
    finally:
        spent = time.monotonic() - began
        await asyncio.sleep(STEP * math.ceil(spent / STEP) - spent)
    return receipt.path(context.store.key)


def _file(context: RequestContext, names: Sequence[str], kind: str, law: str | None) -> Receipt:
    # An id of somebody is what those have who see requests: here it would tell who is known.
    if kind not in KINDS or not names or any(map(SubjectId.is_one, names)):
        raise InputError(
            f"expected a request of kind {' or '.join(KINDS)} about a subject, got something else: "
            "whoever may see requests can enter other kinds"
        )
    at = datetime.now(UTC)
    try:
        due = _due(context, kind, law, at)
    except InputError:
        raise InputError("expected a law by its short name, like gdpr, or none") from None
    store = context.store
    try:
        known = any(look_up(store, names).counts.values())
        first, *also = names
        made = handlers.receive(
            context,
            first,
            also=also,
            kind=kind,
            law=law,
            received_at=at,
            nothing_found=not known,
        )
    except AskedBefore as error:
        store.note("request-filed-again", {"id": error.request})
        return Receipt(error.request, at, due, first=False)
    return Receipt(made.id, at, due, first=True)


def _due(context: RequestContext, kind: str, law: str | None, at: datetime) -> date | None:
    if law is None:
        return None
    settings = context.settings
    return deadline(
        find_law(law, workspace=settings.workspace).concerning(kind),
        Clock(received=today(settings, at)),
        today=today(settings, at),
        holidays=settings.holidays,
    ).answer
