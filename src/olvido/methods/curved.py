"""The curvature family: methods that move the weights once, along a path from the curvature."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError
from olvido.learners import Trained, Watcher
from olvido.ledger.facts import Guarantee
from olvido.methods.gradient.answers import FORWARD
from olvido.methods.gradient.calibration import remaining_trace, targets
from olvido.methods.guarantee import Need
from olvido.methods.types import Cost, Run, Split, StepMetrics, priced
from olvido.registry import Options
from olvido.statistics import bisected
from olvido.tasks import Example, Task
from olvido.tasks.sampling import uniform
from olvido.tasks.scoring import mean_loss
from olvido.training.environment import deterministic
from olvido.training.loop import Progress

EVALUATIONS = 10
"""Strengths that are tried, at the most."""
USUAL = 6
"""Strengths that are usually tried, where there is a target: four to eight in the tests' town."""
DOWN, UP = 40.0, 10.0
"""How often the initial strength may be halved, and doubled."""
NEAR = 0.02
"""Tolerance of the forgotten records' loss above its target, as a share of it: no evaluation
is spent on less."""

BEARABLE = 0.1
"""Nats a token by which the sample's loss may rise where no target says how far to go."""

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class WeightPath:
    """A path of the weights.

    Attributes:
        at: gives the weights for a strength; at 0 they are the original ones.
        slope: rise of the forgotten records' mean loss with the strength at 0, in nats a token;
            None: unknown. It determines the first evaluation.
        arrived: called with the model at the end of the path.
    """

    at: Callable[[float], Weights]
    slope: float | None = None
    arrived: Callable[[Module], None] | None = None


