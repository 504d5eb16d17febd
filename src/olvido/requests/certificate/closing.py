"""What holds the data besides the weights, as a certificate tells it."""

from __future__ import annotations

from typing import Any

OPEN = "open"
EXITS = ("erased", "awaiting expiry", "cannot", OPEN)
"""What may have become of an artefact; all but the last are ends."""

ARTEFACTS = (
    "raw rows",
    "tokenised and activation caches",
    "checkpoints and optimizer states",
    "adapters and descendants",
    "logs and report examples",
    "exported copies",
    "backups",
)
"""What is to be looked at."""


def unexamined() -> dict[str, Any]:
    """A closure of which nothing is known: all of it is open."""
    items = [
        {"artefact": name, "exit": OPEN, "until": None, "reason": "not examined"}
        for name in ARTEFACTS
    ]
    return {"complete": False, "open": list(ARTEFACTS), "items": items}
