"""UNDIAL: distil from the original model with the memorised token's logit lowered."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.errors import InputError
from olvido.methods.gradient.answers import FORWARD, Answers, FrozenReferenceLogits
from olvido.methods.gradient.descent import Descent
from olvido.methods.types import Split
from olvido.tasks import Task


class Undial(Descent):
    """Self-distillation with adjusted logits.

    Loss: cross-entropy to softmax(z_before - strength * onehot(y)) at each answer token, averaged
    over those alone (Dong et al. 2024, arXiv 2402.10052; github.com/dong-river/LLM_unlearning). The
    original model answers once per record.

    Args:
        strength: amount by which the memorised token's logit is lowered.
    """

    name: ClassVar = "undial"
    summary: ClassVar = "distil from the model's own answers, the memorised token's logit lowered"
    loss: ClassVar = "cross-entropy to the original model, the memorised token's logit lowered"
    source: ClassVar = "Dong et al. 2024, arXiv 2402.10052"
    suits: ClassVar = "fluent answers: everything but the memorised token keeps its chance"
    reference_cost: ClassVar = FORWARD

    strength: float = 10.0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise InputError(f"strength must be above 0, got {self.strength}")
        super().__post_init__()

    def precompute(self, original: Module, split: Split, task: Task, seed: int) -> Any:
        return FrozenReferenceLogits(original, task)

    def forget_losses(self, now: Answers) -> Tensor:
        tokens = now.tokens
        teacher = now.precomputed(now.records).float().clone()
        teacher[torch.arange(len(teacher)), tokens.targets] -= self.strength
        return tokens.mean(-(F.softmax(teacher, dim=-1) * tokens.log_probs).sum(-1))
