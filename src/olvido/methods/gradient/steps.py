"""The steps of a gradient method: each step's records, losses and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
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
from olvido.tasks.generation import reading_once
from olvido.tasks.sampling import shuffled
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
    """The losses and tokens of one step; filled while they are computed."""

    losses: dict[str, float] = field(default_factory=dict)
    retain: float | None = None
    drawn: int = 1
    tokens: float = 0.0

    @classmethod
    def merged(cls, parts: Sequence[_Now]) -> _Now:
        """The step of all processes."""
        kept = [part.retain for part in parts if part.retain is not None]
        return cls(
            {i: loss for part in parts for i, loss in part.losses.items()},
            sum(kept) / parts[0].drawn if kept else None,
            tokens=sum(part.tokens for part in parts),
        )


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
        self.batches = [
            tuple(by_id[i] for i in batch.ids)
            for batch in task.batches(split.forget, method.recipe.batch_size)
        ]
        self._collated: dict[tuple[int, int], Any] = {}
        self.losses: dict[str, float] = {}
        self.history: list[StepMetrics] = []
        self.tokens = 0.0

    def descend(self) -> tuple[tuple[StepMetrics, ...], float, bool]:
        """Take all steps, or as many as needed: metrics, tokens, and whether targets are
        reached."""
        alternating = self.method.alternating
        there = False
        for step in range(self.loop.total):
            forgetting, keeping = not alternating or step % 2 == 0, not alternating or step % 2 == 1
            now = _Now()
            parts = self._parts(step // (2 if alternating else 1), forgetting, keeping, now)
            self.take(step, parts)
            now = _Now.merged(self.loop.gathered(now))
            self.tokens += now.tokens
            self.losses |= now.losses
            seen = now.losses or self.losses
            self.history.append(StepMetrics(step, fmean(seen.values()), now.retain))
            there = self.method.ends and bool(now.losses)
            there = there and reached(self.losses, self.known.goals)
            patience = self.method.patience
            if there or (patience is not None and patience(self.history, self.loop.total)):
                break
        return tuple(self.history), self.tokens, there

    def take(self, index: int, parts: Iterable[Callable[[], Tensor]]) -> float | None:
        """Take a step down these losses; what the records of a pass begin with is read once."""
        # Processes that share a step have to run the model equally often.
        with reading_once() if self.loop.gradients.world == 1 else nullcontext():
            return self.loop.step(index, parts)

    def _parts(
        self, number: int, forgetting: bool, keeping: bool, now: _Now
    ) -> Iterator[Callable[[], Tensor]]:
        """Yield the step's losses. Each one's gradient is computed before the next is asked for."""
        regularisers = self.known.regularisers if keeping else None
        against = Projection(self.loop.parameters) if self.method.project else None
        gradients = self.loop.gradients
        if forgetting:
            losses = [
                partial(self._forget, number, records, batch, weight, now)
                for records, batch, weight in self._forget_passes(number, now)
            ]
            yield from self.method.forget_parts(self.loop, losses)
        if regularisers is not None:
            if against is not None:
                with gradients.whole():
                    against.set_aside()
            drawn = next(self.known.draws)
            now.drawn = len(drawn)
            weight = self.method.regulariser_weight(self.history) / len(drawn)
            for some in buckets(drawn, self.task):
                for records, counts in self.loop.passes(some):
                    batch = self.task.collate(records).to(self.loop.device)
                    yield partial(
                        self._retain, regularisers, tuple(records), batch, weight, counts, now
                    )
                    now.tokens += batch.cost * self.cost_fraction * counts
            if against is not None:
                with gradients.whole():
                    against.bring_back()

    def _forget_passes(
        self, number: int, now: _Now
    ) -> Iterator[tuple[tuple[Example, ...], Any, float]]:
        """This process's passes over the step's forgotten records, each with its batch and its
        share of the step's mean; 0 for records that another process counts."""
        index = number % len(self.batches)
        whole = self.batches[index]
        for place, (records, counts) in enumerate(self.loop.passes(whole)):
            if (index, place) not in self._collated:
                self._collated[index, place] = self._collate(tuple(records))
            batch = self._collated[index, place]
            each = self.method.forward_backward_count * self.cost_fraction
            now.tokens += batch.cost * each * counts
            yield tuple(records), batch, len(records) / len(whole) if counts else 0.0

    def _collate(self, records: tuple[Example, ...]) -> Any:
        alternatives = self.known.alternative_targets
        others = [alternatives[record.id] for record in records] if alternatives else []
        return self.task.collate([*records, *others]).to(self.loop.device)

    def _forget(
        self, number: int, records: tuple[Example, ...], batch: Any, weight: float, now: _Now
    ) -> Tensor:
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
            found = self._evaluate(number, records, batch, now)
        if weight:
            # A method may ask twice, the second time elsewhere: the first is at the current
            # weights.
            now.losses = (
                dict(zip([r.id for r in records], found.tolist(), strict=True)) | now.losses
            )
        if not self.method.fades:
            return losses.mean() * weight
        # Full push where there is no goal: inf / inf is nan.
        goal = answers.goal
        push = ((goal - found) / goal).clamp(0.0, 1.0).nan_to_num(1.0)
        return (losses * push).mean() * weight

    def _retain(
        self,
        regularisers: RetainRegularisers,
        records: tuple[Example, ...],
        batch: Any,
        weight: float,
        counts: bool,
        now: _Now,
    ) -> Tensor:
        loss = regularisers.losses(Answers(self.loop.model, self.task, records, batch)).sum()
        if counts:
            now.retain = (now.retain or 0.0) + float(loss.detach())
        return weight * counts * loss

    @torch.no_grad()
    def _evaluate(self, number: int, records: tuple[Example, ...], batch: Any, now: _Now) -> Tensor:
        """The records' losses, evaluated in one of `EVALUATION_INTERVAL` passes over them."""
        epoch = number // len(self.batches)
        if epoch % EVALUATION_INTERVAL and all(record.id in self.losses for record in records):
            return torch.tensor(
                [self.losses[record.id] for record in records], device=self.loop.device
            )
        now.tokens += FORWARD * batch.cost
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


def step_tokens(records: Sequence[Example], rows: float, task: Task) -> float:
    """Mean tokens of a step's passes over so many of the records, padding included: short records
    are padded to the longest that is drawn with them, which makes a quarter of a step."""
    size = min(round(rows), len(records))
    order = shuffled(records, "cost")
    draws = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    return fmean(
        sum(len(some) * max(map(task.width, some)) for some in buckets(drawn, task)) * rows / size
        for drawn in draws
    )
