"""The one training loop: learners and unlearning methods differ in the loss they pass to it."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Module

from olvido.errors import NotFinite
from olvido.training.recipe import Recipe

_FEW = 0.1
"""Share of the weights that may fail to move without a warning."""


@dataclass(frozen=True)
class Progress:
    """Progress of a loop.

    Attributes:
        step: steps done.
        total: steps planned.
        loss: loss of the last step; None for an empty step.
        seconds: since the loop began.
    """

    step: int
    total: int
    loss: float | None
    seconds: float


Watcher = Callable[[Progress], None]


def reseed(seed: int, device: torch.device) -> None:
    """Seed a step's random numbers on this device, without touching other devices.

    `torch.manual_seed` takes a stack trace for each kind of device that is absent: three a step.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


class Loop:
    """One optimizer over one model, stepped by its caller.

    Every step draws its random numbers from (seed, step) alone, so that a run that resumes, or
    skips a step, draws the same ones.

    Args:
        model: trained in place; only parameters that require a gradient change.
        recipe: optimizer, rate, clipping and precision.
        total: steps of the schedule.
        seed: of the run.
        watch: called after every step.
    """

    def __init__(
        self,
        model: Module,
        recipe: Recipe,
        *,
        total: int,
        seed: int,
        watch: Watcher | None = None,
    ) -> None:
        self.model, self.recipe, self.total, self.seed = model, recipe, total, seed
        self.device = next(model.parameters()).device
        self.accelerator = Accelerator(cpu=self.device.type == "cpu")
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self.parameters, recipe)
        _tell_stuck(self.parameters, recipe)
        self._watch = watch
        self._began = time.perf_counter()

    def step(
        self,
        index: int,
        losses: Iterable[Callable[[], Tensor]],
        *,
        place: tuple[int, int] | None = None,
        shared: bool = False,
    ) -> float | None:
        """Take one optimizer step down the sum of these losses.

        Args:
            index: the step, counted from 0; sets the random numbers.
            losses: each called once and released before the next, so that accumulation costs no
                memory. Without any, the step is skipped while the schedule continues.
            place: the step's place in the learning rate's schedule, and the schedule's length;
                None: in a schedule over the whole run.
            shared: these are one process's part of the losses; gradients are summed over all
                processes, each of which calls this, with no losses where it has none.

        Returns:
            The summed loss, or None for an empty step.

        Raises:
            NotFinite: the loss or its gradient is nan or infinite; the weights are untouched.
        """
        rank = self.accelerator.process_index if shared else 0
        reseed(step_seed(self.seed, index, rank), self.device)
        self.model.train()
        rate = self.recipe.rate(*(place or (index, self.total)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total: float | None = None
        for compute in losses:
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.recipe.dtype == "bfloat16"
            ):
                loss = compute()
            value = float(loss.detach())
            total = value if total is None else total + value
            if not math.isfinite(value):
                break
            self.accelerator.backward(loss)
        if shared and self.accelerator.num_processes > 1:
            # A process that raised by itself would leave the others waiting for its gradients.
            total = self._sum_over_processes(total)
        if total is not None:
            if not math.isfinite(total):
                self.optimizer.zero_grad(set_to_none=True)
                raise NotFinite(
                    f"the loss became {total} at step {index}: lower the learning rate (it is "
                    f"{self.recipe.lr:g}) or check the data"
                )
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.recipe.clip)
            if norm is not None and not torch.isfinite(norm):
                self.optimizer.zero_grad(set_to_none=True)
                raise NotFinite(
                    f"the gradient became {float(norm)} at step {index}: lower the learning rate "
                    f"(it is {self.recipe.lr:g})"
                )
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        if self._watch is not None:
            self._watch(Progress(index + 1, self.total, total, time.perf_counter() - self._began))
        return total

    def _sum_over_processes(self, total: float | None) -> float | None:
        """Add up losses and gradients, in the same order every time.

        This avoids DistributedDataParallel, which averages, and waits for a gradient from every
        process, while a step here may have left one of them without a record.
        """
        from accelerate.utils import reduce

        counted = torch.tensor([total or 0.0, total is not None], dtype=torch.float64)
        whole, with_records = reduce(counted.to(self.device), "sum").tolist()
        if not with_records:
            return None
        if not math.isfinite(whole):
            return float(whole)
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = reduce(parameter.grad, "sum")
        return float(whole)


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of a step's random numbers."""
    name = f"{seed}|{step}|{rank}" if rank else f"{seed}|{step}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())


def _optimizer(parameters: list[Any], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=recipe.lr, momentum=recipe.beta1, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(
        parameters,
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def _tell_stuck(parameters: list[Any], recipe: Recipe) -> None:
    """Warn where 16-bit weights cannot move, however many steps are taken.

    A step of AdamW is about as long as the rate; a step shorter than half the distance to the next
    representable number is rounded away.
    """
    if recipe.optimizer == "sgd":
        return
    stuck = several = 0
    for weights in (p.detach() for p in parameters if p.dtype.itemsize < 4):
        exponents = torch.frexp(weights.float())[1]
        apart = torch.finfo(weights.dtype).eps * torch.exp2(exponents - 1.0)
        stuck += int((apart / 2 > recipe.lr).sum())
        several += weights.numel()
    if stuck > _FEW * several:
        warnings.warn(
            f"{stuck / several:.0%} of the weights in 16 bits cannot move at a learning rate of "
            f"{recipe.lr:g}, because such a step is rounded away: load the model as float32, or "
            "raise the rate",
            stacklevel=3,
        )
