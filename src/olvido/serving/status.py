"""The page on which whoever asked can follow their request: its address is the secret.

Nothing is kept of an address. The team's is derived from the workspace's key. A receipt, which is
given to whoever may file requests and see none, is sealed by that key: it holds when it was filed
and which request it became, and looks the same whatever that is.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from olvido.ledger.facts import Request
from olvido.ledger.identity import Key
from olvido.requests.desk import Office

_SEALED = struct.Struct(">QQI?")
_NONCE = 12
_NUMBER = "req-{:04d}"


def path(key: Key, identifier: str) -> str:
    """Where a request's page is, below the service's address."""
    return f"/status/{identifier}/{_secret(key, identifier)}"


def find(offices: Iterable[Office], identifier: str, secret: str) -> tuple[Office, Request] | None:
    """The request with this secret, and whose it is; None where there is none."""
    for office in offices:
        if hmac.compare_digest(_secret(office.store.key, identifier).encode(), secret.encode()):
            return office, office.store.request(identifier)
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
        told = _SEALED.pack(number, int(self.filed_at.timestamp()), due, self.first)
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + _cipher(key).encrypt(nonce, told, None)
        return f"/status/{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    @classmethod
    def find(cls, offices: Iterable[Office], sealed: str) -> tuple[Office, Receipt] | None:
        """The receipt of this address, and whose it is; None where nobody gave it."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), b"-_", validate=True)
        except ValueError:
            return None
        for office in offices:
            try:
                told = _cipher(office.store.key).decrypt(raw[:_NONCE], raw[_NONCE:], None)
            except (InvalidTag, ValueError):
                continue
            number, at, due, first = _SEALED.unpack(told)
            day = date.fromordinal(due) if due else None
            return office, cls(_NUMBER.format(number), datetime.fromtimestamp(at, UTC), day, first)
        return None


def _cipher(key: Key) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(key.derived(b"receipt", b""))
