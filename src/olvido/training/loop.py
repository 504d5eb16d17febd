"""The one training loop: learners and unlearning methods differ in the loss they pass to it."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Module, Parameter

from olvido.errors import InputError, NotFinite
from olvido.models.digest import whole
from olvido.processes import from_all
from olvido.tasks.blocks import plain_model
from olvido.training.gradients import Gradients, Plain, Summed, shares
from olvido.training.recipe import Recipe
from olvido.training.sharding import Sharded, as_sharded, recomputes, sharding

T = TypeVar("T")
_FULL = 4
"""Bytes of a weight that every step moves."""
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
        shared: all processes share each step, and each passes its part of the losses (see
            `shares`); otherwise each takes the step by itself.
        gradients: how a step's gradients are put together; None: as the processes ask for.

    Attributes:
        model: the module to compute losses with: the given one, or its shards.
        gradients: how a step's gradients are put together.
        parameters: the trained parameters of the model.

    Raises:
        InputError: the model cannot do without its activations, or cannot be sharded as asked.
    """

    def __init__(
        self,
        model: Module,
        recipe: Recipe,
        *,
        total: int,
        seed: int,
        watch: Watcher | None = None,
        shared: bool = False,
        gradients: Gradients | None = None,
    ) -> None:
        self.model, self.recipe, self.total, self.seed = model, recipe, total, seed
        self.device = next(model.parameters()).device
        # First, since accelerate has words of its own for what is not supported.
        shards = sharding() if shared else None
        self.accelerator = Accelerator(cpu=self.device.type == "cpu")
        self.gradients: Gradients = gradients or Plain()
        self._recomputes = recipe.checkpointing or (shards is not None and recomputes())
        if self._recomputes:
            _recomputing(model, "enable")({"use_reentrant": False})
            # Only reentrant checkpoints need it, and it would stay in the model.
            plain_model(model).disable_input_require_grads()
        if shards is not None:
            self.gradients = Sharded(model, self.accelerator)
            self.model = self.gradients.model
        self._given = model
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        if shared and shards is None and self.accelerator.num_processes > 1:
            self.gradients = Summed(self.accelerator, self.parameters)
        # What the optimizer moves: the parameters, or float32 copies of those in 16 bits.
        self._moved = [
            Parameter(p.detach().float())
            if recipe.master_weights and p.dtype.itemsize < _FULL
            else p
            for p in self.parameters
        ]
        self.optimizer = _optimizer(self._moved, recipe)
        _tell_stuck(self._moved, recipe)
        self._watch = watch
        self._began = time.perf_counter()

    def step(
        self,
        index: int,
        losses: Iterable[Callable[[], Tensor]],
        *,
        place: tuple[int, int] | None = None,
    ) -> float | None:
        """Take one optimizer step down the sum of these losses.

        Args:
            index: the step, counted from 0; sets the random numbers.
            losses: each called once and released before the next, so that accumulation costs no
                memory. Without any, the step is skipped while the schedule continues.
            place: the step's place in the learning rate's schedule, and the schedule's length;
                None: in a schedule over the whole run.

        Returns:
            The summed loss, or None for an empty step.

        Raises:
            NotFinite: the loss or its gradient is nan or infinite; the weights are untouched.
        """
        gradients = self.gradients
        reseed(step_seed(self.seed, index, gradients.rank), self.device)
        self.model.train()
        rate = self.recipe.rate(*(place or (index, self.total)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total: float | None = None
        for compute in losses:
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.recipe.dtype == "bfloat16"
            ):
                loss = gradients.loss(compute)
            value = float(loss.detach())
            total = value if total is None else total + value
            if not math.isfinite(value) and not gradients.together:
                break
            gradients.add(loss)
        total = gradients.finish(total)
        if total is not None:
            if not math.isfinite(total):
                self._clear()
                raise NotFinite(
                    f"the loss became {total} at step {index}: lower the learning rate (it is "
                    f"{self.recipe.lr:g}) or check the data"
                )
            for moved, parameter in self._copied():
                moved.grad = None if parameter.grad is None else parameter.grad.float()
            most = math.inf if gradients.clipped else self.recipe.clip
            norm = whole(torch.nn.utils.clip_grad_norm_(self._moved, most))
            if not torch.isfinite(norm):
                self._clear()
                raise NotFinite(
                    f"the gradient became {float(norm)} at step {index}: lower the learning rate "
                    f"(it is {self.recipe.lr:g})"
                )
            self.optimizer.step()
            with torch.no_grad():
                for moved, parameter in self._copied():
                    parameter.copy_(moved)
            self._clear()
        if self._watch is not None:
            self._watch(Progress(index + 1, self.total, total, time.perf_counter() - self._began))
        return total

    def passes(self, rows: Sequence[T]) -> list[tuple[Sequence[T], bool]]:
        """This process's passes over the rows of a batch; see `shares`."""
        return shares(rows, self.gradients, self.recipe.micro_batch)

    def gathered(self, found: T) -> list[T]:
        """What every process that shares the steps found, in order."""
        return [found] if self.gradients.world == 1 else from_all(found)

    def state(self) -> dict[str, Any]:
        """What the next step depends on beside the weights: the optimizer's state, and its float32
        copies of weights if it has any."""
        copies = [moved.detach() for moved, _ in self._copied()]
        return self.optimizer.state_dict() | ({"master_weights": copies} if copies else {})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned; tensors may be whole where they are sharded here."""
        copies = [moved for moved, _ in self._copied()]
        with torch.no_grad():
            for moved, kept in zip(copies, state.get("master_weights", ()), strict=True):
                moved.copy_(as_sharded(kept, moved))
        mine = {
            number: {
                # A counter of steps is no tensor of the weights' shape.
                name: as_sharded(value, moved)
                if isinstance(value, Tensor) and value.shape == moved.shape
                else value
                for name, value in state["state"][number].items()
            }
            for number, moved in enumerate(self._moved)
            if number in state["state"]
        }
        self.optimizer.load_state_dict({"state": mine, "param_groups": state["param_groups"]})

    def close(self) -> None:
        """Give the model its trained weights, where they were sharded, and its habits."""
        if isinstance(self.gradients, Sharded):
            self.gradients.release()
        if self._recomputes:
            _recomputing(self._given, "disable")()

    def _copied(self) -> Iterator[tuple[Any, Any]]:
        """Each float32 copy with its parameter in 16 bits."""
        pairs = zip(self._moved, self.parameters, strict=True)
        return ((moved, parameter) for moved, parameter in pairs if moved is not parameter)

    def _clear(self) -> None:
        for parameter in (*self._moved, *self.parameters):
            parameter.grad = None


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of a step's random numbers."""
    name = f"{seed}|{step}|{rank}" if rank else f"{seed}|{step}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())


def _recomputing(model: Any, what: str) -> Callable[..., None]:
    """The method for gradient checkpointing, which transformers calls activation checkpointing from
    5.2 on."""
    plain = plain_model(model)
    found: Callable[..., None] | None = getattr(plain, f"activation_checkpointing_{what}", None)
    found = found or getattr(plain, f"gradient_checkpointing_{what}", None)
    if found is None:
        raise InputError(f"a {type(plain).__name__} cannot do without its activations")
    return found


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
            f"{recipe.lr:g}, because such a step is rounded away: give the recipe master_weights, "
            "load the model as float32, or raise the rate",
            stacklevel=3,
        )
