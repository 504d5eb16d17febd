"""SimNPO: NPO with length normalisation and a margin, without the original model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.descent import Descent


class SimNPO(Descent):
    """Simple negative preference optimization.

    Loss: -(2 / beta) log sigmoid(-beta log p / |y| - gamma) (Fan et al. 2024, arXiv 2410.07163,
    equation 4; github.com/OPTML-Group/Unlearn-Simple): the answer's length replaces the reference,
    so short answers are not spared.

    Args:
        beta: inverse temperature. The paper's 2.5 stops pushing before a record is forgotten
            (docs/log.md).
        gamma: margin, in nats.
    """

    name: ClassVar = "simnpo"
    summary: ClassVar = "bounded ascent by answer length, with a retain loss and no reference"
    loss: ClassVar = "-(2/b) log sigmoid(-b log p / |y| - g)"
    source: ClassVar = "Fan et al. 2024, arXiv 2410.07163"
    suits: ClassVar = "answers of very different lengths, of which short ones are not spared"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 6e-4, "epochs": 60}

    beta: float = 0.5
    gamma: float = 0.0

    def forget_losses(self, now: Answers) -> Tensor:
        return -2 / self.beta * F.logsigmoid(-self.beta * now.log_p / now.count - self.gamma)