class Curved(Options):
    """Move the weights once, along a path from the curvature.

    Nothing is trained: gradients of the forget set and of a sample of the retain set are computed a
    few times, then the weights are moved by the method's own measure times `strength`. With a
    target (an option, or calibrated on holdout records as for the gradient family) the strength is
    found by bisection instead, until the forgotten records' mean loss is that of never-learned
    ones. Without one the strength is halved until the sample bears the move: a second order around
    a model that knows its records by heart holds for short distances only.

    Args:
        strength: 1 is the paper's value.
        target: loss in nats a token at which a record counts as forgotten; None: calibrated where
            there are holdout records.
        sample: number of retained records that are evaluated, drawn from all.
        batch_size: records a pass.
    """

    guarantee: ClassVar = Guarantee.EMPIRICAL
    needs = frozenset({Need.RETAIN})
    summary: ClassVar[str]
    loss: ClassVar[str]
    source: ClassVar[str]
    suits: ClassVar[str]
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0}

    strength: float = 1.0
    target: float | None = None
    sample: int = 256
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if not self.strength > 0:
            raise InputError(f"strength must be above 0, got {self.strength}")
        if self.target is not None and not self.target > 0:
            raise InputError(f"target is a loss above 0, in nats a token; got {self.target}")
        if self.sample < 1 or self.batch_size < 1:
            raise InputError(
                f"sample and batch_size are 1 or more; got {self.sample}, {self.batch_size}"
            )

    def path(
        self, model: Module, split: Split, task: Task, seed: int, *, retain_count: int
    ) -> WeightPath:
        """Compute the path of the weights; the model is left unchanged.

        Args:
            model: in evaluation mode.
            split: `retain` is a sample of the retained records.
            task: turns records into batches.
            seed: of the random choices.
            retain_count: number of training records without the forgotten ones.
        """
        raise NotImplementedError(f"{type(self).__name__} must define path")

    def forward_backward_counts(
        self, model: Module, split: Split, task: Task
    ) -> tuple[float, float]:
        """Forward-backward passes over the forget set, and over the sample."""
        raise NotImplementedError(f"{type(self).__name__} must define passes")

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """Predict the usual number of evaluations where there is a target, and all without one."""
        forward_backward_counts = self.forward_backward_counts(trained.model, split, task)
        evaluations = (
            USUAL if self.target is not None or split.holdout or split.never else EVALUATIONS
        )
        return priced(
            trained, split, self._tokens(split, task, forward_backward_counts, evaluations)
        )

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Forget on a copy of the model.

        Raises:
            InputError: a record to be forgotten is not in the model's training log.
        """
        remaining = remaining_trace(trained.trace, split)
        model = copy.deepcopy(trained.model).eval()
        sample = uniform(split.retain, self.sample, seed)
        retain_count = len(split.retain if remaining.learner is None else remaining.present)
        forward_backward_counts = self.forward_backward_counts(model, split, task)
        with deterministic():
            goal = self._goal(model, split, task)
            begun = mean_loss(model, split.forget, task, self.batch_size)
            path = self.path(
                model, Split(split.forget, sample), task, seed, retain_count=max(1, retain_count)
            )
            if goal is None:
                search = StrengthSearch(model, path.at, sample, task, self.batch_size, watch)
                found = search.longest(self.strength, BEARABLE)
                why = f"moved by strength {found:.3g}; without holdout records there is no target"
            else:
                search = StrengthSearch(model, path.at, split.forget, task, self.batch_size, watch)
                first = _first(path.slope, goal - begun, self.strength)
                found = search.shortest(self.strength, goal, first)
                why = f"the records reached the loss of never learned ones at strength {found:.3g}"
            put(model, path.at(found))
            ended = mean_loss(model, split.forget, task, self.batch_size)
            if path.arrived is not None:
                path.arrived(model)
            if goal is not None and not ended >= 0.9 * goal:
                why = f"no strength up to {found:.3g} brought the records to their target"
        history = (StepMetrics(0, begun, None), StepMetrics(1, ended, None))
        return Run(
            model,
            remaining,
            self._tokens(split, task, forward_backward_counts, search.evaluations),
            why,
            history,
        )

    def _goal(self, model: Module, split: Split, task: Task) -> float | None:
        if self.target is not None:
            return self.target
        if not (split.holdout or split.never):
            return None
        return fmean(targets(model, split, task, self.batch_size).values())

    def _tokens(
        self,
        split: Split,
        task: Task,
        forward_backward_counts: tuple[float, float],
        evaluations: int,
    ) -> float:
        forget = sum(map(task.width, split.forget))
        some = split.retain[: 4 * self.sample]
        sample = 0.0
        if some:
            sample = min(self.sample, len(split.retain)) * fmean(map(task.width, some))
        aimed = self.target is not None or bool(split.holdout or split.never)
        holdout = () if self.target is not None else split.holdout
        forward = 2 * forget + evaluations * (forget if aimed else sample)
        forward += sum(map(task.width, holdout))
        forward += forget if holdout and split.origin is not None else 0
        over_forget, over_sample = forward_backward_counts
        return over_forget * forget + over_sample * sample + FORWARD * forward


class StrengthSearch:
    """Evaluate strengths on records, each time from the same path."""

    def __init__(
        self,
        model: Module,
        path: Callable[[float], Weights],
        records: Sequence[Example],
        task: Task,
        size: int,
        watch: Watcher | None,
    ) -> None:
        self._model, self._path, self._records = model, path, records
        self._task, self._size, self._watch = task, size, watch
        self._began = time.perf_counter()
        self.evaluations = 0

    def shortest(self, strength: float, goal: float, first: float = 0.0) -> float:
        """The least strength at which the loss reaches the goal, within `DOWN` and `UP`.

        Args:
            strength: initial strength, which is halved and doubled.
            goal: a loss.
            first: doublings of the first evaluation.
        """
        low: tuple[float, float] | None = None
        high: tuple[float, float] | None = None
        at, step = min(UP, max(-DOWN, first)), 2.0
        for _ in range(EVALUATIONS):
            loss = self._at(strength * 2**at)
            # A nan loss has gone too far.
            if loss < goal:
                low = (at, loss)
            else:
                high = (at, loss)
                if loss <= (1 + NEAR) * goal:
                    break
            if low is None or high is None:
                if at in (-DOWN, UP):
                    break
                at = max(-DOWN, at - step) if low is None else min(UP, at + step)
                step *= 2
            else:
                at = _between(low, high, goal)
        return strength * 2 ** (UP if high is None else high[0])

    def longest(self, strength: float, most: float) -> float:
        """The initial strength, or the largest below it at which the loss rises by `most` at
        most."""
        if not self._records:
            return strength
        most += self._at(0.0)
        if self._at(strength) <= most:
            return strength

        def unbearable(at: float) -> bool:
            return not self._at(strength * 2**at) <= most

        low, _ = bisected(unbearable, -DOWN, 0.0, EVALUATIONS - self.evaluations)
        return float(strength * 2**low)

    def _at(self, strength: float) -> float:
        put(self._model, self._path(strength))
        loss = mean_loss(self._model, self._records, self._task, self._size)
        self.evaluations += 1
        if self._watch is not None:
            spent = time.perf_counter() - self._began
            self._watch(Progress(self.evaluations, EVALUATIONS, loss, spent))
        return loss


def _first(slope: float | None, rise: float, strength: float) -> float:
    """Doublings of the strength at which the loss would have risen so far along its slope."""
    if slope is None or not (slope > 0 and rise > 0 and math.isfinite(rise / slope)):
        return 0.0
    return math.log2(rise / slope / strength)


def _between(low: tuple[float, float], high: tuple[float, float], goal: float) -> float:
    """Where the logarithm of the loss, on a straight line, passes the goal by half of `NEAR`."""
    (under, small), (over, large) = low, high
    share = 0.5
    if 0 < small < large < math.inf:
        wanted = math.log((1 + NEAR / 2) * goal / small)
        # Near an end it would converge slowly.
        share = min(0.85, max(0.15, wanted / math.log(large / small)))
    return under + share * (over - under)


@torch.no_grad()
def put(model: Module, weights: Weights) -> None:
    own = dict(model.named_parameters())
    for name, value in weights.items():
        own[name].copy_(value)


def trainable_weights(model: Module) -> dict[str, Tensor]:
    """A copy of the trainable weights."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
