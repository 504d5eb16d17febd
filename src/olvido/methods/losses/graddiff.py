"""GradDiff: ascent on the forget set, descent on the retain set."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from olvido.errors import InputError
from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.descent import Descent


class GradDiff(Descent):
    """Climb the loss of the forgotten records while learning the retained ones.

    Loss: the mean over the answer's tokens of w log p, plus the regulariser (Liu et al. 2022, arXiv
    2203.12817; Maini et al. 2024, arXiv 2401.06121), with w = p^saturation (1 - p)^importance
    without gradient. Without weights it is GradDiff; saturation 1 is WGA (Wang et al. 2025, arXiv
    2502.19301;
    github.com/tmlr-group/G-effect), which spares tokens that are forgotten already; saturation 5
    and importance 1 is SatImp (Yang et al. 2025, arXiv 2505.11953) as OpenUnlearning runs it, and
    importance 0.1 what its authors have recommended since (github.com/tmlr-group/SatImp). Their
    code takes the mean over all tokens of a batch, here it is over each record's.

    Args:
        saturation: exponent of p.
        importance: exponent of 1 - p.
    """

    name: ClassVar = "graddiff"
    summary: ClassVar = "climb the loss of the records while learning the retained ones"
    loss: ClassVar = "w log p a token, w = p^saturation (1 - p)^importance; w = 1 by default"
    source: ClassVar = (
        "Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121; `saturation=1` is "
        "WGA, arXiv 2502.19301; `saturation=5 importance=1` is SatImp, arXiv 2505.11953 (its "
        "authors now take `importance=0.1`)"
    )
    suits: ClassVar = "a simple start, with holdout records as stopping criterion"

    saturation: float = 0.0
    importance: float = 0.0

    def __post_init__(self) -> None:
        if not (self.saturation >= 0 and self.importance >= 0):
            raise InputError(
                "saturation and importance are exponents of 0 or more, got "
                f"{self.saturation} and {self.importance}"
            )
        super().__post_init__()

    def forget_losses(self, now: Answers) -> Tensor:
        if not self.saturation and not self.importance:
            return now.log_p / now.count
        log_p = now.tokens.log_p
        p = log_p.detach().exp()
        return now.tokens.mean(p**self.saturation * (1 - p) ** self.importance * log_p)
