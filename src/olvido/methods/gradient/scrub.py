"""SCRUB: diverge from the original model on the forget set, stay close to it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import Module

from olvido.methods.gradient.answers import FORWARD, Answers, FrozenReferenceLogits
from olvido.methods.gradient.descent import Descent
from olvido.methods.gradient.regularisers import RetainRegulariser, divergence
from olvido.methods.types import Split
from olvido.tasks import Task


class Scrub(Descent):
    """Scalable remembering and unlearning unbound.

    Steps alternate: one climbs KL(before || now) on forgotten records, the next descends KL and
    cross-entropy on retained ones (Kurmanji et al. 2023, arXiv 2302.09880;
    github.com/meghdadk/SCRUB). There whole epochs alternate, the climbing ends after the first few,
    and the KL is that of softened distributions. Their rewinding to the checkpoint whose forget
    error is that of held-out data is here the target at which the push ends.

    Args:
        regulariser: loss of the retain steps.
    """

    name: ClassVar = "scrub"
    summary: ClassVar = "steps away from the original model, and steps back to it elsewhere"
    loss: ClassVar = "-KL(before, now), in turns with the regulariser"
    source: ClassVar = "Kurmanji et al. 2023, arXiv 2302.09880"
    suits: ClassVar = "classifiers, and records whose every answer is to move, not one token's"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 6e-4, "epochs": 60}
    reference_cost: ClassVar = FORWARD
    alternating: ClassVar = True

    regulariser: RetainRegulariser | Sequence[RetainRegulariser] = "kl+nll"

    def precompute(self, original: Module, split: Split, task: Task, seed: int) -> Any:
        return FrozenReferenceLogits(original, task)

    def forget_losses(self, now: Answers) -> Tensor:
        apart = divergence(now.precomputed(now.records), now.tokens.log_probs)
        return -now.tokens.mean(apart)
