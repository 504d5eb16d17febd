"""Starting points that are not the original weights, and the repair that follows."""

from __future__ import annotations

from dataclasses import field, replace
from typing import ClassVar

from olvido.errors import InputError
from olvido.learners import Recipe, Trained
from olvido.methods.origin.distillation import Distillation
from olvido.methods.types import Split

STEPS = 10
"""Steps of repair, at the least; one pass over the forget set where that is more."""


class Repaired(Distillation):
    """Begin with other weights than the original ones, and repair them by distillation.

    Args:
        steps: of repair; None: 10, or one pass over the forget set where that is more; 0: none.
    """

    ends: ClassVar = False

    batch_size: int = 4
    retain_batch: int = 16
    retain_weight: float = 3.0
    steps: int | None = None
    # The steps say how long, and the sketch where to.
    epochs: int = field(default=1, init=False)
    project: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.steps is not None and (not isinstance(self.steps, int) or self.steps < 0):
            raise InputError(f"steps is a whole number of 0 or more, got {self.steps!r}")
        super().__post_init__()

    def healing(self, trained: Trained) -> Recipe:
        """The recipe of the steps: their number is known, and the last ones are small."""
        return replace(super().healing(trained), schedule="linear")

    def _rounds(self, split: Split) -> int:
        if self.steps is not None:
            return self.steps
        return max(STEPS, super()._rounds(split))
