"""Model state arithmetic: subtract what the records add to a model that never saw them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch

from olvido.errors import InputError, require_count
from olvido.learners import Recipe, Trained
from olvido.methods.gradient.answers import FORWARD
from olvido.methods.gradient.calibration import targets
from olvido.methods.gradient.descent import Start
from olvido.methods.origin.repair import Repaired
from olvido.methods.origin.sketch import own_recipe, taught, tokens_of
from olvido.methods.task_vector import HALVINGS, subtracted
from olvido.methods.types import Split
from olvido.tasks import Task

BATCH = 4
"""Records a step while the vector is learned, at the most."""
FARTHEST = 2.0
"""Largest scale that is searched: records that more of the vector would reach are left to the
repair."""


class Arithmetic(Repaired):
    """Subtract what learning the records adds to the sketch, then repair.

    before - scale * (tuned - sketch), where `tuned` is the sketch after a few passes over the
    forget set by the model's own recipe. The scale is the least at which the records' losses are
    those of the sketch, 2 at the most. The steps that follow are those of `distillation`.
    Rezaei et al. 2025, arXiv 2506.20941 (github.com/mehrdadsaberi/MSA_unlearning), with a sketch in
    the place of a checkpoint, so that the form of answers is no part of the vector.

    Args:
        scale: of the vector; None: searched.
        passes: over the forget set while the vector is learned.
        target: loss in nats a token up to which the scale is searched; None: the sketch's.
    """

    name: ClassVar = "arithmetic"
    summary: ClassVar = "subtract what the records add to a model that never saw them, then repair"
    loss: ClassVar = "that of `distillation`, after the subtraction"
    source: ClassVar = "Rezaei et al. 2025, arXiv 2506.20941"
    suits: ClassVar = "a model whose base is known"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "steps": 2}

    scale: float | None = None
    passes: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None and not self.scale > 0:
            raise InputError(f"scale must be above 0, got {self.scale}")
        require_count("passes", self.passes)

    def start(self, trained: Trained, split: Split, task: Task, seed: int) -> Start:
        """Learn the vector from the sketch, and subtract as much of it as the target asks for."""
        begun = super().start(trained, split, task, seed)
        before = begun.split.teacher
        assert before is not None
        tuned = taught(before, split.forget, task, self._learning(trained), seed)
        vectors = [
            (ours - was).detach() if own.requires_grad else torch.zeros_like(own)
            for ours, was, own in zip(
                tuned.model.parameters(), before.parameters(), trained.model.parameters(),
                strict=True,
            )
        ]  # fmt: skip
        goals = {e.id: self.target for e in split.forget} if self.target is not None else {}
        model = copy.deepcopy(trained.model)
        scale, there, tried = subtracted(
            model, trained.model, vectors, split.forget, task,
            goals or targets(before, begun.split, task, self.batch_size), self.scale,
            self.batch_size, FARTHEST,
        )  # fmt: skip
        width = sum(map(task.width, split.forget))
        spent = begun.tokens + tuned.trace.tokens + FORWARD * width * len(tried)
        short = "" if there or self.scale is not None else ", short of the target"
        says = f"what the records add to others was subtracted at scale {scale:.3g}{short}"
        return replace(begun, model=model, tokens=spent, says=says)

    def start_cost(self, trained: Trained, split: Split, task: Task) -> float:
        tries = HALVINGS + 2 if self.scale is None else 1
        tokens = super().start_cost(trained, split, task)
        tokens += tokens_of(split.forget, task, self._learning(trained))
        return tokens + FORWARD * tries * sum(map(task.width, split.forget))

    def _learning(self, trained: Trained) -> Recipe:
        own = own_recipe(trained, self.passes)
        return replace(own, batch_size=min(own.batch_size, BATCH), accumulate=1)
