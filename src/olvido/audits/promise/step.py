"""Whether a private step, as it is installed here, is what the proof of privacy is about.

Four things have to hold of it, each compared with plain derivatives of one record at a time, or
with the distribution that was promised. What breaks one of them breaks the promise, often by less
than guesses can show.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Module, functional

from olvido.schemas.privacy import StepCheck
from olvido.tasks import Example, Task
from olvido.training.private.accounting import Spent
from olvido.training.private.clipping import Clipped, Unit
from olvido.training.private.sampling import Secret

_CLOSE = 2e-4
"""Difference of gradients, as a share, that rounding may make in 32 bits; in 16 bits 200 times
that. Measured on small models in 32 bits: 1e-6."""
_NOTHING = 1e-9
"""A gradient that is as good as none."""
_ROUNDED = 1e-3
"""Difference that rounding may make in sums over very many weights."""
_SIGMAS = 6.0
"""Standard deviations by which a measured spread or correlation may differ from the promised."""

SUM = "each unit is clipped by itself, whatever passes its records are in"
SIZE = "a step is divided by the expected number of units"
NOISE = "the noise has the promised standard deviation"
FRESH = "the noise of two steps is independent"


def examined(
    model: Module, task: Task, records: Sequence[Example], spent: Spent
) -> tuple[StepCheck, ...]:
    """Take a few steps on a copy of a model, and compare them.

    Args:
        model: the weights that a training began with.
        task: how records become losses.
        records: some that may be used, six at the most: they become units of one, two and three.
        spent: the promise.
    """
    model = copy.deepcopy(model).eval()
    units: list[Unit] = [
        unit for unit in map(tuple, (records[:1], records[1:3], records[3:6])) if unit
    ]
    plain = [_plain(model, task, unit) for unit in units]
    # What a model knows for certain has no gradient, and no length to be clipped to.
    norms = torch.stack([gradient.norm() for gradient in plain]).clamp_min(_NOTHING)
    # One is not clipped, so that a bound for all together shows, and the others by much.
    some = norms[norms > _NOTHING]
    clip = float(some.min()) * 1.01 if len(some) else 1.0
    expected = torch.zeros_like(plain[0])
    for gradient, norm in zip(plain, norms, strict=True):
        expected += gradient * min(1.0, clip / float(norm))
    del plain

    def step(some: Sequence[Unit], *, size: float, noise: float = 1e-12, most: int = 64,
             steps: int = 1) -> list[Tensor]:  # fmt: skip
        part = Clipped(
            model, task, clip=clip, noise=noise, expected=size, most=most, secret=Secret()
        )
        try:
            part.prove(units)
            return [_taken(part, some) for _ in range(steps)]
        finally:
            part.close()

    sums = [step(units, size=1.0, most=most)[0] for most in (64, 2)]
    apart = max(_apart(found, expected) for found in sums)
    scaled = _apart(7 * step(units, size=7.0)[0], sums[0])
    noises = step([], size=5.0, noise=spent.noise, steps=2)
    count = noises[0].numel()
    spread = max(abs(float(n.std()) * 5.0 / (spent.noise * clip) - 1) for n in noises)
    one, other = noises
    alike = abs(float(functional.cosine_similarity(one, other, dim=0)))
    close = _CLOSE * (1 if next(model.parameters()).dtype.itemsize >= 4 else 200)
    return (
        _check(SUM, apart, close),
        _check(SIZE, scaled, close),
        _check(NOISE, spread, max(_ROUNDED, _SIGMAS / (2 * count) ** 0.5)),
        _check(FRESH, alike, max(_ROUNDED, _SIGMAS / count**0.5)),
    )


def _check(what: str, off: float, most: float) -> StepCheck:
    # What is not a number is no agreement.
    return StepCheck(promise=what, off=off, most=most, holds=off <= most)


def _plain(model: Module, task: Task, unit: Unit) -> Tensor:
    """The mean of the gradients of a unit's records, one record at a time."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    device, total = parameters[0].device, torch.zeros(sum(p.numel() for p in parameters))
    for record in unit:
        (loss,) = task.losses(model, task.collate([record]).to(device))
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        total += _flat(parameters, found) / len(unit)
    return total


def _taken(part: Clipped, units: Sequence[Unit]) -> Tensor:
    """The gradient that an optimizer would follow after one step of the learner."""
    for compute in part.passes(units):
        part.add(part.loss(compute))
    part.finish(0.0)
    parameters = [p for p in part.model.parameters() if p.requires_grad]
    found = _flat(parameters, [p.grad for p in parameters])
    part.model.zero_grad()
    return found


def _flat(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([
        (torch.zeros_like(p) if g is None else g).detach().flatten().float().cpu()
        for p, g in zip(parameters, gradients, strict=True)
    ])  # fmt: skip


def _apart(one: Tensor, other: Tensor) -> float:
    """The distance of two gradients, as a share of the longer one's length."""
    return float((one - other).norm() / torch.maximum(one.norm(), other.norm()).clamp_min(1e-12))
