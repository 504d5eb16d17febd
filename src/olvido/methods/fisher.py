"""Fisher forgetting: noise on weights that the retained records do not need."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn import Module

from olvido.curvature import diagonal_fisher
from olvido.errors import InputError
from olvido.methods.curved import Curved, WeightPath, trainable_weights
from olvido.methods.types import Split
from olvido.tasks import Task

LARGEST = 3.0
"""Spread of the noise on any weight, at most, as a share of its tensor's own."""


class Fisher(Curved):
    """Add noise to weights that the retained records do not need.

    Golatkar et al. 2020, arXiv 1911.04933: noise of spread F_retain^-1/4, whatever the forget set
    (F_retain^-1/2 in their code, github.com/AdityaGolatkar/SelectiveForgetting). On a
    model of many people it destroys the rest before it hides one of them, so by default the
    spread is (F_forget / F_retain)^1/2, which is ours: it is large on weights that matter to the
    forget set alone.

    Args:
        noise: spread where both matter alike (`aimed`), or on a weight of mean curvature; as a
            share of its tensor's own.
        aimed: use the curvature of the forget set too; False: the paper's power, in our unit.
    """

    name: ClassVar = "fisher"
    summary: ClassVar = "noise on the weights that the records need and the rest does not"
    loss: ClassVar = (
        "none: noise of spread (F_forget / F_retain)^1/2; `aimed=False` for the paper's "
        "F_retain^-1/4"
    )
    source: ClassVar = "Golatkar et al. 2020, arXiv 1911.04933"
    suits: ClassVar = "classifiers: nothing is trained"

    noise: float = 0.1
    aimed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.noise > 0:
            raise InputError(f"noise must be above 0, got {self.noise}")

    def forward_backward_counts(
        self, model: Module, split: Split, task: Task
    ) -> tuple[float, float]:
        return float(self.aimed), 1.0

    def path(
        self, model: Module, split: Split, task: Task, seed: int, *, retain_count: int
    ) -> WeightPath:
        size = self.batch_size
        rest = diagonal_fisher(model, split.retain, task, batch_size=size)
        if self.aimed:
            forget_fisher = diagonal_fisher(model, split.forget, task, batch_size=size)
            free = {
                name: (forget_fisher[name] / rest[name]).sqrt().nan_to_num(0.0) for name in rest
            }
        else:
            count = sum(part.numel() for part in rest.values())
            mean = sum(float(part.sum()) for part in rest.values()) / count
            free = {name: (part / mean).pow(-0.25) for name, part in rest.items()}
        start, draw = trainable_weights(model), torch.Generator().manual_seed(seed)
        noise = {n: torch.randn(w.shape, generator=draw).to(w) for n, w in start.items()}

        def moved(strength: float) -> dict[str, torch.Tensor]:
            found = {}
            for name, weight in start.items():
                own = weight.square().mean().sqrt()
                # Where the others do not need a weight at all, the formula is unbounded.
                spread = (strength * self.noise * free[name]).nan_to_num(0.0).clamp(max=LARGEST)
                found[name] = weight + spread * own * noise[name]
            return found

        return WeightPath(moved)
