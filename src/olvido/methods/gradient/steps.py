"""The steps of a gradient method: each step's records, losses and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from olvido.methods.gradient.answers import FORWARD, Answers
from olvido.methods.gradient.calibration import reached
from olvido.methods.gradient.projection import Projection
from olvido.methods.gradient.regularisers import RetainRegularisers
from olvido.methods.types import Split, StepMetrics
from olvido.tasks import Example, Task
from olvido.training.loop import Loop

if TYPE_CHECKING:
    from olvido.methods.gradient.descent import Descent

EVALUATION_INTERVAL = 5
"""Steps between two evaluations of the forget set, where the loss does not compute the answers."""
WORTH = 1024
"""Tokens below which a pass has constant cost: shorter ones are not split off."""
SPREAD = 1.25
"""Largest ratio of the longest to the shortest record in a pass."""


@dataclass(frozen=True)
class Known:
    """A run's values of the original model.

    Attributes:
        original_log_ps: each record's summed log-probability.
        goals: the loss at which each counts as never learned; infinite where unknown.
        alternative_targets: alternative answers, by id of the record.
        precomputed: the method's result of `precompute`.
        regularisers: the retain regularisers; None for none.
        draws: the retained records of each step, without end.
    """

    original_log_ps: Mapping[str, float]
    goals: Mapping[str, float]
    alternative_targets: Mapping[str, Example]
    precomputed: Any
    regularisers: RetainRegularisers | None
    draws: Iterator[tuple[Example, ...]]


@dataclass
class _Now:
    """The losses of one step; filled while they are computed."""

    losses: dict[str, float] = field(default_factory=dict)
    retain: float | None = None


class Steps:
    """The shared state of a run's steps.

    Args:
        method: defines the loss.
        loop: the training loop.
        split: the forget set, which is passed over in batches of like length.
        task: makes the batches.
        known: values of the original model.
    """

    def __init__(self, method: Descent, loop: Loop, split: Split, task: Task, known: Known) -> None:
        self.method, self.loop, self.task, self.known = method, loop, task, known
        self.cost_fraction = method.cost_fraction(loop.model, task)
        by_id = {record.id: record for record in split.forget}
        self.batches = []
        for batch in task.batches(split.forget, method.recipe.batch_size):
            records = tuple(by_id[i] for i in batch.ids)
            if known.alternative_targets:
                batch = task.collate(
                    [*records, *(known.alternative_targets[r.id] for r in records)]
                )
            self.batches.append((records, batch.to(loop.device)))
        self.losses: dict[str, float] = {}
        self.history: list[StepMetrics] = []
        self.tokens = 0.0

    def descend(self) -> tuple[tuple[StepMetrics, ...], float, bool]:
        """Take all steps, or as many as needed: metrics, tokens, and whether targets are
        reached."""
        alternating = self.method.alternating
        for step in range(self.loop.total):
            forgetting, keeping = not alternating or step % 2 == 0, not alternating or step % 2 == 1
            now = _Now()
            self.loop.step(
                step, self._parts(step // (2 if alternating else 1), forgetting, keeping, now)
            )
            self.losses |= now.losses
            seen = now.losses or self.losses
            self.history.append(StepMetrics(step, fmean(seen.values()), now.retain))
            if now.losses and reached(self.losses, self.known.goals):
                return tuple(self.history), self.tokens, True
            patience = self.method.patience
            if patience is not None and patience(self.history, self.loop.total):
                break
        return tuple(self.history), self.tokens, False

    def _parts(
        self, number: int, forgetting: bool, keeping: bool, now: _Now
    ) -> Iterator[Callable[[], Tensor]]:
        """Yield the step's losses. Each one's gradient is computed before the next is asked for."""
        regularisers = self.known.regularisers if keeping else None
        against = Projection(self.loop.parameters) if self.method.project else None
        if forgetting:
            records, batch = self.batches[number % len(self.batches)]
            yield from self.method.forget_parts(
                self.loop, partial(self._forget, number, records, batch, now)
            )
            self.tokens += batch.cost * self.method.forward_backward_count * self.cost_fraction
        if regularisers is not None:
            if against is not None:
                against.set_aside()
            drawn = next(self.known.draws)
            weight = self.method.regulariser_weight(self.history)
            for some in buckets(drawn, self.task):
                retain_batch = self.task.collate(some).to(self.loop.device)
                yield partial(
                    self._retain, regularisers, some, retain_batch, weight / len(drawn), now
                )
                self.tokens += retain_batch.cost * self.cost_fraction
            if now.retain is not None:
                now.retain /= len(drawn)
            if against is not None:
                against.bring_back()

    def _forget(self, number: int, records: tuple[Example, ...], batch: Any, now: _Now) -> Tensor:
        known = self.known
        answers = Answers(
            self.loop.model,
            self.task,
            records,
            batch,
            known.original_log_ps,
            known.goals,
            known.precomputed,
        )
        losses = self.method.forget_losses(answers)
        if answers.answered:
            found = -(answers.log_p / answers.count).detach()
        else:
            found = self._evaluate(number, records, batch)
        # A method may ask twice, the second time elsewhere: the first is at the current weights.
        now.losses = now.losses or dict(zip([r.id for r in records], found.tolist(), strict=True))
        # Full push where there is no goal: inf / inf is nan.
        goal = answers.goal
        push = ((goal - found) / goal).clamp(0.0, 1.0).nan_to_num(1.0)
        return (losses * push).mean()

    def _retain(
        self,
        regularisers: RetainRegularisers,
        records: tuple[Example, ...],
        batch: Any,
        weight: float,
        now: _Now,
    ) -> Tensor:
        loss = regularisers.losses(Answers(self.loop.model, self.task, records, batch)).sum()
        now.retain = (now.retain or 0.0) + float(loss.detach())
        return weight * loss

    @torch.no_grad()
    def _evaluate(self, number: int, records: tuple[Example, ...], batch: Any) -> Tensor:
        """The records' losses, evaluated in one of `EVALUATION_INTERVAL` passes over them."""
        epoch = number // len(self.batches)
        if epoch % EVALUATION_INTERVAL and all(record.id in self.losses for record in records):
            return torch.tensor(
                [self.losses[record.id] for record in records], device=self.loop.device
            )
        self.tokens += FORWARD * batch.cost
        log_p, count = self.task.log_probs(self.loop.model, batch)
        return -log_p / count


def buckets(records: Sequence[Example], task: Task) -> list[tuple[Example, ...]]:
    """Group records of like length, so that little of a pass is padding.

    A record that is much longer than a pass's first ends the pass, once that is worth a pass of its
    own.
    """
    found: list[list[Example]] = []
    widths: list[int] = []
    for record in sorted(records, key=lambda r: (task.width(r), r.id)):
        width = task.width(record)
        full = bool(found) and len(found[-1]) * widths[-1] >= WORTH
        if not found or (full and width > SPREAD * widths[-1]):
            found.append([])
            widths.append(width)
        found[-1].append(record)
    return [tuple(some) for some in found]
