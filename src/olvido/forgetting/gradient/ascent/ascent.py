"""Gradient ascent: the crudest way, kept because everybody tries it first."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.gradient.descent import Descent
from olvido.forgetting.guarantee import Need


class Ascent(Descent):
    """Climb the training loss of the forgotten records, with nothing to hold the rest.

    Loss: log p(y|x) / |y|, unbounded below (Jang et al. 2023, arXiv 2210.01504; here each record
    counts alike, however long). It wrecks the surroundings unless it is stopped in time.
    """

    needs: frozenset[Need] = frozenset()
    summary: ClassVar = "climb the loss of the records; no retain loss"

    def __init__(self, *, lr: float = 1e-4, guard: str = "none", **options: Any) -> None:
        super().__init__(lr=lr, guard=guard, **options)

    def forget_losses(self, now: Answers) -> Tensor:
        return now.log_p / now.count
