"""RMU: steer a layer's states on the forget set towards a meaningless vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError
from olvido.methods.gradient.answers import FORWARD, Answers, FrozenReference
from olvido.methods.gradient.descent import Descent
from olvido.methods.gradient.regularisers import (
    HiddenStatePenalty,
    RetainRegulariser,
    RetainRegularisers,
    away,
    middle,
)
from olvido.methods.types import Split
from olvido.tasks import Task

BELOW = 2
"""Layers below the steered one that are trained with it."""


@dataclass(frozen=True)
class Aim:
    """The target of a layer's states. vector [D]"""

    layer: int
    vector: Tensor


class RMU(Descent):
    """Representation misdirection for unlearning.

    Loss: |h - c u|^2 / |c u|^2 at the states that lead to answer tokens, with u a random unit
    vector of no negative entry; the regulariser holds the retained records' states (Li et al. 2024,
    arXiv 2403.03218, where neither distance is relative and c is given;
    github.com/centerforaisafety/wmdp). c is `steer` times the states' mean norm, as it must grow
    with them (Huu-Tien et al. 2024, arXiv 2408.06223). The model runs up to the steered layer only,
    and only that layer and two below it move; in their code only the last matrix of their MLPs.

    Args:
        layer: index in the task's `layers`; None: the middle one.
        steer: length of the target vector, relative to the states'.
    """

    name: ClassVar = "rmu"
    summary: ClassVar = "steer one layer's states of the records to a random place"
    loss: ClassVar = "distance of one layer's states from a random place"
    source: ClassVar = "Li et al. 2024, arXiv 2403.03218; Huu-Tien et al. 2024, arXiv 2408.06223"
    suits: ClassVar = "large models: few layers move, and the model runs no further than to them"
    reference_cost: ClassVar = FORWARD
    evaluates_separately: ClassVar = True
    base_lr: ClassVar = 3e-4

    layer: int | None = None
    steer: float = 2.0
    regulariser: RetainRegulariser | Sequence[RetainRegulariser] = "hidden"

    def __post_init__(self) -> None:
        if not self.steer > 0:
            raise InputError(f"steer must be above 0, got {self.steer}")
        super().__post_init__()

    def precompute(self, original: Module, split: Split, task: Task, seed: int) -> Any:
        layer = self._layer(original, task)
        states = FrozenReference(
            original, task, lambda m, batch: task.answer_hidden(m, batch, layer)
        )
        found = states(split.forget).float()
        generator = torch.Generator().manual_seed(seed)
        vector = torch.rand(found.shape[-1], generator=generator).to(found.device)
        length = self.steer * found.norm(dim=-1).mean()
        return Aim(layer, vector / vector.norm() * length)

    def make_regularisers(self) -> RetainRegularisers | None:
        own = HiddenStatePenalty(layer=self.layer)
        made = [own if _unplaced(part) else part for part in self.regularisers]
        return RetainRegularisers(made) if made else None

    def trainable_modules(self, model: Module, task: Task) -> Sequence[Module] | None:
        layer = self._layer(model, task)
        return task.layers(model)[max(0, layer - BELOW) : layer + 1]

    def cost_fraction(self, model: Module, task: Task) -> float:
        """The share of the layers up to the steered one, and of the trained ones backward."""
        if not all(map(_unplaced, self.regularisers)):
            return 1.0
        depth, layer = len(task.layers(model)) - 1, self._layer(model, task)
        return (layer + 2 * min(layer, BELOW + 1)) / (3 * max(depth, 1))

    def forget_losses(self, now: Answers) -> Tensor:
        states, rows = now.hidden(now.precomputed.layer)
        return away(states, now.precomputed.vector, rows, len(now.records))

    def _layer(self, model: Module, task: Task) -> int:
        if self.layer is None:
            return middle(model, task)
        deepest = len(task.layers(model)) - 1
        if not 0 <= self.layer <= deepest:
            raise InputError(f"layer must lie between 0 and {deepest}, got {self.layer}")
        return self.layer


def _unplaced(regulariser: Any) -> bool:
    """Whether a regulariser uses the states of the steered layer, whichever it is."""
    return isinstance(regulariser, HiddenStatePenalty) and regulariser.layer is None
