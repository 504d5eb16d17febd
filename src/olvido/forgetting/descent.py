"""The gradient family: a method is one loss on the records to be forgotten."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError, UnknownName
from olvido.forgetting.calibration import arrived, frozen, targets
from olvido.forgetting.guarantee import Need
from olvido.forgetting.guards import GUARDS, Guard
from olvido.forgetting.sampling import retain_draws
from olvido.forgetting.types import Cost, Moment, Run, Split
from olvido.learners import Lora, Recipe, StepLog, Trace, Trained, Untraced, Watcher, adapters
from olvido.learners.runs.environment import deterministic
from olvido.learners.runs.loop import Loop
from olvido.ledger.facts import Guarantee
from olvido.tasks import Example, Task

FORWARD = 1 / 3
"""Cost of a forward pass beside forward and backward together."""


@dataclass(frozen=True)
class _Forgetting:
    """What a run knows before its first step.

    Attributes:
        log_p: each forgotten record's summed log-probability under the model as it was.
        goals: the loss at which each counts as never learned; infinite where nothing tells.
        draws: the retained records of each step.
        guard: what holds them; None for none.
    """

    log_p: Mapping[str, float]
    goals: Mapping[str, float]
    draws: Sequence[tuple[Example, ...]]
    guard: Guard | None


class Descent:
    """Move the weights down a forget loss, held by a guard on retained records.

    With holdout records the method is calibrated: each forgotten record has a target, the mean loss
    of the holdout records of its topic under the model as it was. The push on a record fades as it
    nears its target, and the run ends when together they are there. That is where "never learned"
    lies, neither less nor more. Without holdout records and without a `target` the run uses all its
    epochs.

    Args:
        lr: learning rate (Adam without momentum: momentum would carry the weights past the target);
            None: `base_lr` of the method, scaled by 128 / hidden size, as Adam's updates ask for
            (Yang et al. 2022, arXiv 2203.03466, table 3).
        epochs: passes over the forgotten records at the most.
        batch_size: forgotten records a step.
        retain_batch: retained records a step.
        retain_weight: of the guard, beside 1 for the forget loss.
        guard: `nll`, `kl` or `none`.
        target: loss in nats a token at which a record counts as forgotten; None: calibrated.
        dtype: of the forward pass.
        lora_rank: train low-rank adapters of this rank, merged at the end, instead of all weights.
    """

    guarantee: ClassVar = Guarantee.EMPIRICAL
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RETAIN})
    summary: ClassVar[str]
    base_lr: ClassVar[float] = 1e-4

    def __init__(
        self,
        *,
        lr: float | None = None,
        epochs: int = 30,
        batch_size: int = 32,
        retain_batch: int = 48,
        retain_weight: float = 5.0,
        guard: str = "nll",
        target: float | None = None,
        dtype: str = "float32",
        lora_rank: int | None = None,
    ) -> None:
        if guard not in (*GUARDS, "none"):
            raise UnknownName("guard", guard, [*GUARDS, "none"])
        if retain_batch < 1:
            raise InputError(f"retain_batch must be at least 1, got {retain_batch}")
        if target is not None and not target > 0:
            raise InputError(f"target is a loss above 0, in nats a token; got {target}")
        self.recipe = Recipe(
            lr=self.base_lr if lr is None else lr,
            epochs=epochs,
            batch_size=batch_size,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
            beta1=0.0,
            dtype=dtype,
            lora=None if lora_rank is None else Lora(rank=lora_rank, alpha=2 * lora_rank),
        )
        self.scaled = lr is None
        self.retain_batch, self.retain_weight = retain_batch, retain_weight
        self.guard, self.target = guard, target

    def forget_losses(self, log_p: Tensor, count: Tensor, before: Tensor) -> Tensor:
        """What is descended on the forgotten records, one value a record. [B]

        Args:
            log_p: summed log-probability of each record's answer. [B]
            count: its tokens. [B]
            before: the same sum under the model as it was. [B]
        """
        raise NotImplementedError(f"{type(self).__name__} must define forget_losses")

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """All epochs, each step with its retain batch; calibrated runs mostly end sooner."""
        forget = sum(map(task.width, split.forget)) * self.recipe.epochs
        retain = 0.0
        if self.guard != "none" and split.retain:
            sample = split.retain[: 4 * self.retain_batch]
            rows = min(self.retain_batch, len(split.retain))
            retain = self._steps(split) * rows * fmean(map(task.width, sample))
        return priced(trained, split, forget + retain + self._looking(split, task))

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Forget on a copy of the model.

        Raises:
            InputError: a record to be forgotten is not in the log that the model came with.
            NotFinite: a loss became nan; the model given is untouched.
        """
        left = left_after(trained.trace, split)
        model = copy.deepcopy(trained.model)
        total = self._steps(split)
        recipe = self.recipe
        if self.scaled:
            recipe = replace(recipe, lr=recipe.lr * 128 / _width(model))
        with deterministic():
            known = self._look(model, split, task, total, seed)
            if recipe.lora is not None:
                model = adapters.attach(model, recipe.lora, seed=seed)
            loop = Loop(model, recipe, total=total, seed=seed, watch=watch)
            history, tokens, there = self._descend(loop, split, task, known)
            if recipe.lora is not None:
                model = adapters.merge(model, trained.model)
        model.eval()
        if there:
            why = f"the records reached the loss of never learned ones after {len(history)} steps"
        elif all(map(math.isfinite, known.goals.values())):
            why = f"all {total} steps were used before every record reached its target"
        else:
            why = f"all {total} steps were used; without holdout records there is no target"
        tokens += self._looking(split, task)
        return Run(model, left, tokens, why, history)

    def _look(self, model: Module, split: Split, task: Task, total: int, seed: int) -> _Forgetting:
        """Everything that is asked of the model as it was, each thing once."""
        seen = frozen(model, split.forget, task, self.recipe.batch_size)
        if self.target is not None or not (split.holdout or split.never):
            goal = math.inf if self.target is None else self.target
            goals = {example.id: goal for example in split.forget}
        else:
            goals = targets(model, split, task, self.recipe.batch_size)
        draws: list[tuple[Example, ...]] = [()] * total
        guard: Guard | None = None
        if self.guard != "none" and split.retain:
            draws = list(islice(retain_draws(split, self.retain_batch, seed), total))
            guard = GUARDS[self.guard]()
            distinct = {example.id: example for drawn in draws for example in drawn}
            guard.prepare(model, list(distinct.values()), task, self.retain_batch)
        return _Forgetting({i: log_p for i, (log_p, _) in seen.items()}, goals, draws, guard)

    def _descend(
        self, loop: Loop, split: Split, task: Task, known: _Forgetting
    ) -> tuple[tuple[Moment, ...], float, bool]:
        history: list[Moment] = []
        losses: dict[str, float] = {}
        tokens = 0.0
        batches = [
            batch.to(loop.device) for batch in task.batches(split.forget, self.recipe.batch_size)
        ]
        for step, drawn in enumerate(known.draws):
            batch = batches[step % len(batches)]
            kept = None if known.guard is None else task.collate(drawn).to(loop.device)
            moment = _Seen()
            parts = [partial(self._forget, loop, batch, task, known, moment)]
            tokens += batch.cost
            if kept is not None:
                parts.append(partial(self._retain, loop, kept, task, known, moment))
                tokens += kept.cost
            loop.step(step, parts)
            losses |= moment.forget
            history.append(Moment(step, fmean(moment.forget.values()), moment.retain))
            if arrived(losses, known.goals):
                return tuple(history), tokens, True
        return tuple(history), tokens, False

    def _forget(
        self, loop: Loop, batch: Any, task: Task, known: _Forgetting, moment: _Seen
    ) -> Tensor:
        log_p, count = task.log_probs(loop.model, batch)
        now = (-log_p / count).detach()
        moment.forget = dict(zip(batch.ids, now.tolist(), strict=True))
        before = torch.tensor([known.log_p[i] for i in batch.ids], device=log_p.device)
        goal = torch.tensor([known.goals[i] for i in batch.ids], device=log_p.device)
        # Full push where there is no goal: inf / inf is nan.
        push = ((goal - now) / goal).clamp(0.0, 1.0).nan_to_num(1.0)
        return (self.forget_losses(log_p, count, before) * push).mean()

    def _retain(
        self, loop: Loop, batch: Any, task: Task, known: _Forgetting, moment: _Seen
    ) -> Tensor:
        assert known.guard is not None
        loss = known.guard.losses(loop.model, batch, task).mean()
        moment.retain = float(loss.detach())
        return self.retain_weight * loss

    def _steps(self, split: Split) -> int:
        return self.recipe.epochs * -(-len(split.forget) // self.recipe.batch_size)

    def _looking(self, split: Split, task: Task) -> float:
        """Tokens of the forward passes over the model as it was, in forward-backward units."""
        records = (*split.forget, *(split.holdout if self.target is None else ()))
        return FORWARD * sum(map(task.width, records))


@dataclass
class _Seen:
    """What one step saw; filled while its losses are computed."""

    forget: dict[str, float] | Any = None
    retain: float | None = None


def priced(trained: Trained, split: Split, tokens: float) -> Cost:
    """A number of tokens as seconds and as a share of retraining, where a training was timed."""
    log = trained.trace
    if isinstance(log, Untraced) or not log.tokens:
        return Cost(tokens)
    again = log.tokens_without({example.id for example in split.forget})
    return Cost(tokens, tokens * log.seconds / log.tokens, tokens / again if again else None)


def left_after(trace: Trace, split: Split) -> Trace:
    """The training that the weights still descend from, without what they forgot: with it the next
    request can be answered exactly, and never-trained models be made."""
    if not isinstance(trace, StepLog):
        return trace
    gone = frozenset(example.id for example in split.forget)
    trace.plan.without(gone)
    return replace(trace, since=trace.since | gone)


def _width(model: Module) -> int:
    return int(getattr(getattr(model, "config", None), "hidden_size", 128))
