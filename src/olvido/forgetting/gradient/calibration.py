"""Where "never learned" lies, read off records of the same making that the model never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch.nn import Module

from olvido.forgetting.types import Split
from olvido.tasks import Example, Task

SHORTFALL = 0.05
"""Forgetting has arrived when the records' mean distance below their targets is under this share
of the mean target."""


@torch.no_grad()
def frozen(
    model: Module, records: Sequence[Example], task: Task, size: int
) -> dict[str, tuple[float, float]]:
    """Each record's summed log-probability and token count under the model as it is, once."""
    device = next(model.parameters()).device
    model.eval()
    found: dict[str, tuple[float, float]] = {}
    for batch in task.batches(records, size):
        log_p, count = task.log_probs(model, batch.to(device))
        pairs = zip(log_p.tolist(), count.tolist(), strict=True)
        found |= dict(zip(batch.ids, pairs, strict=True))
    return found


def targets(model: Module, split: Split, task: Task, size: int) -> dict[str, float]:
    """The loss at which each forgotten record counts as never learned, in nats a token.

    Where there are never-trained models it is theirs. Else it is the mean loss of the holdout
    records of the same `topic` (of all of them where the topic has none) under the model as it is;
    an array's topic is its class, unless it says another. An estimate: in the demo's town of 100
    residents it lies within 5% of the mean loss of never-trained models, in a town of 12, where a
    model that is sure of itself errs more about strangers, it was 47% above.
    """
    if split.never:
        found = [frozen(other, split.forget, task, size) for other in split.never]
        return {e.id: fmean(-f[e.id][0] / f[e.id][1] for f in found) for e in split.forget}
    seen = frozen(model, split.holdout, task, size)
    by_topic: dict[object, list[float]] = {}
    for example in split.holdout:
        log_p, count = seen[example.id]
        by_topic.setdefault(_topic(example), []).append(-log_p / count)
    overall = fmean(value for values in by_topic.values() for value in values)
    means = {topic: fmean(values) for topic, values in by_topic.items()}
    return {e.id: means.get(_topic(e), overall) for e in split.forget}


def _topic(example: Example) -> object:
    return example.fields.get("topic", example.completion if "input" in example.fields else None)


def arrived(losses: Mapping[str, float], goals: Mapping[str, float]) -> bool:
    """Whether every record was seen and together they stand where never learned ones do.

    Where a goal is infinite, nothing tells where that is, and nobody ever arrives.
    """
    if len(losses) < len(goals) or not all(map(math.isfinite, goals.values())):
        return False
    short = fmean(max(goal - losses[i], 0.0) for i, goal in goals.items())
    return short <= SHORTFALL * fmean(goals.values())
