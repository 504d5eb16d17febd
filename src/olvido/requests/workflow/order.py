"""How a plan is to be carried out, as it is approved: names alone, for whatever process does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from olvido.errors import InputError
from olvido.ledger.facts import Request, RequestKind, RequestStatus
from olvido.ledger.serving import SERVING
from olvido.ledger.store import Store

_READY = (RequestStatus.APPROVED, RequestStatus.RUNNING, RequestStatus.AUDITED)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What `olvido.requests.run` is to be called with.

    Attributes:
        model: alias or id of the one that shall forget.
        holdout, neighbours, general: names of datasets, see `Probes`.
        method, options, references, within, level, seed: see `olvido.requests.run`.
    """

    model: str
    holdout: str | None = None
    neighbours: str | None = None
    general: str | None = None
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    references: int | None = None
    within: float | None = None
    level: str | None = None
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"options": dict(self.options)}

    @classmethod
    def of(cls, request: Request) -> Self | None:
        """The order that a request was last approved with; None where it had none.

        Raises:
            InputError: it is one of another Olvido.
        """
        for step in reversed(request.history):
            if "order" in step.detail:
                try:
                    return cls(**step.detail["order"])
                except TypeError as error:
                    raise InputError(
                        f"the order of request {request.id} cannot be read ({error}): cancel and "
                        "resume it, and approve its plan again"
                    ) from None
        return None


def waiting(store: Store) -> tuple[Request, ...]:
    """The requests that a worker would take up: approved with an order, or cut off."""
    return tuple(
        request
        for request in store.requests(_READY)
        if request.kind is not RequestKind.DESTROY and Order.of(request) is not None
    )


def heir(store: Store, model: str) -> str:
    """The model that serves in place of the one that was ordered, where it came from it by
    forgetting alone; otherwise that one itself.

    Between an approval and its turn another request may have been answered: to forget in the model
    of then would leave the one that serves as it is.
    """
    known = {found.id: found for found in store.models()}
    serving = store.aliases().get(SERVING)
    at = known[store.model(model).id] if model != SERVING else known.get(serving or "")
    one = known.get(serving or "")
    while one is not None and at is not None and one.id != at.id:
        if one.method is None:
            return at.id
        one = known.get(one.parents[0]) if one.parents else None
    return serving if one is not None and serving is not None else model
