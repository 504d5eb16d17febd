"""Selective synaptic dampening: shrink weights that matter more to the forget set."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn import Module

from olvido.curvature import diagonal_fisher
from olvido.errors import InputError
from olvido.methods.curved import Curved, WeightPath, trainable_weights
from olvido.methods.types import Split
from olvido.tasks import Task


class SSD(Curved):
    """Multiply a weight by min(1, lambda F_retain / F_forget) where F_forget > alpha F_retain.

    Foster et al. 2024, arXiv 2308.07707 (github.com/if-loops/selective-synaptic-dampening), with
    the squares of each record's own gradient (the authors' code squares those of batches) and a
    sample of the retained records where they take all records, the forgotten among them. `strength`
    divides both alpha and lambda.

    Args:
        alpha: how much more a weight must matter to the forgotten records to be chosen.
        dampening: lambda, the remaining share.
    """

    name: ClassVar = "ssd"
    summary: ClassVar = "shrink the weights that matter more to the records than to the rest"
    loss: ClassVar = (
        "none: weights with F_forget > alpha F_retain shrink to min(1, lambda F_retain / F_forget)"
    )
    source: ClassVar = "Foster et al. 2024, arXiv 2308.07707"
    suits: ClassVar = "classifiers: nothing is trained"

    alpha: float = 10.0
    dampening: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.alpha > 0 and self.dampening > 0):
            raise InputError(f"alpha and dampening are above 0; got {self.alpha}, {self.dampening}")

    def forward_backward_counts(
        self, model: Module, split: Split, task: Task
    ) -> tuple[float, float]:
        return 1.0, 1.0

    def path(
        self, model: Module, split: Split, task: Task, seed: int, *, retain_count: int
    ) -> WeightPath:
        size = self.batch_size
        forget_fisher = diagonal_fisher(model, split.forget, task, batch_size=size)
        rest = diagonal_fisher(model, split.retain, task, batch_size=size)
        start = trainable_weights(model)

        def moved(strength: float) -> dict[str, torch.Tensor]:
            found = {}
            for name, weight in start.items():
                chosen = forget_fisher[name] * strength > self.alpha * rest[name]
                factor = self.dampening * rest[name] / (strength * forget_fisher[name])
                found[name] = torch.where(chosen, weight * factor.clamp(max=1.0), weight)
            return found

        return WeightPath(moved)
