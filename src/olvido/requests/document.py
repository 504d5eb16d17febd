"""The report of an answered request, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from olvido.audits import Verdict
from olvido.forgetting import METHODS, Split
from olvido.ledger.facts import Model
from olvido.models import weights_digest
from olvido.requests.limits import LIMITS
from olvido.requests.planner import Choice, Route
from olvido.requests.types import Attempt
from olvido.workspace import Held


def document(
    identifier: str,
    together: Sequence[str],
    held: Held,
    never: Iterable[Held],
    datasets: Sequence[str],
    found: Sequence[Route],
    choice: Choice,
    tried: Sequence[Attempt],
    published: Model | None,
    split: Split,
) -> dict[str, Any]:
    """What a report says.

    Args:
        identifier: of the request.
        together: of all requests that were answered in the same run.
        held: the model that was asked to forget.
        never: models that never saw the records, where an audit needed them.
        datasets: names of those that the records stand in.
        found, choice: every way, priced, and the one chosen.
        tried: in their order.
        published: the new version, if any.
        split: what was forgotten and kept.
    """
    return {
        "request": identifier,
        "together": list(together),
        "verdict": Verdict.PASS.value if published else Verdict.FAIL.value,
        "model": {"before": held.fact.id, "after": published.id if published else None},
        "digest": {"before": str(held.fact.digest), "after": published and str(published.digest)},
        "never_trained": [
            {"id": h.fact.id, "seed": h.fact.seed, "digest": weights_digest(h.trained.model)}
            for h in never
        ],
        "records": {
            "forgotten": len(split.forget),
            "retained": len(split.retain),
            "holdout": len(split.holdout),
            "datasets": list(datasets),
        },
        "plan": [route.way.to_dict() for route in found],
        "chosen": choice.chosen.to_dict(),
        "attempts": [attempt.to_dict() for attempt in tried],
        "does_not_prove": list(LIMITS[METHODS.find(tried[-1].method).guarantee]),
    }
