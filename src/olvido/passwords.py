"""Passwords of accounts: Argon2id (RFC 9106), with the same work for every account.

The hashes are PHC strings: each contains its own parameters, so that those below can grow.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections.abc import Sequence
from functools import cache
from threading import BoundedSemaphore

from olvido.errors import InputError
from olvido.extras import extra
from olvido.names import words

with extra("service"):
    from cryptography.exceptions import InvalidKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

LEAST, MOST = 15, 500
"""Characters of a password: NIST SP 800-63B-4, 3.1.1.2, for passwords that stand alone."""
_MEMORY, _PASSES, _LANES = 19_456, 2, 1
"""KiB, passes and lanes: OWASP, "Password Storage Cheat Sheet"."""
_AT_ONCE = BoundedSemaphore(2)
"""Concurrent hashes: guessing takes no more processor and memory than that."""


def hashed(password: str, label: str) -> str:
    """The hash to store of a new password.

    Raises:
        InputError: it is too short, too long, one thing repeated, or contains the account's label,
            ignoring case, accents and spaces.
    """
    if not LEAST <= len(password) <= MOST:
        raise InputError(
            f"expected a password of {LEAST} to {MOST} characters, got {len(password)}"
        )
    if len(set(password)) < 6 or "".join(words(label)) in "".join(words(password)):
        raise InputError(
            "expected a password of at least six different characters without the account's label: "
            "some words that nobody else would choose"
        )
    return _hash(password)


def matching(password: str, kept: Sequence[str | None]) -> list[bool]:
    """Which hashes a password matches; for a missing hash the same work is done in vain."""
    return [_matches(password, one or _nobodys()) and one is not None for one in kept]


def _matches(password: str, phc: str) -> bool:
    try:
        with _AT_ONCE:
            Argon2id.verify_phc_encoded(_bytes(password), phc)
    except InvalidKey:
        return False
    return True


@cache
def _nobodys() -> str:
    return _hash(secrets.token_urlsafe(32))


def _hash(password: str) -> str:
    made = Argon2id(
        salt=os.urandom(16), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY
    )
    with _AT_ONCE:
        return made.derive_phc_encoded(_bytes(password))


def _bytes(password: str) -> bytes:
    # Keyboards compose letters differently.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
