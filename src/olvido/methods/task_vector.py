"""Task-vector negation: fine-tune on the records, then move the same way in reverse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError
from olvido.learners import Trained, Watcher
from olvido.methods.gradient.answers import FORWARD, shared_weights_copy
from olvido.methods.gradient.calibration import remaining_trace, shortfall
from olvido.methods.gradient.descent import Descent
from olvido.methods.types import Run, Split, StepMetrics
from olvido.statistics import bisected
from olvido.tasks import Example, Task
from olvido.tasks.scoring import losses_of
from olvido.training.environment import deterministic
from olvido.training.loop import Loop

FARTHEST = 64.0
"""Largest scale that is tried."""
GUESSES, NEAR = 5, 0.01
"""Scales that are interpolated, and how far beyond the target is near enough, as a share of it."""
HALVINGS = 6
"""Halvings of the interval that is left where no guess was near enough."""
LOOKS = 6
"""Scales that are foretold: of curves s^p with p from 1 to 3 as many are tried in the
mean, and 13 at the most."""


class TaskVector(Descent):
    """Subtract what learning the records adds: before - scale * (tuned - before).

    Ilharco et al. 2023, arXiv 2212.04089, negation (github.com/mlfoundations/task_vectors). The
    scale is the smallest at which the records reach their targets, found by interpolation, else by
    halving; each try costs one forward pass over them.

    Args:
        scale: factor of the vector; None: searched where there is a target, and 1 where there is
        none.
        lr, epochs, batch_size, target, dtype, lora_rank: as for `Descent`; epochs are those of the
            fine-tuning.
    """

    name: ClassVar = "task_vector"
    summary: ClassVar = "fine-tune on the records, and subtract that change"
    loss: ClassVar = "none: what learning the records adds is subtracted"
    source: ClassVar = "Ilharco et al. 2023, arXiv 2212.04089"
    suits: ClassVar = "no retained records available"
    needs = frozenset()
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 1e-4}

    scale: float | None = None
    epochs: int = 5
    # No regulariser while it fine-tunes.
    regulariser: str = field(default="none", init=False)
    retain_batch: int = field(default=48, init=False)
    retain_weight: float = field(default=5.0, init=False)
    project: bool = field(default=False, init=False)
    checkpointing: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.scale is not None and not self.scale > 0:
            raise InputError(f"scale must be above 0, got {self.scale}")
        super().__post_init__()

    def looks(self) -> float:
        return FORWARD * (LOOKS if self.scale is None else 1)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Fine-tune a copy, then negate. Raises as `Descent.run`."""
        remaining = remaining_trace(trained.trace, split)
        original = shared_weights_copy(trained.model).eval()
        total = self._rounds(split)
        with deterministic():
            goals = self._prepare(original, split, task, seed).goals
            model = self.copied(trained.model, task, seed)
            loop = Loop(model, self.rate(model), total=total, seed=seed, watch=watch, shared=True)
            by_id = {record.id: record for record in split.forget}
            batches = list(task.batches(split.forget, self.batch_size))
            history: list[StepMetrics] = []
            for step in range(total):
                seen: list[float] = []
                records = [by_id[i] for i in batches[step % len(batches)].ids]
                parts = [
                    partial(_learned, loop, task, part, len(part) / len(records) * counts, seen)
                    for part, counts in loop.passes(records)
                ]
                loop.step(step, parts)
                every = [loss for part in loop.gathered(seen) for loss in part]
                history.append(StepMetrics(step, fmean(every), None))
            loop.close()
            tuned = self.finished(model, trained.model)
            pairs = zip(tuned.parameters(), original.parameters(), strict=True)
            vectors = [(ours - was).detach() for ours, was in pairs]
            search = partial(subtracted, tuned, original, vectors, split.forget, task, goals)
            scale, there, seen_ = search(self.scale, self.batch_size)
            history += [
                StepMetrics(total + number, loss, None) for number, loss in enumerate(seen_)
            ]
        tokens = sum(b.cost for b in batches) * self.recipe.epochs + self._reference_tokens(
            split, task
        )
        tokens += FORWARD * sum(map(task.width, split.forget)) * (len(history) - total)
        why = f"all {total} steps were used; without holdout records there is no target"
        if there:
            why = f"the records reached the loss of never learned ones at scale {scale:g}"
        elif all(map(math.isfinite, goals.values())):
            why = f"the records did not reach their targets at scale {scale:g}"
        return Run(tuned, remaining, tokens, why, tuple(history))


@torch.no_grad()
def subtracted(
    model: Module,
    original: Module,
    vectors: Sequence[Tensor],
    records: Sequence[Example],
    task: Task,
    goals: Mapping[str, float],
    scale: float | None,
    size: int,
    farthest: float = FARTHEST,
    short: Callable[[Mapping[str, float], Mapping[str, float]], float] = shortfall,
) -> tuple[float, bool, list[float]]:
    """Make a model's weights original - scale * vector, in place.

    Args:
        model: gets the weights.
        original: has as many.
        vectors: what is subtracted from each.
        records: the forget set.
        task: evaluates them.
        goals: their targets.
        scale: of the vector; None: the least at which the records reach their targets, searched,
            or 1 where there are none.
        size: records a pass.
        farthest: the largest scale that is tried.
        short: how far losses are from their targets, as a share of these; 0 or less: there.

    Returns:
        The scale, whether the records are at their targets, and their mean loss at each scale that
        was tried.
    """
    pairs = list(zip(model.parameters(), original.parameters(), vectors, strict=True))
    tried: list[float] = []

    def place(at: float) -> None:
        for ours, was, vector in pairs:
            ours.copy_(was - at * vector)

    def look(at: float) -> float:
        place(at)
        losses = losses_of(model, records, task, size)
        tried.append(fmean(losses.values()))
        missing = short(losses, goals)
        # Weights so far off that they have no loss are no nearer to the target.
        return missing if math.isfinite(missing) else 1.0

    if not all(map(math.isfinite, goals.values())):
        place(1.0 if scale is None else scale)
        return 1.0 if scale is None else scale, False, tried
    if scale is not None:
        return scale, look(scale) <= 0, tried
    low, high = (0.0, look(0.0)), (1.0, look(1.0))
    while high[1] > 0 and high[0] < farthest:
        low, high = high, (2 * high[0], look(2 * high[0]))
    if high[1] > 0:
        return high[0], False, tried
    if low[1] <= 0:
        place(0.0)
        return 0.0, True, tried
    if high[1] >= -NEAR:
        return high[0], True, tried
    (left, below), (right, above), fell = low, high, None
    for _ in range(GUESSES):
        # To the middle of what is near enough. A loss grows faster than its scale, so that a chord
        # falls short again and again: an end that stays twice counts half (the Illinois rule,
        # Dowell and Jarratt 1971).
        at = right - (above + NEAR / 2) * (right - left) / (above - below)
        found = look(at)
        if -NEAR <= found <= 0:
            return at, True, tried
        if found > 0:
            above = min(above / 2, -NEAR) if fell is True else above
            left, below, fell = at, found, True
        else:
            below = below / 2 if fell is False else below
            right, above, fell = at, found, False
    _, scale = bisected(lambda at: look(at) <= 0, left, right, HALVINGS)
    place(scale)
    return scale, True, tried


def _learned(
    loop: Loop, task: Task, records: Sequence[Example], weight: float, seen: list[float]
) -> Tensor:
    losses = task.losses(loop.model, task.collate(records).to(loop.device))
    if weight:
        seen.extend(losses.detach().tolist())
    return losses.mean() * weight
