"""Influence removal: Newton steps to the weights of a training without the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from olvido.curvature import (
    Ekfac,
    PerRecord,
    conjugate_gradients,
    diagonal_fisher,
    factors_at,
    find_ekfac,
    fit_ekfac,
    gauss_newton,
)
from olvido.errors import InputError, UnknownName
from olvido.methods.curved import (
    BEARABLE,
    EVALUATIONS,
    Curved,
    StrengthSearch,
    WeightPath,
    put,
    trainable_weights,
)
from olvido.methods.gradient.answers import FORWARD
from olvido.methods.types import Split
from olvido.models import weights_digest
from olvido.tasks import Example, Task

INVERSES = ("ekfac", "gauss-newton")
Gradient = dict[str, Tensor]


class Influence(Curved):
    """Damped Newton steps to where the retained records alone would have brought the weights.

    Without the forgotten records only their share of the training's mean gradient is missing: the
    first step is theta + H^-1 (sum of their gradients) / n, with the curvature H of the n retained
    records (Koh and Liang 2017, arXiv 1703.04730; Guo et al. 2020, arXiv 1911.03030, for the
    removal). Every further step uses the retained gradient at the new weights, less the original
    one, so that an early-stopped training is not continued by accident, and is shortened until the
    sample bears it. `strength` scales the whole displacement.

    Args:
        steps: Newton steps.
        damping: added to each parameter's curvature, as a share of its mean.
        inverse: `ekfac`, or `gauss-newton` by conjugate gradients, for small models.
        factors: a folder of curvatures (written by `store_ekfac`, or `olvido trace` with the same
            option). A curvature of the model's weights is taken from it, without the forgotten
            records' share; where there is none it is measured on the sample and stored there. It is
            stored for the resulting model as well, for the next removal. The folder reveals the
            records, and is to be removed when they are.
    """

    name: ClassVar = "influence"
    summary: ClassVar = "damped Newton steps away from the records, by the curvature of the rest"
    loss: ClassVar = "none: theta + strength H^-1 (sum of their gradients) / n"
    source: ClassVar = "Koh and Liang 2017, arXiv 1703.04730; Guo et al. 2020, arXiv 1911.03030"
    suits: ClassVar = "few records, and many requests to one model: the curvature is kept"

    steps: int = 1
    damping: float = 0.001
    inverse: str = "ekfac"
    factors: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inverse not in INVERSES:
            raise UnknownName("inverse", self.inverse, INVERSES)
        if self.steps < 1 or not self.damping > 0:
            raise InputError(
                f"steps is 1 or more and damping above 0; got {self.steps}, {self.damping}"
            )
        if self.factors is not None and self.inverse != "ekfac":
            raise InputError(f"factors are those of ekfac: they are of no use to {self.inverse}")
        self._store = factors_at(self.factors)

    def forward_backward_counts(
        self, model: Module, split: Split, task: Task
    ) -> tuple[float, float]:
        further = self.steps * (1 + EVALUATIONS * FORWARD) if self.steps > 1 else 0.0
        found = self._found(model, split, task)
        if found is None:
            return 1.0, 2.0 + further
        return 1.0 + found.share(split.forget, task), further

    def path(
        self, model: Module, split: Split, task: Task, seed: int, *, retain_count: int
    ) -> WeightPath:
        sample = split.retain
        start = trainable_weights(model)
        solve, curvature = self._solver(model, split, task, seed)
        forget_gradient = self._gradient(model, split.forget, task, 1 / retain_count)
        moved = solve(forget_gradient)
        slope = sum(float((forget_gradient[n] * part).sum()) for n, part in moved.items())
        slope *= retain_count / len(split.forget)
        if self.steps > 1:
            moved = self._corrected(model, start, moved, forget_gradient, solve, sample, task)

        def arrived(model: Module) -> None:
            # Near the model that it was measured at, it serves the next removal as well.
            if curvature is not None and self._store is not None:
                curvature.keep(self._store, weights_digest(model))

        return WeightPath(
            lambda strength: {n: start[n] + strength * moved[n] for n in moved},
            slope if self.steps == 1 else None,
            arrived,
        )

    def _corrected(
        self,
        model: Module,
        start: Gradient,
        step: Gradient,
        forget_gradient: Gradient,
        solve: Callable[[Gradient], Gradient],
        sample: Sequence[Example],
        task: Task,
    ) -> Gradient:
        """The displacement after further steps, each as long as the sample bears."""
        retain_gradient = self._gradient(model, sample, task, 1 / len(sample))
        moved = {n: torch.zeros_like(part) for n, part in step.items()}
        for number in range(self.steps):
            if number:
                now = self._gradient(model, sample, task, 1 / len(sample))
                step = solve({n: retain_gradient[n] + forget_gradient[n] - now[n] for n in now})
            here = {n: start[n] + moved[n] for n in moved}

            def along(share: float, here: Gradient = here, step: Gradient = step) -> Gradient:
                return {n: here[n] + share * step[n] for n in here}

            search = StrengthSearch(model, along, sample, task, self.batch_size, None)
            share = search.longest(1.0, BEARABLE)
            moved = {n: moved[n] + share * step[n] for n in moved}
            put(model, along(share))
        put(model, start)
        return moved

    def _solver(
        self, model: Module, split: Split, task: Task, seed: int
    ) -> tuple[Callable[[Gradient], Gradient], Ekfac | None]:
        """The damped inverse product, and the curvature if it is a kind that can be stored."""
        sample, size = split.retain, self.batch_size
        if self.inverse == "ekfac":
            curvature = self._found(model, split, task)
            if curvature is None:
                curvature = fit_ekfac(
                    model, sample, task, seed=seed, batch_size=size, folder=self._store
                )
            remaining = curvature.without(model, split.forget, task, batch_size=size)
            return lambda target: remaining.solve(target, damping=self.damping), remaining
        product = gauss_newton(model, sample, task, batch_size=size)
        along = diagonal_fisher(model, sample, task, sampled=seed, batch_size=size)
        count = sum(part.numel() for part in along.values())
        ridge = self.damping * sum(float(part.sum()) for part in along.values()) / count

        def solve(target: Gradient) -> Gradient:
            return conjugate_gradients(product, target, ridge=ridge, tolerance=1e-3, iterations=500)

        return solve, None

    def _found(self, model: Module, split: Split, task: Task) -> Ekfac | None:
        if self._store is None:
            return None
        return find_ekfac(model, self._store, leaving=split.forget, task=task)

    def _gradient(
        self, model: Module, records: Sequence[Example], task: Task, scale: float
    ) -> Gradient:
        """The records' summed gradient, times a number."""
        per_record = PerRecord(model, task)
        found: Gradient = {}
        for batch in task.batches(records, self.batch_size):
            for name, part in per_record(batch).total().items():
                found[name] = found[name] + scale * part if name in found else scale * part
        return found
