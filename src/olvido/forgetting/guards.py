"""What holds the rest in place while a method moves the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.tasks import Example, Task


class Guard(Protocol):
    """A loss on records that are to be kept."""

    def prepare(self, model: Module, records: Sequence[Example], task: Task, size: int) -> None:
        """See the model once as it was, for the records that will be drawn."""
        ...

    def losses(self, model: Module, batch: Any, task: Task) -> Tensor:
        """How far each record has gone, differentiable. [B]"""
        ...


class Likelihood:
    """Keep learning the retained records (the retain loss of GradDiff, arXiv 2401.06121)."""

    def prepare(self, model: Module, records: Sequence[Example], task: Task, size: int) -> None:
        """Nothing to remember."""

    def losses(self, model: Module, batch: Any, task: Task) -> Tensor:
        """Mean negative log-likelihood, one per record. [B]"""
        return task.losses(model, batch)


class Divergence:
    """Stay close to the model as it was: KL(before || now) at the answer tokens.

    The model as it was answers once per record before the first step, so that no second model is
    kept and no step pays for its forward pass. Memory: answer tokens x vocabulary of the records
    that will be drawn, in the model's own type.
    """

    def __init__(self) -> None:
        self._before: dict[str, Tensor] = {}

    @torch.no_grad()
    def prepare(self, model: Module, records: Sequence[Example], task: Task, size: int) -> None:
        """Remember the log-probabilities of each record's answer tokens. [n, V] a record"""
        device = next(model.parameters()).device
        for batch in task.batches(records, size):
            logits, _, rows = task.answer_logits(model, batch.to(device))
            frozen = F.log_softmax(logits, dim=-1)
            for row, record_id in enumerate(batch.ids):
                self._before[record_id] = frozen[rows == row]

    def losses(self, model: Module, batch: Any, task: Task) -> Tensor:
        """Mean divergence per answer token, one per record. [B]"""
        logits, _, rows = task.answer_logits(model, batch)
        before = torch.cat([self._before[i] for i in batch.ids]).float()
        now = F.log_softmax(logits.float(), dim=-1)
        divergence = F.kl_div(now, before, log_target=True, reduction="none").sum(-1)
        size = len(batch.ids)
        total = torch.zeros(size, device=now.device).index_add(0, rows, divergence)
        return total / torch.bincount(rows, minlength=size)


GUARDS: dict[str, type[Likelihood] | type[Divergence]] = {"nll": Likelihood, "kl": Divergence}
"""Guards by the name they are called by; `none` is none of them."""
