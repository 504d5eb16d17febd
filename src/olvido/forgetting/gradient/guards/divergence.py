"""KL to the original: let nothing change in how the rest is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.gradient.frozen import FORWARD, FrozenLogits
from olvido.forgetting.types import Split
from olvido.registry import Options
from olvido.tasks import Example, Task


class Divergence(Options):
    """Stay close to the model as it was: KL(before || now) at the answer tokens (Maini et al. 2024,
    arXiv 2401.06121).

    The model as it was answers once for each record, when it is first drawn.
    """

    name: ClassVar = "kl"
    holds: ClassVar = "the answers' distribution, to the model as it was"
    source: ClassVar = "arXiv 2401.06121"
    needs_retain: ClassVar = True
    looking: ClassVar = FORWARD

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Nothing is asked yet: what is drawn is asked for then."""
        self._before = FrozenLogits(before, task)
        return split.retain

    @property
    def spent(self) -> float:
        """Tokens of the passes over the model as it was."""
        return self._before.spent

    def losses(self, now: Answers) -> Tensor:
        """Mean divergence per answer token, one per record. [B]"""
        return now.tokens.mean(divergence(self._before(now.records), now.tokens.log_probs))


def divergence(before: Tensor, now: Tensor) -> Tensor:
    """KL(before || now) of each token, from logits and log-probabilities. [N, V], [N, V] -> [N]"""
    was = F.log_softmax(before.float(), dim=-1)
    return F.kl_div(now, was, log_target=True, reduction="none").sum(-1)
