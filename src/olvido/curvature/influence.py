"""Influence functions: how much each record contributed to the answer to each question.

Without record i of n the weights would be about theta + H^-1 g_i / n, and the loss of a
question higher by g_q' H^-1 g_i / n (Koh and Liang 2017, arXiv 1703.04730). A positive score is the
rise of the question's loss, in nats a target, without the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Module

from olvido.curvature.ekfac import DAMPING, Ekfac
from olvido.curvature.gradients import PerRecord
from olvido.curvature.layers import Factored, sum_of
from olvido.tasks import Example, Task

BATCH = 16
"""Records a pass."""
RANK = 24
"""Rank of a query's approximation, where that is less work."""
LOST = 1e-3
"""Share of a query's length that a lower rank may lose; beyond it the query stays whole."""


def influences(
    model: Module,
    records: Sequence[Example],
    queries: Sequence[Example],
    task: Task,
    curvature: Ekfac,
    *,
    damping: float = DAMPING,
    batch_size: int = BATCH,
) -> Tensor:
    """The score of every record for every query. [Q, n]

    Args:
        model: the model whose trainable parameters were fitted.
        records: its training records; n is their number.
        queries: questions with the answers to trace.
        task: turns records into batches.
        curvature: curvature of the model.
        damping: added, as a share of each parameter's mean curvature.
        batch_size: records a pass.
    """
    wanted = curvature.solve(query_gradients(model, queries, task), damping=damping)
    return products(model, records, wanted, task, batch_size=batch_size) / len(records)


def query_gradients(model: Module, queries: Sequence[Example], task: Task) -> dict[str, Tensor]:
    """The gradient of each query's mean loss, in order. [Q, *shape] by parameter"""
    per_record = PerRecord(model, task)
    found: dict[str, list[Tensor]] = {name: [] for name in per_record.parameters}
    for start in range(0, len(queries), BATCH):
        some = per_record(task.collate(queries[start : start + BATCH]))
        for name, part in some.parts.items():
            found[name].append(part.dense())
    return {name: torch.cat(rows) for name, rows in found.items()}


def products(
    model: Module,
    records: Sequence[Example],
    queries: Mapping[str, Tensor],
    task: Task,
    *,
    batch_size: int = BATCH,
) -> Tensor:
    """Inner products of each record's gradient with each query. [Q, n]

    Args:
        queries: gradients by parameter. [Q, *shape]
    """
    per_record = PerRecord(model, task)
    place = {record.id: i for i, record in enumerate(records)}
    known = {name: _Query(query) for name, query in queries.items()}
    size = len(next(iter(queries.values())))
    found = torch.zeros(size, len(records))
    for batch in task.batches(records, batch_size):
        parts = per_record(batch).parts
        score = sum_of([known[name].dots(part) for name, part in parts.items()])
        found[:, [place[i] for i in batch.ids]] = score.T.cpu()
    return found


class _Query:
    """Queries of one parameter, whole and, where useful, as low-rank factors."""

    def __init__(self, whole: Tensor) -> None:
        self.whole = whole
        self._thin: tuple[Tensor, Tensor] | bool | None = False

    def dots(self, part: Factored) -> Tensor:
        """Inner products with each record's gradient. [B, Q]"""
        if part.uses:
            high, wide = part.matrix
            positions = sum(use.right.shape[1] for use in part.uses)
            count = len(self.whole)
            thin = count * positions * RANK * (high + wide)
            if min(high, wide) > 2 * RANK and thin < high * wide * (positions + count):
                low = self._low_rank(high, wide)
                if low is not None:
                    return part.low_rank_dots(*low)
        return part.dots(self.whole)

    def _low_rank(self, high: int, wide: int) -> tuple[Tensor, Tensor] | None:
        if isinstance(self._thin, bool):
            matrices = self.whole.reshape(-1, high, wide)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                left, values, right = torch.svd_lowrank(matrices, RANK, niter=3)
            left = left * values.unsqueeze(1)
            lost = torch.linalg.vector_norm(matrices - left @ right.transpose(1, 2))
            enough = bool(lost <= LOST * torch.linalg.vector_norm(matrices))
            self._thin = (left, right) if enough else None
        return self._thin
