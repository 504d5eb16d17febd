"""Gradient ascent: the crudest method, kept because everybody tries it first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.descent import Descent
from olvido.methods.gradient.regularisers import RetainRegulariser


class Ascent(Descent):
    """Climb the training loss of the forget set, with no regulariser.

    Loss: log p(y|x) / |y|, unbounded below (Jang et al. 2023, arXiv 2210.01504; here each record
    counts alike, however long). It damages the rest unless it is stopped in time.
    """

    name: ClassVar = "ascent"
    needs = frozenset()
    summary: ClassVar = "climb the loss of the records; no retain loss"
    loss: ClassVar = "log p(y|x) / |y|"
    source: ClassVar = "Jang et al. 2023, arXiv 2210.01504"
    suits: ClassVar = "a baseline: without a regulariser it soon destroys the rest"

    lr: float | None = 1e-4
    regulariser: RetainRegulariser | Sequence[RetainRegulariser] = "none"

    def forget_losses(self, now: Answers) -> Tensor:
        return now.log_p / now.count
