"""RepSelect: forget by the records' own gradient components, not by those shared with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from olvido.errors import require_count
from olvido.methods.losses.npo import NPO
from olvido.models.digest import whole
from olvido.training.loop import Loop
from olvido.training.sharding import as_sharded


class RepSelect(NPO):
    """NPO without the leading components of its gradient.

    Before each step the largest singular components of each weight matrix's forget gradient are
    removed: they are shared with other records, which would be damaged, and relearning restores
    them at once (Sondej, Yang and Mahdi 2026, arXiv 2606.17168, section 4;
    github.com/filyp/RepSelect). Only that idea is theirs: their code finds hundreds of components
    over all forgotten records at once, shrinks each by its singular value instead of removing it,
    trains only the MLPs, and first trains adapters on the forgotten records, which stay on while
    the gradient is computed.

    Args:
        components: number removed from each matrix.
    """

    name: ClassVar = "repselect"
    summary: ClassVar = "NPO without the gradient's leading components, against relearning"
    loss: ClassVar = "`npo`, the leading components of each matrix's gradient taken out"
    source: ClassVar = "Sondej, Yang and Mahdi 2026, arXiv 2606.17168"
    suits: ClassVar = "made against relearning, by moving what the records alone have"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 6e-4, "epochs": 60}

    components: int = 1

    def __post_init__(self) -> None:
        require_count("components", self.components)
        super().__post_init__()

    def forget_parts(
        self, loop: Loop, losses: Sequence[Callable[[], Tensor]]
    ) -> Iterator[Callable[[], Tensor]]:
        yield from losses
        with loop.gradients.whole():
            for parameter in loop.parameters:
                if parameter.grad is not None and parameter.ndim == 2:
                    found = collapsed(whole(parameter.grad), self.components)
                    parameter.grad = as_sharded(found, parameter)


@torch.no_grad()
def collapsed(gradient: Tensor, components: int) -> Tensor:
    """A matrix without its largest singular components. [n, m]

    They are found by subspace iteration, which only multiplies by the matrix.
    """
    k = min(components, *gradient.shape)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(gradient.shape[1], k, generator=generator).to(gradient)
    right = torch.linalg.qr(start)[0]
    for _ in range(8):
        right = torch.linalg.qr(gradient.T @ (gradient @ right))[0]
    return gradient - (gradient @ right) @ right.T
