"""Bad teacher: distil the forget set from a network that knows nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError
from olvido.methods.gradient.answers import FORWARD, Answers, FrozenReferenceLogits
from olvido.methods.gradient.descent import Descent
from olvido.methods.gradient.regularisers import RetainRegulariser, divergence
from olvido.methods.types import Split
from olvido.tasks import Task
from olvido.tasks.blocks import plain_model


class BadTeacher(Descent):
    """Distil from an incompetent teacher on forgotten records, from a competent one elsewhere.

    Loss: KL(random network || now) on forgotten records, KL(before || now) as the regulariser
        (Chundawat
    et al. 2023, arXiv 2205.08096; github.com/vikram2000b/bad-teaching-unlearning).

    Args:
        regulariser: `kl` is the competent teacher.
    """

    name: ClassVar = "bad_teacher"
    summary: ClassVar = "learn the records' answers from a network with random weights"
    loss: ClassVar = "KL(a random network, now)"
    source: ClassVar = "Chundawat et al. 2023, arXiv 2205.08096"
    suits: ClassVar = "classifiers, where not knowing is to answer by chance"
    reference_cost: ClassVar = FORWARD

    regulariser: RetainRegulariser | Sequence[RetainRegulariser] = "kl"

    def precompute(self, original: Module, split: Split, task: Task, seed: int) -> Any:
        teacher = FrozenReferenceLogits(random_like(original, seed), task)
        # All at once: of the random network only the head is kept for the steps.
        teacher(split.forget)
        return teacher.alone()

    def forget_losses(self, now: Answers) -> Tensor:
        apart = divergence(now.precomputed(now.records), now.tokens.log_probs)
        return now.tokens.mean(apart)


def random_like(model: Any, seed: int) -> Module:
    """A network of the same shape, without adapters, with weights drawn from `seed`, in evaluation
    mode.

    Raises:
        InputError: neither the model nor its layers have an initialisation method.
    """
    model = plain_model(model)
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if hasattr(model, "config") and hasattr(model, "post_init"):
            fresh = type(model)(model.config).to(device)
        else:
            fresh = copy.deepcopy(model)
            drawn = [m for m in fresh.modules() if hasattr(m, "reset_parameters")]
            if not drawn:
                raise InputError(
                    f"none of the layers of {type(model).__name__} has reset_parameters(): a bad "
                    "teacher cannot be made of it"
                )
            for module in drawn:
                module.reset_parameters()
    return fresh.requires_grad_(False).eval()
