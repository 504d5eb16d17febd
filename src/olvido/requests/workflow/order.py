"""How a plan is to be carried out, as it is approved: names alone, for whatever process does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from olvido.errors import InputError
from olvido.ledger.facts import Request


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
