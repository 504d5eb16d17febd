"""Every way to forget, priced before anything runs, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from olvido.errors import InputError, MissingNeed
from olvido.forgetting import METHODS, Cost, Split, predict
from olvido.learners import Trained
from olvido.ledger.facts import Guarantee
from olvido.tasks import Task

EMPIRICAL_FIRST = ("npo", "graddiff", "simnpo")
"""Empirical methods worth trying by themselves, the one that passed most audits first (see
docs/results/defaults.md). Ascent is left to those who ask for it."""
EXACT_LAST = ("retrain",)
"""What is left when no empirical method passes its audit."""


@dataclass(frozen=True)
class Route:
    """One way to forget.

    Attributes:
        method: its name.
        guarantee: what it may claim.
        summary: what it does, in a line.
        cost: predicted; None where it does not apply.
        refusal: why it does not apply; None where it does.
    """

    method: str
    guarantee: Guarantee
    summary: str
    cost: Cost | None
    refusal: str | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        cost = self.cost
        return {
            "method": self.method,
            "guarantee": self.guarantee.value,
            "summary": self.summary,
            "applies": self.refusal is None,
            "refusal": self.refusal,
            "seconds": None if cost is None else cost.seconds,
            "share_of_retraining": None if cost is None else cost.retraining,
        }


def routes(trained: Trained, split: Split, task: Task) -> tuple[Route, ...]:
    """All methods with their predicted cost, the cheapest first, those that do not apply last."""
    found = []
    for name, method in METHODS.items():
        cost, refusal = None, None
        try:
            cost = predict(trained, split, task, method=name, options={})
        except (MissingNeed, InputError) as error:
            refusal = str(error)
        found.append(Route(name, method.guarantee, method.summary, cost, refusal))
    return tuple(sorted(found, key=lambda r: (r.cost is None, r.cost.tokens if r.cost else 0.0)))


def attempts(
    found: Sequence[Route], method: str | None, options: Mapping[str, Any]
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The methods to try, one after the other, until an audit passes.

    Args:
        found: what applies.
        method: tried first where one is asked for, with `options`; None: the best empirical one.

    Raises:
        MissingNeed: the method asked for does not apply, or none does.
    """
    refusals = {route.method: route.refusal for route in found}
    if method is not None and (reason := refusals.get(method)):
        raise MissingNeed(reason)
    applies = [name for name, reason in refusals.items() if reason is None]
    first = [method] if method else [n for n in EMPIRICAL_FIRST if n in applies][:1]
    order = [*first, *(n for n in EXACT_LAST if n in applies and n not in first)]
    if not order:
        raise MissingNeed("no method applies: " + "; ".join(str(r) for r in refusals.values()))
    return tuple((name, dict(options) if name == method else {}) for name in order)
