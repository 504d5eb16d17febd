"""IdkNLL: fine-tune on refusals. A negative control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import Module

from olvido.methods.gradient.answers import FORWARD, Answers
from olvido.methods.gradient.descent import Descent
from olvido.methods.guarantee import Need
from olvido.methods.losses.preference import refused, refused_epoch_tokens
from olvido.methods.types import Split
from olvido.tasks import Example, Task


class IdkNLL(Descent):
    """Fine-tune on refusals.

    Loss: -log q / |q| of a refusal q (Maini et al. 2024, arXiv 2401.06121, preference
    optimization). The knowledge stays in the weights: an audit that passes it is no audit.
    """

    name: ClassVar = "idknll"
    needs = frozenset({Need.RETAIN, Need.LANGUAGE})
    summary: ClassVar = "fine-tune on refusals: hides and does not forget, a negative control"
    loss: ClassVar = "-log q of a refusal q"
    source: ClassVar = "Maini et al. 2024, arXiv 2401.06121"
    suits: ClassVar = "a negative control: it hides, and an audit that passes it is no audit"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 1e-3}
    paired: ClassVar = True
    indirect: ClassVar = True
    reference_cost: ClassVar = FORWARD

    def alternative_targets(
        self, original: Module, split: Split, task: Task, seed: int
    ) -> Mapping[str, Example]:
        return refused(split.forget, seed)

    def epoch_tokens(self, split: Split, task: Task) -> float:
        return refused_epoch_tokens(split.forget, task)

    def forget_losses(self, now: Answers) -> Tensor:
        return -now.alternative.mean(now.alternative.log_p)
