"""Whether a model knows which answer belongs to which question: its losses with answers exchanged.

A model that learned records is surer of their own answers than of those of others. The loss alone
tells nothing: an easy record has a low one under every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.nn import Module

from olvido.statistics import clusters_of, excess_draws, limits
from olvido.tasks.base import Example, Task
from olvido.tasks.scoring import losses_of

MOST = 64
"""Records that are put to the model, at the most."""
FEWEST = 8
"""Records, at the least, from which anything follows."""
BATCH = 32


@dataclass(frozen=True)
class Exchange:
    """Losses of records with their own answers and with those of others, nats a token.

    Attributes:
        own, exchanged: means over the records.
        interval: of the mean difference, exchanged less own, paired by record.
        records: how many were put to the model.
    """

    own: float
    exchanged: float
    interval: tuple[float, float]
    records: int

    @property
    def known(self) -> bool:
        """Whether the model is surer of the records' own answers, beyond chance."""
        return self.interval[0] > 0


def exchange(
    model: Module, records: Sequence[Example], task: Task, *, seed: int = 0
) -> Exchange | None:
    """Compare the losses of a sample of records with those of the same questions, whose answers
    were exchanged with others of the same topic.

    Args:
        model: evaluated unchanged.
        records: what it is said to have learned.
        task: how records become losses.
        seed: of the sample and of the exchange.

    Returns:
        None where fewer than `FEWEST` records have a question and somebody to exchange with.
    """
    draw = np.random.default_rng(seed)
    asked = [record for record in records if record.prompt or "input" in record.fields]
    chosen = [asked[i] for i in sorted(draw.permutation(len(asked))[:MOST])]
    topics: dict[object, list[Example]] = {}
    for record in chosen:
        topics.setdefault(record.fields.get("topic"), []).append(record)
    pairs: list[tuple[Example, Example]] = []
    for topic in topics.values():
        order = [topic[i] for i in draw.permutation(len(topic))]
        for place, record in enumerate(order):
            others = (*order[place + 1 :], *order[:place])
            other = next((o for o in others if o.completion != record.completion), None)
            if other is not None:
                pairs.append((record, replace(record, completion=other.completion)))
    if len(pairs) < FEWEST:
        return None
    own, other = (losses_of(model, list(side), task, BATCH) for side in zip(*pairs, strict=True))
    ids = [record.id for record, _ in pairs]
    mine, theirs = (np.array([losses[i] for i in ids]) for losses in (own, other))
    people = [str(record.fields.get("subjects") or record.id) for record, _ in pairs]
    draws = excess_draws(theirs, [mine], clusters_of(people))
    return Exchange(float(mine.mean()), float(theirs.mean()), limits(draws), len(pairs))
