"""The diagonal of the Fisher information, from each record's own squared gradient.

The square of a batch's mean gradient is another quantity: its rank correlation with this one falls
from 0.94 at batches of 8 to 0.29 at batches of 256.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import Module

from olvido.curvature.gradients import PerRecord
from olvido.errors import InputError
from olvido.tasks import Example, Task

BATCH = 16
"""Records a pass: their layers' inputs and output gradients are in memory together."""


def diagonal_fisher(
    model: Module,
    records: Sequence[Example],
    task: Task,
    *,
    batch_size: int = BATCH,
    sampled: int | None = None,
) -> dict[str, Tensor]:
    """The mean over records of the squared gradient of each record's mean loss.

    Args:
        model: its trainable parameters are measured; it is left unchanged.
        records: any records that the task can read.
        task: turns records into batches.
        batch_size: records a pass; the result does not depend on it but for rounding.
        sampled: a seed; targets are then drawn from the model, and the result is the diagonal of
            the Gauss-Newton curvature in expectation. None: the records' own targets (the empirical
            Fisher, as Foster et al. 2024, arXiv 2308.07707, take it).

    Returns:
        A tensor of its shape for every trainable parameter, by name, none below 0.

    Raises:
        InputError: there are no records, or no parameter requires a gradient.
    """
    if not records:
        raise InputError("there are no records to take a Fisher information of: give one or more")
    per_record = PerRecord(model, task)
    drawn = None if sampled is None else str(sampled)
    found: dict[str, Tensor] = {}
    for batch in task.batches(records, batch_size):
        for name, part in per_record(batch, sampled=drawn).parts.items():
            squares = part.squares()
            found[name] = found[name].add_(squares) if name in found else squares
    return {name: total / len(records) for name, total in found.items()}
