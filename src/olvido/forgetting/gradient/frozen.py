"""The model as it was: asked once for each record, and never a second copy of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from olvido.tasks import Example, Task

FORWARD = 1 / 3
"""Cost of a forward pass beside forward and backward together."""

Look = Callable[[Module, Any], tuple[Tensor, Tensor]]
"""From a model and a batch to values [N, ...] and the row of each [N], rows in order."""


def mirrored(model: Module, *, trained: bool = False) -> Any:
    """The same weights behind modules of their own: no memory, and no trace on the model given.

    Args:
        model: whose storage is shared.
        trained: whether parameters keep asking for gradients where they did.
    """
    memo: dict[int, Any] = {
        id(p): Parameter(p.detach(), requires_grad=trained and p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo)


def parted(model: Module) -> None:
    """Give a mirrored model storage of its own, in place."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


class Frozen:
    """What a model says of records, looked up when first asked for and kept.

    Args:
        model: does not change; in evaluation mode.
        task: makes the batches.
        look: what is asked of it.
        size: records a forward pass.

    Attributes:
        spent: tokens, a forward pass counting a third.
    """

    def __init__(self, model: Module, task: Task, look: Look, *, size: int = 32) -> None:
        self.model, self.task, self.look, self.size = model, task, look, size
        self.spent = 0.0
        self._kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, records: Sequence[Example]) -> Tensor:
        """Values of these records, one after the other. [N, ...]"""
        missing = [record for record in records if record.id not in self._kept]
        if missing:
            self._ask(missing)
        return torch.cat([self._kept[record.id] for record in records])

    def _ask(self, records: Sequence[Example]) -> None:
        device = next(self.model.parameters()).device
        # The step that asks may run in bfloat16: what is kept is the model's own.
        with torch.autocast(device.type, enabled=False):
            for batch in self.task.batches(records, self.size):
                values, rows = self.look(self.model, batch.to(device))
                counts = torch.bincount(rows, minlength=len(batch.ids)).tolist()
                self._kept |= dict(zip(batch.ids, values.split(counts), strict=True))
                self.spent += FORWARD * batch.cost


class FrozenLogits:
    """Answer logits of a model that does not change.

    Kept as what the head reads: memory is answer tokens x width, not x vocabulary, which for
    SmolLM2 is 85 times less, and the head is applied again at each step.

    Args:
        model: does not change; in evaluation mode.
        task: makes the batches.
        size: records a forward pass.
    """

    def __init__(self, model: Module, task: Task, *, size: int = 32) -> None:
        self._head: Callable[[Tensor], Tensor] | None = None
        self._states = Frozen(model, task, self._look, size=size)

    @property
    def spent(self) -> float:
        """Tokens, a forward pass counting a third."""
        return self._states.spent

    @torch.no_grad()
    def __call__(self, records: Sequence[Example]) -> Tensor:
        """Logits at the answers of these records, one after the other. [N, V]"""
        states = self._states(records)
        assert self._head is not None
        return self._head(states)

    def alone(self) -> FrozenLogits:
        """The same without the model: of records that were asked for already."""
        self._states.model = Module()
        return self

    def _look(self, model: Module, batch: Any) -> tuple[Tensor, Tensor]:
        states, self._head, _, rows = self._states.task.answer_states(model, batch)
        return states, rows
