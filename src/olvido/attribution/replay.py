"""Metagradients: the gradient of an answer's loss with respect to each record's weight in training.

The run is replayed from its log, and then differentiated backward step by step: the derivative of
every optimizer step is applied in reverse (Maclaurin et al. 2015, arXiv 1502.03492; Engstrom et al.
2025, arXiv 2503.13751). The only approximation is that removing a record is a small change. It
costs several trainings and more memory than one: for small models.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.attention import SDPBackend, sdpa_kernel

from olvido.curvature import query_gradients
from olvido.errors import DigestMismatch, InputError, MissingNeed
from olvido.learners import StepLog, Trained
from olvido.models import weights_digest
from olvido.tasks import Example, Task
from olvido.training.environment import deterministic
from olvido.training.loop import Loop, reseed, step_seed
from olvido.training.plan import PlannedBatch
from olvido.training.traces.chain import Continued, links

EPSILON = 1e-8
"""Epsilon of AdamW's denominator; also the least root of a second moment that is differentiated."""


class ReplayedRun:
    """The rise of the question's loss without the record's weight, by replaying the run.

    It needs the log of a training by `olvido.train` with AdamW in float32, without adapters.
    """

    summary: ClassVar = "metagradient through a replay of the training: small models only"
    unit: ClassVar = "nats a token that the answer would be less likely without it"

    def scores(
        self, trained: Trained, records: Sequence[Example], query: Example, task: Task, seed: int
    ) -> Tensor:
        return metagradients(trained, records, [query], task)


@dataclass(frozen=True)
class _State:
    """The state before a step."""

    weights: list[Tensor]
    optimizer: dict[str, Any]


@dataclass(frozen=True)
class _Done:
    """The data to differentiate a step: the weights before it, the moments after it."""

    step: int
    weights: list[Tensor]
    mean: list[Tensor]
    square: list[Tensor]


def metagradients(
    trained: Trained, records: Sequence[Example], queries: Sequence[Example], task: Task
) -> Tensor:
    """The first-order rise of each query's loss with a record's weight set to zero.

    Args:
        trained: with its step log.
        records: all present records of the run, and maybe others, whose score is 0.
        queries: questions with answers.
        task: the training's.

    Returns:
        Scores. [Q, n]

    Raises:
        MissingNeed: there is no step log.
        InputError: an unsupported recipe, or missing records of the run.
        DigestMismatch: the replay did not reproduce the model's weights.
    """
    log = next(iter(trained.trace.runs.values()), None)
    if log is None or not trained.trace.single:
        raise MissingNeed("replay needs the log of the training: pass what olvido.train() returned")
    if any(isinstance(link, Continued) for link in links(trained.trace)):
        raise InputError(
            "replay takes one training back, and this model was trained in several: trace the "
            "answer by another method"
        )
    recipe = log.recipe
    other = recipe.lora is not None or recipe.dtype != "float32" or recipe.master_weights
    if recipe.optimizer != "adamw" or other:
        raise InputError("replay takes back AdamW in float32 without adapters, and nothing else")
    by_id = {record.id: record for record in records}
    if missing := [i for i in log.plan.present if i not in by_id]:
        raise InputError(
            f"{len(missing)} records of the run were not given (first: {missing[0]!r}): replay "
            "needs all of them"
        )
    with deterministic(log.threads), sdpa_kernel(SDPBackend.MATH):
        return _Reversed(trained, log, by_id, task).run(records, queries)


