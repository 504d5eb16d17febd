"""Keep what a layer makes of the rest: the retain loss of RMU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.gradient.frozen import FORWARD, Frozen
from olvido.forgetting.types import Split
from olvido.registry import Options
from olvido.tasks import Example, Task


class Activations(Options):
    """Squared distance of a layer's states from those of the model as it was, each relative to
    their own square (Li et al. 2024, arXiv 2403.03218; there it is absolute, and its weight has to
    be found anew for each model).

    Args:
        layer: counted as the task's `layers`; None: the middle one.
    """

    name: ClassVar = "hidden"
    holds: ClassVar = "one layer's states, to those of the model as it was"
    source: ClassVar = "arXiv 2403.03218"
    needs_retain: ClassVar = True
    looking: ClassVar = FORWARD

    layer: int | None = None

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Choose the layer."""
        layer = middle(before, task) if self.layer is None else self.layer
        self._layer = layer
        self._before = Frozen(before, task, lambda m, batch: task.answer_hidden(m, batch, layer))
        return split.retain

    @property
    def spent(self) -> float:
        """Tokens of the passes over the model as it was."""
        return self._before.spent

    def losses(self, now: Answers) -> Tensor:
        """Relative squared distance, one per record. [B]"""
        states, rows = now.hidden(self._layer)
        return away(states, self._before(now.records), rows, len(now.records))


def away(states: Tensor, aim: Tensor, rows: Tensor, size: int) -> Tensor:
    """|states - aim|^2 / |aim|^2 of each token, averaged over each record's.
    [N, D], [N, D] or [D], [N] -> [B]"""
    aim = aim.float()
    apart = (states.float() - aim).square().sum(-1) / aim.square().sum(-1).clamp_min(1e-12)
    total = apart.new_zeros(size).index_add(0, rows, apart)
    return total / rows.bincount(minlength=size)


def middle(model: Module, task: Task) -> int:
    """The layer half way up: what comes before still reads, what comes after already answers."""
    return max(1, (len(task.layers(model)) - 1) // 2)
