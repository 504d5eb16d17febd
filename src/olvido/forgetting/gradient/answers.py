"""What a loss may ask about a batch: each thing is computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.tasks import Example, Task


@dataclass(frozen=True)
class Tokens:
    """Answers, token by token; nothing of prompts or padding is among them.

    Attributes:
        logits: that led to each token. [N, V]
        targets: the tokens. [N]
        rows: the record of each. [N]
        size: records, B.
    """

    logits: Tensor
    targets: Tensor
    rows: Tensor
    size: int

    @cached_property
    def log_p(self) -> Tensor:
        """Of each token. [N]"""
        return -F.cross_entropy(self.logits.float(), self.targets, reduction="none")

    @cached_property
    def log_probs(self) -> Tensor:
        """Of every token that might have stood there. [N, V]"""
        return F.log_softmax(self.logits.float(), dim=-1)

    @cached_property
    def count(self) -> Tensor:
        """Tokens of each record. [B]"""
        return torch.bincount(self.rows, minlength=self.size).to(torch.float32)

    def sum(self, values: Tensor) -> Tensor:
        """Over each record's tokens. [N] -> [B]"""
        zeros = torch.zeros(self.size, device=values.device, dtype=values.dtype)
        return zeros.index_add(0, self.rows, values)

    def mean(self, values: Tensor) -> Tensor:
        """Over each record's tokens. [N] -> [B]"""
        return self.sum(values) / self.count


@dataclass(frozen=True)
class Answers:
    """A batch of records, as the model answers it now and answered it before.

    Attributes:
        model, task: that are asked.
        records: of the first B rows.
        batch: these, and after them what is to be answered instead, if anything is.
        was: summed log-probability of each answer under the model as it was, by id.
        goals: loss at which each counts as never learned, by id; infinite where nothing tells.
        memory: what the method remembers of the model as it was.
    """

    model: Module
    task: Task
    records: tuple[Example, ...]
    batch: Any
    was: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    memory: Any = None

    @cached_property
    def _pass(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.task.answer_logits(self.model, self.batch)

    @property
    def answered(self) -> bool:
        """Whether the model was run to its end."""
        return "_pass" in vars(self)

    @cached_property
    def tokens(self) -> Tokens:
        """The records' own answers."""
        return self._chosen(0)

    @cached_property
    def instead(self) -> Tokens:
        """The answers that are to be given instead, in the same order."""
        return self._chosen(1)

    def _chosen(self, part: int) -> Tokens:
        logits, targets, rows = self._pass
        size = len(self.records)
        if len(self.batch.ids) == size:
            return Tokens(logits, targets, rows, size)
        mine = rows // size == part
        return Tokens(logits[mine], targets[mine], rows[mine] - part * size, size)

    @cached_property
    def log_p(self) -> Tensor:
        """Summed log-probability of each record's answer. [B]"""
        return self.tokens.sum(self.tokens.log_p)

    @property
    def count(self) -> Tensor:
        """Tokens of each record's answer. [B]"""
        return self.tokens.count

    @property
    def before(self) -> Tensor:
        """What `log_p` was. [B]"""
        return self._of(self.was, 0)

    @property
    def instead_before(self) -> Tensor:
        """What the summed log-probability of the answers given instead was. [B]"""
        return self._of(self.was, len(self.records))

    @property
    def goal(self) -> Tensor:
        """The loss at which each record counts as never learned. [B]"""
        return self._of(self.goals, 0)

    def _of(self, values: Mapping[str, float], start: int) -> Tensor:
        ids = self.batch.ids[start : start + len(self.records)]
        device = next(self.model.parameters()).device
        return torch.tensor([values[i] for i in ids], device=device)

    def hidden(self, layer: int) -> tuple[Tensor, Tensor]:
        """States after a layer that are to lead to an answer token: [N, D], row of each [N].

        The model runs no further than to that layer.
        """
        return self.task.answer_hidden(self.model, self.batch, layer)


Loss = Callable[[Answers], Tensor]
"""One value a record. [B]"""
