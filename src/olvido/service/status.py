"""The status page, on which the person can follow their request: its address is the secret.

No address is stored. That of the team is derived from the workspace's key. A receipt, for the role
that files requests and sees none, is sealed by that key: it contains the time of filing and the
request's id, and its form reveals neither.

Filing by that role always has the same answer. It must not reveal whether a person is in the data,
whether they were asked for before, or which datasets, records and models exist. Every filing is
in the log.
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
    """The path of a request's status page, below the service's address."""
    return f"/status/{identifier}/{_secret(key, identifier)}"


def find(
    contexts: Iterable[RequestContext], identifier: str, secret: str
) -> tuple[RequestContext, Request] | None:
    """The request with this secret, and its tenant; None where there is none."""
    for context in contexts:
        if hmac.compare_digest(_secret(context.store.key, identifier).encode(), secret.encode()):
            return context, context.store.request(identifier)
    return None


def _secret(key: Key, identifier: str) -> str:
    mac = key.derived(b"status", identifier.encode())
    return base64.b32encode(mac[:20]).decode().lower()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of a filing.

    Attributes:
        request: the id of its request, or of an earlier one that asks for the same.
        filed_at: the time of filing, to the second.
        due: the day by which an answer is due, counted from there; None without a law.
        first: whether it became a request of its own.
    """

    request: str
    filed_at: datetime
    due: date | None
    first: bool

    def path(self, key: Key) -> str:
        """The path of its status page, below the service's address; different each time."""
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
        """The receipt of this address, and its tenant; None where there is none."""
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
"""The kinds of requests that may be filed for a person."""
STEP = 0.25
"""Seconds: an answer comes at a multiple of this, so that its time reveals nothing."""


async def file_quietly(
    context: RequestContext, names: Sequence[str], *, kind: str, law: str | None
) -> str:
    """Enter a request about a person, under all their names; return the path of its status page.

    One that asks for the same as an open one is noted there.

    Raises:
        InputError: it names no person, another kind, or an unknown law; after the same time, too.
    """
    began = time.monotonic()
    try:
        receipt = await run_in_threadpool(_file, context, names, kind, law)
    finally:
        spent = time.monotonic() - began
        await asyncio.sleep(STEP * math.ceil(spent / STEP) - spent)
    return receipt.path(context.store.key)


def _file(context: RequestContext, names: Sequence[str], kind: str, law: str | None) -> Receipt:
    # Only roles that see requests may use a person's id: here it would reveal who is in the data.
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
