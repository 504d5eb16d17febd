"""SAM-NPO: NPO that resists relearning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from olvido.errors import InputError
from olvido.methods.losses.npo import NPO
from olvido.training.loop import Loop
from olvido.training.sharding import norm


class SamNPO(NPO):
    """NPO with the gradient at the worst weights nearby.

    Relearning is a small step of the weights, so the forget loss is descended where such a step has
    made it largest: at w + radius g / |g| (Fan et al. 2025, arXiv 2502.05374;
    github.com/OPTML-Group/Unlearn-Smooth). It costs a second pass over the forget set.

    Args:
        radius: length of the step.
    """

    name: ClassVar = "samnpo"
    summary: ClassVar = "NPO at the worst weights near by, against relearning"
    loss: ClassVar = "`npo` at the worst weights near by"
    source: ClassVar = "Fan et al. 2025, arXiv 2502.05374"
    suits: ClassVar = "made against relearning, at two passes a step"
    forward_backward_count: ClassVar = 2.0

    radius: float = 0.01

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise InputError(f"radius must be above 0, got {self.radius}")
        super().__post_init__()

    def forget_parts(
        self, loop: Loop, losses: Sequence[Callable[[], Tensor]]
    ) -> Iterator[Callable[[], Tensor]]:
        yield from losses
        with loop.gradients.whole(), torch.no_grad():
            gradients = [(p, p.grad) for p in loop.parameters if p.grad is not None]
            length = norm(g for _, g in gradients).clamp_min(1e-12)
            steps = [(p, self.radius * g / length) for p, g in gradients]
            for parameter, step in steps:
                parameter.add_(step)
                parameter.grad = None
        yield from losses
        with torch.no_grad():
            for parameter, step in steps:
                parameter.sub_(step)
