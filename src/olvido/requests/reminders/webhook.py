"""A reminder as a signed POST: whoever has the secret can tell that it is Olvido's, and new."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from olvido.requests.reminders.delivery import PATIENCE, Failed

TIMESTAMP, SIGNATURE = "Olvido-Timestamp", "Olvido-Signature"


def post(url: str, document: Mapping[str, Any], secret: str) -> None:
    """Send a document once; redirections are not followed.

    `Olvido-Signature` is `v1=` and the hexadecimal HMAC-SHA-256 of the secret over the timestamp
    (seconds since 1970, also in `Olvido-Timestamp`), a full stop and the body. Whoever receives it
    compares it in constant time, and refuses what is older than five minutes.

    Raises:
        Failed: it was not taken: by an answer other than 2xx, or none in time.
    """
    body = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
    at = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Olvido",
        TIMESTAMP: at,
        SIGNATURE: signature(secret, at, body),
    }
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = HTTPSConnection(
            str(parts.hostname), parts.port, timeout=PATIENCE, context=context
        )
    else:
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE)
    try:
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError:
        raise Failed("the webhook's certificate is not to be trusted", passing=False) from None
    except (OSError, HTTPException) as error:
        raise Failed(f"the webhook did not answer ({type(error).__name__})", passing=True) from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        passing = status >= 500 or status in (408, 425, 429)
        raise Failed(f"the webhook answered {status}", passing=passing)


def signature(secret: str, at: str, body: bytes) -> str:
    """What a body is signed with at a time."""
    mac = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256)
    return f"v1={mac.hexdigest()}"
