"""A batch's answers under the current and the original model, computed on first access.

The original model answers once for each record; there is never a second copy of its weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn import functional as F

from olvido.tasks import Example, Task

FORWARD = 1 / 3
"""Cost of a forward pass, with forward and backward together as 1."""

Observation = Callable[[Module, Any], tuple[Tensor, Tensor]]
"""Maps a model and a batch to values [N, ...] and the row of each [N], rows in order."""


def shared_weights_copy(model: Module, *, trained: bool = False) -> Any:
    """The model's weights behind new modules, without extra memory or changes to the model.

    Args:
        model: the model whose storage is shared.
        trained: whether parameters keep requiring gradients where they did.
    """
    memo: dict[int, Any] = {
        id(p): Parameter(p.detach(), requires_grad=trained and p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo)


def unshare(model: Module) -> None:
    """Give a shared-weights copy storage of its own, in place."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


class FrozenReference:
    """A frozen model's values for records, computed on first use and cached.

    Args:
        model: unchanged, in evaluation mode.
        task: makes the batches.
        observe: computes the values.
        size: records a forward pass.

    Attributes:
        spent: tokens, a forward pass counting a third.
    """

    def __init__(self, model: Module, task: Task, observe: Observation, *, size: int = 32) -> None:
        self.model, self.task, self.observe, self.size = model, task, observe, size
        self.spent = 0.0
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, records: Sequence[Example]) -> Tensor:
        """Values of these records, concatenated. [N, ...]"""
        missing = [record for record in records if record.id not in self._known]
        if missing:
            self._ask(missing)
        return torch.cat([self._known[record.id] for record in records])

    def _ask(self, records: Sequence[Example]) -> None:
        device = next(self.model.parameters()).device
        # The calling step may run in bfloat16: the cached values have the model's own type.
        with torch.autocast(device.type, enabled=False):
            for batch in self.task.batches(records, self.size):
                values, rows = self.observe(self.model, batch.to(device))
                counts = torch.bincount(rows, minlength=len(batch.ids)).tolist()
                self._known |= dict(zip(batch.ids, values.split(counts), strict=True))
                self.spent += FORWARD * batch.cost


class FrozenReferenceLogits:
    """Answer logits of a frozen model.

    They are cached as inputs of the head: memory is answer tokens x width, not x vocabulary, which
    for SmolLM2 is 85 times less, and the head is applied again at each step.

    Args:
        model: unchanged, in evaluation mode.
        task: makes the batches.
        size: records a forward pass.
    """

    def __init__(self, model: Module, task: Task, *, size: int = 32) -> None:
        self._head: Callable[[Tensor], Tensor] | None = None
        self._states = FrozenReference(model, task, self._observe, size=size)

    @property
    def spent(self) -> float:
        """Tokens, a forward pass counting a third."""
        return self._states.spent

    @torch.no_grad()
    def __call__(self, records: Sequence[Example]) -> Tensor:
        """Logits at the answers of these records, concatenated. [N, V]"""
        states = self._states(records)
        assert self._head is not None
        return self._head(states)

    def alone(self) -> FrozenReferenceLogits:
        """A copy without the model, for records that are cached already."""
        self._states.model = Module()
        return self

    def _observe(self, model: Module, batch: Any) -> tuple[Tensor, Tensor]:
        states, self._head, _, rows = self._states.task.answer_states(model, batch)
        return states, rows


@dataclass(frozen=True)
class Tokens:
    """Answer tokens, without prompts or padding.

    Attributes:
        logits: logits that predict each token. [N, V]
        targets: the tokens. [N]
        rows: the record of each. [N]
        size: number of records, B.
    """

    logits: Tensor
    targets: Tensor
    rows: Tensor
    size: int

    @cached_property
    def log_p(self) -> Tensor:
        """Log-probability of each target token. [N]"""
        return -F.cross_entropy(self.logits.float(), self.targets, reduction="none")

    @cached_property
    def log_probs(self) -> Tensor:
        """Log-probabilities over the vocabulary. [N, V]"""
        return F.log_softmax(self.logits.float(), dim=-1)

    @cached_property
    def count(self) -> Tensor:
        """Number of tokens of each record. [B]"""
        return torch.bincount(self.rows, minlength=self.size).to(torch.float32)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over each record's tokens. [N] -> [B]"""
        zeros = torch.zeros(self.size, device=values.device, dtype=values.dtype)
        return zeros.index_add(0, self.rows, values)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each record's tokens. [N] -> [B]"""
        return self.sum(values) / self.count


@dataclass(frozen=True)
class Answers:
    """A batch of records with the answers of the current and the original model.

    Attributes:
        model, task: the current model, and the task that queries it.
        records: records of the first B rows.
        batch: these rows and, after them, those of the alternative answers, if any.
        original_log_ps: summed log-probability of each answer under the original model, by id.
        goals: loss at which each counts as never learned, by id; infinite where unknown.
        precomputed: the method's result of `precompute`.
    """

    model: Module
    task: Task
    records: tuple[Example, ...]
    batch: Any
    original_log_ps: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    precomputed: Any = None

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
    def alternative(self) -> Tokens:
        """The alternative answers, in the same order."""
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
    def original_log_p(self) -> Tensor:
        """Summed log-probability of each record's answer under the original model. [B]"""
        return self._of(self.original_log_ps, 0)

    @property
    def alternative_original_log_p(self) -> Tensor:
        """Summed log-probability of each alternative answer under the original model. [B]"""
        return self._of(self.original_log_ps, len(self.records))

    @property
    def goal(self) -> Tensor:
        """The loss at which each record counts as never learned. [B]"""
        return self._of(self.goals, 0)

    def _of(self, values: Mapping[str, float], start: int) -> Tensor:
        ids = self.batch.ids[start : start + len(self.records)]
        device = next(self.model.parameters()).device
        return torch.tensor([values[i] for i in ids], device=device)

    def hidden(self, layer: int) -> tuple[Tensor, Tensor]:
        """States of a layer that lead to an answer token: [N, D], row of each [N].

        The model runs no further than to that layer.
        """
        return self.task.answer_hidden(self.model, self.batch, layer)


Loss = Callable[[Answers], Tensor]
"""One value a record. [B]"""
