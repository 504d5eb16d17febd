"""PDU: flatten the answers' distribution, with a constraint on the retain loss, not a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from olvido.errors import InputError
from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.descent import Descent
from olvido.methods.types import StepMetrics


class PDU(Descent):
    """Primal-dual unlearning: the regulariser's loss may rise by a budget, and no further.

    Loss: the squared margin of the largest logit over the mean one at each answer token, beside
    l * (regulariser - allowed), where after each step l <- max(0, l + dual_rate * (regulariser -
    allowed)), and l is `retain_weight` at first (Entesari et al. 2025, arXiv 2506.05314;
    github.com/locuslab/open-unlearning, community/methods/PDU). There the allowed loss is a share
    above the original loss, or an option, and l is constant for the first epochs.

    Args:
        budget: nats by which the regulariser's loss may rise over that of the first step.
        dual_rate: learning rate of the weight l.
    """

    name: ClassVar = "pdu"
    summary: ClassVar = "flatten the records' answers while the rest stays within a budget"
    loss: ClassVar = "(largest logit - mean logit)^2; the regulariser as a constraint"
    source: ClassVar = "Entesari et al. 2025, arXiv 2506.05314"
    suits: ClassVar = "a budget for the retain loss, in place of a weight to be tuned"
    example: ClassVar[Mapping[str, Any]] = {
        "target": 2.0,
        "lr": 3e-4,
        "retain_weight": 50.0,
        "dual_rate": 500.0,
    }

    budget: float = 0.02
    dual_rate: float = 50.0

    def __post_init__(self) -> None:
        if not (self.budget >= 0 and self.dual_rate > 0):
            raise InputError(
                "budget must be 0 or more and dual_rate above 0, got "
                f"{self.budget} and {self.dual_rate}"
            )
        super().__post_init__()

    def forget_losses(self, now: Answers) -> Tensor:
        logits = now.tokens.logits.float()
        return now.tokens.mean((logits.amax(-1) - logits.mean(-1)).square())

    def regulariser_weight(self, history: Sequence[StepMetrics]) -> float:
        seen = [moment.retain for moment in history if moment.retain is not None]
        weight = self.retain_weight
        for value in seen:
            weight = max(0.0, weight + self.dual_rate * (value - seen[0] - self.budget))
        return weight
