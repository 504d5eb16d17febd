"""Model state arithmetic: subtract what the records add to a model that never saw them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError, require_count
from olvido.learners import Recipe, Trained
from olvido.methods.gradient.answers import FORWARD, Answers
from olvido.methods.gradient.calibration import base_losses, targets
from olvido.methods.gradient.descent import Descent, Start
from olvido.methods.origin.repair import Repaired
from olvido.methods.origin.sketch import own_recipe
from olvido.methods.origin.weights import module_of
from olvido.methods.task_vector import LOOKS, subtracted
from olvido.methods.types import Split, StepMetrics
from olvido.tasks import Task

BATCH = 4
"""Records a step while the vector is learned, at the most."""
GENTLE, MOMENTUM = 0.25, 0.9
"""Share of the model's own rate at which it is repaired, and the decay of the gradients' mean: at
the whole rate the first steps do more harm than the subtraction."""
HEALED, LATELY, LONGEST = 0.02, 5, 60
"""Divergence of retained answers from the original's, in nats a token and over how many steps, at
which the repair ends; and its longest."""
FARTHEST = 2.0
"""Largest scale that is searched: records that more of the vector would reach are left to the
repair."""


class Arithmetic(Repaired):
    """Subtract what learning the records adds to the sketch, then repair.

    before - scale * (tuned - sketch), where `tuned` is the sketch after a few passes over the
    forget set by the model's own recipe. The scale is the least at which the records' mean loss and
    mean probability tell no more than those of the base, or of the sketch where the base answers no
    better than by chance; 2 at the most. The steps that follow are those of `distillation`, below
    the model's own rate and with momentum; they leave alone what has reached its target.
    Rezaei et al. 2025, arXiv 2506.20941 (github.com/mehrdadsaberi/MSA_unlearning), with a sketch in
    the place of a checkpoint, so that the form of answers is no part of the vector, and with
    retained records beside the forgotten ones, whose answers the vector must leave as they were:
    what it does not add to them it does not take from them (docs/results/origins.md).

    Args:
        scale: of the vector; None: searched.
        passes: over the forget set while the vector is learned.
        beside: retained records in each of its steps; 0: none.
        steps: of repair; None: until the regulariser's loss on retained records (that of `kl` is
            their answers' divergence from the original's) is 0.02 nats a token, 60 at the most; 0:
            none.
        target: loss in nats a token up to which the scale is searched, in the mean and, as a
            probability, in the mean of probabilities; None: as above.
    """

    name: ClassVar = "arithmetic"
    summary: ClassVar = "subtract what the records add to a model that never saw them, then repair"
    loss: ClassVar = "that of `distillation`, after the subtraction"
    source: ClassVar = "Rezaei et al. 2025, arXiv 2506.20941"
    suits: ClassVar = "a model whose base is known"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "steps": 2}
    fades: ClassVar = True

    scale: float | None = None
    passes: int = 3
    beside: int = BATCH

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise InputError(f"scale is a number above 0, got {self.scale}")
        require_count("passes", self.passes)
        require_count("beside", self.beside, least=0)
        self.patience = None if self.steps is not None else _healed

    def start(self, trained: Trained, split: Split, task: Task, seed: int) -> Start:
        """Learn the vector from the sketch, and subtract as much of it as the target asks for."""
        begun = super().start(trained, split, task, seed)
        before = begun.split.teacher
        assert before is not None
        goals = {} if self.target is None else {e.id: self.target for e in split.forget}
        if not goals and not split.never:
            goals = base_losses(split, task, self.batch_size)
            if goals:
                # The sketch's losses are too low (docs/results/origins.md).
                assert split.origin is not None
                base = (module_of(split.origin),)
                begun = replace(begun, split=replace(begun.split, never=base))
        addition = self._addition(trained)
        alone = replace(split, holdout=(), never=())
        tuned = addition.run(Trained.untraced(before), alone, task, seed=seed, watch=None)
        vectors = [
            (ours - was).detach() if own.requires_grad else torch.zeros_like(own)
            for ours, was, own in zip(
                tuned.model.parameters(), before.parameters(), trained.model.parameters(),
                strict=True,
            )
        ]  # fmt: skip
        model = copy.deepcopy(trained.model)
        scale, there, tried = subtracted(
            model, trained.model, vectors, split.forget, task,
            goals or targets(before, begun.split, task, self.batch_size), self.scale,
            self.batch_size, FARTHEST, _still_telling,
        )  # fmt: skip
        width = sum(map(task.width, split.forget))
        asked = len(tried) + (self.target is None)
        spent = begun.tokens + tuned.tokens + FORWARD * width * asked
        short = "" if there or self.scale is not None else ", short of the target"
        says = f"what the records add to others was subtracted at scale {scale:.3g}{short}"
        return replace(begun, model=model, tokens=spent, says=says)

    def healing(self, trained: Trained) -> Recipe:
        found = super().healing(trained)
        lr = found.lr if self.lr else GENTLE * found.lr
        return replace(found, beta1=MOMENTUM, lr=lr, schedule="constant")

    def _rounds(self, split: Split) -> int:
        return LONGEST if self.steps is None else self.steps

    def start_cost(self, trained: Trained, split: Split, task: Task) -> float:
        tries = LOOKS if self.scale is None else 1
        # The base is asked where never learned lies.
        tries += self.target is None
        tokens = super().start_cost(trained, split, task)
        alone = replace(split, holdout=(), never=())
        tokens += self._addition(trained).cost(trained, alone, task).tokens
        return tokens + FORWARD * tries * sum(map(task.width, split.forget))

    def _addition(self, trained: Trained) -> _Addition:
        own = own_recipe(trained, self.passes)
        size = min(own.batch_size, BATCH)
        made = _Addition(
            epochs=self.passes,
            batch_size=size,
            retain_batch=max(self.beside, 1),
            retain_weight=1.0,
            regulariser="kl" if self.beside else "none",
        )
        made.recipe = replace(own, batch_size=size, accumulate=1)
        return made


def _healed(history: Sequence[StepMetrics], total: int) -> bool:
    lately = [step.retain for step in history[-LATELY:] if step.retain is not None]
    return len(lately) == LATELY and fmean(lately) <= HEALED


def _still_telling(losses: Mapping[str, float], goals: Mapping[str, float]) -> float:
    """How much more the mean loss or the mean probability tell than the targets do, whichever is
    more, in nats and as a share of the target.

    One vector moves some records farther than others. A mean loss is content with a few records
    that stay well known beside others that were pushed too far, a mean probability with the
    reverse; a scale that suits the last of all records harms what is kept.
    """
    goal = fmean(goals.values())
    likely = _likely(losses)
    told = math.log(likely / _likely(goals)) if likely else -math.inf
    return max(goal - fmean(losses.values()), told) / goal


def _likely(losses: Mapping[str, float]) -> float:
    return fmean(math.exp(-loss) for loss in losses.values())


class _Addition(Descent):
    """What the records add to a model, and to their own answers alone.

    Loss: that of learning the forgotten, and on retained records KL(before || now).
    """

    fades: ClassVar = False
    ends: ClassVar = False

    def rate(self, model: Module) -> Recipe:
        return self.recipe

    def forget_losses(self, now: Answers) -> Tensor:
        return -now.log_p / now.count
