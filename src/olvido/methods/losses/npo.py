"""NPO: gradient ascent that fades as the record is forgotten."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.descent import Descent


class NPO(Descent):
    """Negative preference optimization.

    Loss: -(2 / beta) log sigmoid(-beta (log p - log p_before)), with the answer's summed log p
    (Zhang et al. 2024, arXiv 2404.05868, equation 3; github.com/licong-lin/negative-preference-
    optimization). The original model answers once per record, not once per step.

    Args:
        beta: inverse temperature; towards 0 it becomes gradient ascent.
    """

    name: ClassVar = "npo"
    summary: ClassVar = "bounded ascent against the original model, with a retain loss"
    loss: ClassVar = "-(2/b) log sigmoid(-b (log p - log p_before))"
    source: ClassVar = "Zhang et al. 2024, arXiv 2404.05868"
    suits: ClassVar = "the default: its force fades by itself as a record is forgotten"

    beta: float = 0.1

    def forget_losses(self, now: Answers) -> Tensor:
        return -2 / self.beta * F.logsigmoid(-self.beta * (now.log_p - now.original_log_p))
