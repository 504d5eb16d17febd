"""What holds the data besides the weights, as a certificate tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from olvido.ledger.facts import ClosureItem, Exit, Request, RequestStatus
from olvido.ledger.store import Store
from olvido.ledger.store.closure import is_sealed
from olvido.schemas.certificate import REST

OPEN = "open"
EXITS = (*(exit.value for exit in Exit), OPEN)
"""What may have become of an artefact; all but the last are ends."""

UNSEEN = ("unread", "link", "hardlink", "names", REST)
"""Kinds of which nobody knows what is in them: their exit is what the team says."""


def closure_of(store: Store, request: Request) -> dict[str, Any]:
    """How each thing left, as the ledger has it. Complete only where the request was closed.

    Each begins with its kind (`olvido.artifacts`). A place is told by a keyed digest, but where it
    is a model's or a dataset's id: names of files may be those of people.
    """
    items = [_told(store, item) for item in store.closure(request.id)]
    if request.status is not RequestStatus.CLOSED:
        items.append(_item(REST, OPEN, None, "the request is not closed"))
    still = [item["artefact"] for item in items if item["exit"] == OPEN]
    told = {"complete": bool(items) and not still, "open": still, "items": items}
    return told | {"unseen": unseen(items)}


def unseen(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The artefacts that were not looked into, whatever exit they were given."""
    names = [str(item["artefact"]) for item in items]
    return [name for name in names if name.partition(":")[0] in UNSEEN]


def _told(store: Store, found: ClosureItem) -> dict[str, Any]:
    name = store.sealed(found.item)
    if is_sealed(name):
        kind, _, place = name.partition(":")
        name = f"{kind}:{place.rpartition(':')[2][:12]}"
    if found.exit is None:
        return _item(name, OPEN, None, "not examined")
    if found.exit is Exit.AWAITING_EXPIRY:
        return _item(name, found.exit.value, found.detail, None)
    return _item(name, found.exit.value, None, found.detail, by_word=found.by_word)


def _item(
    name: str, exit: str, until: str | None, reason: str | None, *, by_word: bool = False
) -> dict[str, Any]:
    return {
        "artefact": name,
        "exit": exit,
        "until": until,
        "reason": reason,
        "by_word": by_word,
    }
