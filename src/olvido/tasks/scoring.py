"""Losses of many records under a model, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch.nn import Module

from olvido.tasks.base import Example, Task
from olvido.tasks.blocks import evaluating


@torch.no_grad()
def frozen(
    model: Module, records: Sequence[Example], task: Task, size: int
) -> dict[str, tuple[float, float]]:
    """Each record's summed log-probability and number of targets, by its id.

    Args:
        model: evaluated in evaluation mode; its parts' modes are restored.
        records: records with unique ids.
        task: turns records into batches.
        size: records a pass, at the most.
    """
    device = next(model.parameters()).device
    found: dict[str, tuple[float, float]] = {}
    with evaluating(model):
        for batch in task.batches(records, size):
            log_p, count = task.log_probs(model, batch.to(device))
            pairs = zip(log_p.tolist(), count.tolist(), strict=True)
            found |= dict(zip(batch.ids, pairs, strict=True))
    return found


def losses_of(model: Module, records: Sequence[Example], task: Task, size: int) -> dict[str, float]:
    """Each record's loss by its id, nats a token; arguments are those of `frozen`."""
    return {i: -log_p / count for i, (log_p, count) in frozen(model, records, task, size).items()}


def mean_loss(model: Module, records: Sequence[Example], task: Task, size: int) -> float:
    """The mean of the records' losses, nats a token; nan where there are none."""
    return fmean(losses_of(model, records, task, size).values()) if records else float("nan")
