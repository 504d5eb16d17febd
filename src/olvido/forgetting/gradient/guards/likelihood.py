"""The retain loss: go on learning what is to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.types import Split
from olvido.registry import Options
from olvido.tasks import Example, Task


class Likelihood(Options):
    """Keep learning the retained records (the retain loss of GradDiff, arXiv 2401.06121)."""

    name: ClassVar = "nll"
    holds: ClassVar = "what is learned: goes on learning it"
    source: ClassVar = "arXiv 2401.06121"
    needs_retain: ClassVar = True
    looking: ClassVar = 0.0
    spent = 0.0

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Nothing to remember."""
        return split.retain

    def losses(self, now: Answers) -> Tensor:
        """Mean negative log-likelihood, one per record. [B]"""
        return -now.log_p / now.count
