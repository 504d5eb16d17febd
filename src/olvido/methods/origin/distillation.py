"""Distillation: learn what a model answers that never saw the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import Module

from olvido.learners import Recipe, Trained
from olvido.methods.gradient.answers import FORWARD, Answers, FrozenReferenceLogits
from olvido.methods.gradient.descent import Descent, Start
from olvido.methods.gradient.regularisers import RetainRegulariser, divergence
from olvido.methods.guarantee import Need
from olvido.methods.origin.sketch import PASSES, drawn, own_recipe, sketch, tokens_of
from olvido.methods.types import Split
from olvido.tasks import Task


class Distillation(Descent):
    """Distil from a model that never saw the forgotten records, and from the original elsewhere.

    Loss: KL(sketch || now) over the whole vocabulary at each answer token of a forgotten record,
    KL(before || now) on retained ones. The sketch is the weights that the model was trained from,
    after two passes over a few retained records about others (see `olvido.methods.origin.sketch`).
    This is the loss of bad teaching (Chundawat et al. 2023, arXiv 2205.08096) with a teacher that
    knows the language and the form of answers. The loss ends at the teacher's distribution, so that
    the push does not fade. Weights that only imitate such a model are relearned faster than it
    (Lee et al. 2025, arXiv 2506.06278): `arithmetic` and `redistil` begin elsewhere.

    Args:
        lr: None: the peak rate of the model's own recipe where a log has it.
        regulariser: `kl` is the original as the teacher of what is kept.
    """

    name: ClassVar = "distillation"
    summary: ClassVar = "learn the records' answers from a model that never saw them"
    loss: ClassVar = "KL(the base after a few others' records, now)"
    source: ClassVar = "Lee et al. 2025, arXiv 2506.06278"
    suits: ClassVar = "fluent answers of a model whose base is known"
    needs = frozenset({Need.RETAIN, Need.ORIGIN})
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 6e-4}
    fades: ClassVar = False
    reference_cost: ClassVar = 2 * FORWARD

    batch_size: int = 8
    retain_batch: int = 16
    retain_weight: float = 1.0
    regulariser: RetainRegulariser | Sequence[RetainRegulariser] = "kl"

    def start(self, trained: Trained, split: Split, task: Task, seed: int) -> Start:
        """Make the sketch: the teacher, and the target where no other reference was given."""
        made = sketch(trained, split, task, seed=seed)
        never = split.never or (made.model,)
        given = replace(split, never=never, teacher=made.model)
        return Start(given, trained.model, self.healing(trained), float(made.trace.tokens))

    def start_cost(self, trained: Trained, split: Split, task: Task) -> float:
        return float(tokens_of(drawn(split, task), task, own_recipe(trained, PASSES)))

    def healing(self, trained: Trained) -> Recipe:
        """The recipe of the steps, at the model's own rate unless another was asked for."""
        if self.lr is not None or not trained.trace.runs:
            return self.rate(trained.model)
        return replace(self.recipe, lr=own_recipe(trained, 1).lr)

    def precompute(self, original: Module, split: Split, task: Task, seed: int) -> Any:
        assert split.teacher is not None
        teacher = FrozenReferenceLogits(split.teacher, task)
        # All at once: of the sketch only the head is kept for the steps.
        teacher(split.forget)
        return teacher.alone()

    def forget_losses(self, now: Answers) -> Tensor:
        apart = divergence(now.precomputed(now.records), now.tokens.log_probs)
        return now.tokens.mean(apart)
