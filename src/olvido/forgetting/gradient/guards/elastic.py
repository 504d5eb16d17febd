"""EWC: weights that the rest depends on are held where they were."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.curvature import diagonal_fisher
from olvido.errors import InputError
from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.gradient.frozen import mirrored
from olvido.forgetting.gradient.sampling import retain_draws
from olvido.forgetting.types import Split
from olvido.registry import Options
from olvido.tasks import Example, Task

DRAWS, SIZE = 4, 48
"""Retained records that the Fisher information is taken of: so many draws of so many."""


class Elastic(Options):
    """Elastic weight consolidation: sum of F (w - w_before)^2 / 2, in nats (Kirkpatrick et al.
    2017, arXiv 1612.00796, equation 3; for forgetting, Heng and Soh 2023, arXiv 2305.10120).

    F is the mean over retained records of each one's own squared gradient. Memory: one model more,
    and the weights as they were are those of the model given.
    """

    name: ClassVar = "ewc"
    holds: ClassVar = "the weights, each by the mean of the records' own squared gradients"
    source: ClassVar = "arXiv 1612.00796"
    needs_retain: ClassVar = True
    looking: ClassVar = 1.0
    spent = 0.0

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Take the Fisher information of records near the forgotten ones and of others."""
        draws = islice(retain_draws(split, SIZE, seed), DRAWS)
        some = {e.id: e for drawn in draws for e in drawn}
        model = mirrored(before).requires_grad_(True).eval()
        with torch.enable_grad():
            fisher = diagonal_fisher(model, tuple(some.values()), task)
        self.spent += float(sum(map(task.width, some.values())))
        was = dict(before.named_parameters())
        self._held: list[tuple[str, Tensor, Tensor]] = [
            (name, was[name].detach(), f) for name, f in fisher.items()
        ]
        return split.retain

    def losses(self, now: Answers) -> Tensor:
        """The same for each record, since it is of the weights. [B]

        Raises:
            InputError: the weights are not those that it saw: adapters stand in their place.
        """
        moving = dict(now.model.named_parameters())
        if missing := [name for name, _, _ in self._held if name not in moving]:
            raise InputError(
                f"the guard ewc holds weights, and {missing[0]} is not trained itself: use kl with "
                "lora_rank"
            )
        total = sum(
            (
                (fisher * (moving[name] - before).square()).sum()
                for name, before, fisher in self._held
                if moving[name].requires_grad
            ),
            start=torch.zeros((), device=next(now.model.parameters()).device),
        )
        return (total / 2).expand(len(now.records))
