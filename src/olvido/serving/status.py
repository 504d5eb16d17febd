"""The page on which whoever asked can follow their request: its address is the secret.

The secret is derived from the workspace's key, so nothing is kept, and a page shows no more than
how far the request has come.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable

from olvido.ledger.facts import Request
from olvido.ledger.identity import Key
from olvido.requests.desk import Office


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
