"""The steps of a forgetting: which records each sees, and what becomes of their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from olvido.methods.gradient.answers import FORWARD, Answers
from olvido.methods.gradient.calibration import arrived
from olvido.methods.gradient.projection import Against
from olvido.methods.gradient.regularisers import Guards
from olvido.methods.types import Moment, Split
from olvido.tasks import Example, Task
from olvido.training.loop import Loop

if TYPE_CHECKING:
    from olvido.methods.gradient.descent import Descent

PEEK = 5
"""Steps between two looks at how much is forgotten, where the loss itself does not run the model to
its end."""
WORTH = 1024
"""Tokens under which a pass costs the same however few they are: shorter ones are not split off."""
SPREAD = 1.25
"""How much longer than its shortest record a pass's longest may be."""


@dataclass(frozen=True)
class Known:
    """What a run knows of the model as it was.

    Attributes:
        was: each record's summed log-probability.
        goals: the loss at which each counts as never learned; infinite where nothing tells.
        alternates: what is to be answered instead, by id of the record.
        memory: what the method remembers.
        guards: what holds the rest; None for nothing.
        draws: the retained records of each step, without end.
    """

    was: Mapping[str, float]
    goals: Mapping[str, float]
    alternates: Mapping[str, Example]
    memory: Any
    guards: Guards | None
    draws: Iterator[tuple[Example, ...]]


@dataclass
class _Now:
    """What one step saw; filled while its losses are computed."""

    losses: dict[str, float] = field(default_factory=dict)
    retain: float | None = None


class Steps:
    """One run: all that its steps share.

    Args:
        method: says what is descended.
        loop: the one training loop.
        split: whose forgotten records are passed over, in batches of like length.
        task: makes the batches.
        known: of the model as it was.
    """

    def __init__(self, method: Descent, loop: Loop, split: Split, task: Task, known: Known) -> None:
        self.method, self.loop, self.task, self.known = method, loop, task, known
        self.effort = method.effort(loop.model, task)
        by_id = {record.id: record for record in split.forget}
        self.batches = []
        for batch in task.batches(split.forget, method.recipe.batch_size):
            records = tuple(by_id[i] for i in batch.ids)
            if known.alternates:
                batch = task.collate([*records, *(known.alternates[r.id] for r in records)])
            self.batches.append((records, batch.to(loop.device)))
        self.losses: dict[str, float] = {}
        self.history: list[Moment] = []
        self.tokens = 0.0

    def descend(self) -> tuple[tuple[Moment, ...], float, bool]:
        """All steps, or as many as it takes: moments, tokens, and whether the records are there."""
        turns = self.method.turns
        for step in range(self.loop.total):
            forgetting, keeping = not turns or step % 2 == 0, not turns or step % 2 == 1
            now = _Now()
            self.loop.step(step, self._parts(step // (2 if turns else 1), forgetting, keeping, now))
            self.losses |= now.losses
            seen = now.losses or self.losses
            self.history.append(Moment(step, fmean(seen.values()), now.retain))
            if now.losses and arrived(self.losses, self.known.goals):
                return tuple(self.history), self.tokens, True
            patience = self.method.patience
            if patience is not None and patience(self.history, self.loop.total):
                break
        return tuple(self.history), self.tokens, False

    def _parts(
        self, number: int, forgetting: bool, keeping: bool, now: _Now
    ) -> Iterator[Callable[[], Tensor]]:
        """The step's losses. Each one's gradient is there when the next is asked for."""
        guards = self.known.guards if keeping else None
        against = Against(self.loop.parameters) if self.method.project else None
        if forgetting:
            records, batch = self.batches[number % len(self.batches)]
            yield from self.method.forget_parts(
                self.loop, partial(self._forget, number, records, batch, now)
            )
            self.tokens += batch.cost * self.method.passes * self.effort
        if guards is not None:
            if against is not None:
                against.set_aside()
            drawn = next(self.known.draws)
            weight = self.method.guard_weight(self.history)
            for some in buckets(drawn, self.task):
                kept = self.task.collate(some).to(self.loop.device)
                yield partial(self._retain, guards, some, kept, weight / len(drawn), now)
                self.tokens += kept.cost * self.effort
            if now.retain is not None:
                now.retain /= len(drawn)
            if against is not None:
                against.bring_back()

    def _forget(self, number: int, records: tuple[Example, ...], batch: Any, now: _Now) -> Tensor:
        known = self.known
        answers = Answers(
            self.loop.model, self.task, records, batch, known.was, known.goals, known.memory
        )
        losses = self.method.forget_losses(answers)
        if answers.answered:
            found = -(answers.log_p / answers.count).detach()
        else:
            found = self._peek(number, records, batch)
        # A method may ask twice, the second time elsewhere: where the weights stand is the first.
        now.losses = now.losses or dict(zip([r.id for r in records], found.tolist(), strict=True))
        # Full push where there is no goal: inf / inf is nan.
        goal = answers.goal
        push = ((goal - found) / goal).clamp(0.0, 1.0).nan_to_num(1.0)
        return (losses * push).mean()

    def _retain(
        self,
        guards: Guards,
        records: tuple[Example, ...],
        batch: Any,
        weight: float,
        now: _Now,
    ) -> Tensor:
        loss = guards.losses(Answers(self.loop.model, self.task, records, batch)).sum()
        now.retain = (now.retain or 0.0) + float(loss.detach())
        return weight * loss

    @torch.no_grad()
    def _peek(self, number: int, records: tuple[Example, ...], batch: Any) -> Tensor:
        """The records' losses, seen anew in one of `PEEK` passes over them."""
        lap = number // len(self.batches)
        if lap % PEEK and all(record.id in self.losses for record in records):
            return torch.tensor(
                [self.losses[record.id] for record in records], device=self.loop.device
            )
        self.tokens += FORWARD * batch.cost
        log_p, count = self.task.log_probs(self.loop.model, batch)
        return -log_p / count


def buckets(records: Sequence[Example], task: Task) -> list[tuple[Example, ...]]:
    """Records of like length together, so that little of a pass is padding.

    A pass is ended by a record that is much longer than its first, once it is worth a pass of its
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
