"""Data-free: hold on to what the model says about others, where no retained record is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch.nn import Module

from olvido.errors import InputError, Parameter
from olvido.forgetting.gradient.frozen import FORWARD
from olvido.forgetting.gradient.guards.divergence import Divergence
from olvido.forgetting.gradient.neighbours import asked_of_others
from olvido.forgetting.types import Split
from olvido.tasks import Example, Language, Task

VARIANTS = 8
"""Others that each forgotten record's question is asked about."""


class GenerativeReplay(Divergence):
    """KL to the original on neighbours that the model itself makes up.

    They are the forgotten records' questions about others, with the model's own answers; nothing
    has to be given (rehearsal by generated samples: Shin et al. 2017, arXiv 1705.08690).
    """

    name: ClassVar = "replay"
    holds: ClassVar = (
        "what the model says about others: their questions are made up, so nothing has to be "
        "retained"
    )
    source: ClassVar = "arXiv 1705.08690"
    needs_retain: ClassVar = False
    looking: ClassVar = FORWARD * (VARIANTS + 1)

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Make the neighbours up.

        Raises:
            InputError: the records hold no text, or no question whose names could be swapped.
        """
        super().begin(before, split, task, seed)
        if not isinstance(task, Language):
            raise InputError("the guard replay makes up questions: it needs records of text")
        found = [
            example
            for variant in range(VARIANTS)
            for example in asked_of_others(
                before, task, split.forget, variant=variant, seed=seed
            ).values()
        ]
        if not found:
            raise InputError(
                "the guard replay found no question in which a name could be swapped: give ",
                Parameter("retain"),
                " and another ",
                Parameter("guard"),
            )
        return found