class _Reversed:
    """One run, replayed forward and differentiated backward."""

    def __init__(
        self, trained: Trained, log: StepLog, records: Mapping[str, Example], task: Task
    ) -> None:
        self.trained, self.log, self.records, self.task = trained, log, records, task
        self.model: Module = copy.deepcopy(log.origin.module())
        self.total = log.plan.total_steps
        self.loop = Loop(self.model, log.recipe, total=self.total, seed=log.seed)
        self.parameters = self.loop.parameters
        self.batches = list(log.plan.steps())

    def run(self, records: Sequence[Example], queries: Sequence[Example]) -> Tensor:
        stride = max(1, math.isqrt(self.total))
        kept: dict[int, _State] = {}
        for step in range(self.total):
            if step % stride == 0:
                kept[step] = self._state()
            self._forward(step)
        self.model.eval()
        found = weights_digest(self.model)
        if found != self.trained.digest:
            raise DigestMismatch("the replayed run", self.trained.digest, found)
        # The loss of a query at the end, by parameter: the start of the backward pass.
        ended = query_gradients(self.model, queries, self.task)
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]
        back = [_Adjoint([ended[n][q] for n in names]) for q in range(len(queries))]
        scores = torch.zeros(len(queries), len(records))
        place = {record.id: i for i, record in enumerate(records)}
        for start in sorted(kept, reverse=True):
            self._restore(kept.pop(start))
            done = [self._forward(step) for step in range(start, min(start + stride, self.total))]
            for one in reversed(done):
                self._take_back(one, back, scores, place)
        return scores

    def _state(self) -> _State:
        weights = [p.detach().clone() for p in self.parameters]
        return _State(weights, copy.deepcopy(self.loop.state()))

    def _restore(self, state: _State) -> None:
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, state.weights, strict=True):
                parameter.copy_(weight)
        self.loop.restore(state.optimizer)

    def _forward(self, step: int) -> _Done:
        before = [p.detach().clone() for p in self.parameters]
        planned = sum(batch.planned for batch in self.batches[step])
        parts = [
            lambda batch=batch: self._losses(batch).sum() / planned
            for batch in self.batches[step]
            if batch.ids
        ]
        # In training, attention runs on the kernels it ran on.
        with sdpa_kernel(list(KERNELS)):
            self.loop.step(step, parts, place=self.log.plan.place(step))
        state = self.loop.optimizer.state
        mean = [_moment(state, p, "exp_avg") for p in self.parameters]
        square = [_moment(state, p, "exp_avg_sq") for p in self.parameters]
        return _Done(step, before, mean, square)

    def _losses(self, batch: PlannedBatch) -> Tensor:
        rows = [self.records[i] for i in batch.ids]
        made = self.task.collate(rows, width=batch.width).to(self.loop.device)
        return self.task.losses(self.model, made)

    def _take_back(
        self, done: _Done, back: list[_Adjoint], scores: Tensor, place: Mapping[str, int]
    ) -> None:
        batches = [batch for batch in self.batches[done.step] if batch.ids]
        if not batches:
            return
        recipe = self.log.recipe
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, done.weights, strict=True):
                parameter.copy_(weight)
        reseed(step_seed(self.log.seed, done.step, 0), self.loop.device)
        self.model.train()
        planned = sum(batch.planned for batch in self.batches[done.step])
        ids = [i for batch in batches for i in batch.ids]
        counted = torch.ones(len(ids), device=self.loop.device, requires_grad=True)
        losses = torch.cat([self._losses(batch) for batch in batches])
        gradient = torch.autograd.grad(
            (losses * counted).sum() / planned,
            self.parameters,
            create_graph=True,
            materialize_grads=True,
        )
        detached = [g.detach() for g in gradient]
        length = float(torch.sqrt(torch.stack([g.square().sum() for g in detached]).sum()))
        scale = min(1.0, recipe.clip / (length + 1e-6))
        rate = recipe.rate(*self.log.plan.place(done.step))
        for q, adjoint in enumerate(back):
            pulls = adjoint.through_adamw(done, detached, scale, length, rate, recipe, self._seen)
            along = sum((g * pull).sum() for g, pull in zip(gradient, pulls, strict=True))
            assert isinstance(along, Tensor)
            *turned, weighed = torch.autograd.grad(
                along,
                [*self.parameters, counted],
                retain_graph=q + 1 < len(back),
                materialize_grads=True,
            )
            adjoint.weights = [a + b for a, b in zip(adjoint.weights, turned, strict=True)]
            scores[q, [place[i] for i in ids]] -= weighed.cpu()

    def _seen(self, step: int) -> int:
        """Optimizer steps up to and including this one: empty ones do not count."""
        return sum(any(b.ids for b in batches) for batches in self.batches[: step + 1])


class _Adjoint:
    """Derivatives of one query's loss by the weights and moments before the current step."""

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights = weights
        self.mean = [torch.zeros_like(w) for w in weights]
        self.square = [torch.zeros_like(w) for w in weights]

    def through_adamw(
        self,
        done: _Done,
        gradient: list[Tensor],
        scale: float,
        length: float,
        rate: float,
        recipe: Any,
        count: Any,
    ) -> list[Tensor]:
        """Differentiate one AdamW step; return the loss's derivative by the unclipped gradient."""
        taken = count(done.step)
        first, second = 1 - recipe.beta1**taken, 1 - recipe.beta2**taken
        owed: list[Tensor] = []
        for k, weight in enumerate(self.weights):
            root = (done.square[k] / second).sqrt()
            below = root + EPSILON
            mean = self.mean[k] - rate * weight / (first * below)
            # A parameter that never had a gradient has a root of 0, whose derivative is infinite.
            slope = torch.where(root > EPSILON, 0.5 / (second * root.clamp(min=EPSILON)), 0.0)
            square = self.square[k] + rate * weight * (done.mean[k] / first) / below**2 * slope
            clipped = scale * gradient[k]
            owed.append(mean * (1 - recipe.beta1) + 2 * square * (1 - recipe.beta2) * clipped)
            self.mean[k], self.square[k] = recipe.beta1 * mean, recipe.beta2 * square
            self.weights[k] = weight * (1 - rate * recipe.weight_decay)
        if scale == 1.0:
            return owed
        inner = sum(float((o * g).sum()) for o, g in zip(owed, gradient, strict=True))
        turn = inner * recipe.clip / ((length + 1e-6) ** 2 * length)
        return [scale * o - turn * g for o, g in zip(owed, gradient, strict=True)]


KERNELS = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
)


def _moment(state: Mapping[Any, Any], parameter: Tensor, kind: str) -> Tensor:
    found = state.get(parameter, {}).get(kind)
    return torch.zeros_like(parameter) if found is None else found.detach().clone()
