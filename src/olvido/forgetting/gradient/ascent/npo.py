"""NPO: ascent whose force fades as the record is forgotten."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.gradient.descent import Descent


class NPO(Descent):
    """Negative preference optimization.

    Loss: -(2 / beta) log sigmoid(-beta (log p - log p_before)), with the answer's summed log p
    (Zhang et al. 2024, arXiv 2404.05868, equation 3; github.com/licong-lin/negative-preference-
    optimization). The model as it was answers once per record, not once per step.

    Args:
        beta: inverse temperature; towards 0 it becomes gradient ascent.
        options: those of `Descent`.
    """

    summary: ClassVar = "bounded ascent against the original model, with a retain loss"

    def __init__(self, *, beta: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.beta = beta

    def forget_losses(self, now: Answers) -> Tensor:
        return -2 / self.beta * F.logsigmoid(-self.beta * (now.log_p - now.before))
