"""GradDiff: ascent on the forgotten records, descent on retained ones."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from olvido.forgetting.descent import Descent


class GradDiff(Descent):
    """Climb the loss of the forgotten records while learning the retained ones.

    Loss: log p(y|x) / |y| plus the guard (Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024,
    arXiv 2401.06121, section 4).
    """

    summary: ClassVar = "climb the loss of the records while learning the retained ones"

    def forget_losses(self, log_p: Tensor, count: Tensor, before: Tensor) -> Tensor:
        return log_p / count
