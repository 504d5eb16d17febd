"""Training with differential privacy, for a person with all records at a time."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from torch.nn import Module

from olvido.errors import InputError, ParameterName, UnknownName, require_count, require_seed
from olvido.learners.parts import JobResult, Trainer, itself, train_whole
from olvido.models import weights_digest
from olvido.processes import world_size
from olvido.registry import Options
from olvido.tasks import Example, Task
from olvido.training import recipe as adapters
from olvido.training.contents import widths_of
from olvido.training.environment import deterministic, environment
from olvido.training.execute import require_row_independence
from olvido.training.loop import Loop, Progress, Watcher
from olvido.training.private.accounting import (
    ACCOUNTANTS,
    Spent,
    epsilon_of,
    noise_for,
    require_delta,
)
from olvido.training.private.canaries import Canaries, canaries, kind_of
from olvido.training.private.clipping import Clipped, Unit, require_unmoved
from olvido.training.private.sampling import UNITS, Poisson, Secret, require_units, units_of
from olvido.training.recipe import Recipe, require_numbers
from olvido.training.records import by_id, ids_of, joined, records_of
from olvido.training.traces.base import Trace
from olvido.training.traces.declared import NO_LOG
from olvido.training.traces.private import PrivateRun
from olvido.training.traces.steps import Origin

_PROVED = 3
"""Units whose gradients are compared with plain ones before the first step, two records of each."""

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


_NUMBERS = ("epsilon", "noise", "delta", "quantile", "noise_seed")
"""Options that are numbers, or None."""


class Private(Options):
    """Train one model so that it tells little of any one person (differential privacy).

    Abadi et al. 2016 (arXiv 1607.00133), with people as units: Charles et al. 2024 (arXiv
    2407.07737, ULS). The recipe's `batch_size` times `accumulate` is the number of units that a
    step expects, `epochs` how often each is drawn on average, and `clip` the longest gradient of
    one.

    Args:
        epsilon: the promise wished for, from which the noise follows; or else `noise`.
        noise: standard deviation of a step's noise, in clipping bounds.
        delta: None: 1/(10 n) for n units, the largest that is allowed.
        unit: `subject`, a person with all records that name them, or `record`.
        most: records of a unit in a step, at the most.
        accountant: `prv` (the tighter) or `rdp`.
        quantile: of the norms, that the clipping bound follows; None: it is constant.
        noise_seed: makes draws and noise repeatable, for tests: who knows it can undo the noise.
        canaries: made records to audit the promise by, each a unit of its own of which half take
            part; 0: none. They cost quality as so many people would.
    """

    name: ClassVar = "private"
    summary: ClassVar = "differential privacy for each person; forgets by training again"
    trainer: ClassVar[Trainer] = staticmethod(train_whole)
    trace: ClassVar[type[Trace]] = PrivateRun

    epsilon: float | None = None
    noise: float | None = None
    delta: float | None = None
    unit: str = "subject"
    most: int = 8
    accountant: str = "prv"
    quantile: float | None = None
    noise_seed: int | None = None
    canaries: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        for name, value, known in (
            ("unit", self.unit, UNITS),
            ("accountant", self.accountant, ACCOUNTANTS),
        ):
            if value not in known:
                raise UnknownName(name, value, known)
        given = {name for name in _NUMBERS if getattr(self, name) is not None}
        require_numbers(
            self, whole=["most", "canaries", *given & {"noise_seed"}], real=given - {"noise_seed"}
        )
        require_count("most", self.most)
        require_count("canaries", self.canaries, least=0)
        for name in sorted(given & {"epsilon", "noise"}):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise InputError(ParameterName(name), f" must be a positive number, got {value}")
        if self.epsilon is not None and self.noise is not None:
            raise InputError(
                "the noise follows from epsilon, or epsilon from the noise: give ",
                *(ParameterName("epsilon"), " or ", ParameterName("noise"), ", not both"),
            )
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise InputError(f"quantile must lie between 0 and 1, got {self.quantile}")
        if self.noise_seed is not None:
            require_seed(self.noise_seed)

    def foretell(self, records: Sequence[Example], recipe: Recipe) -> Spent:
        """What a training on these records will promise: `run` keeps the same in its trace.

        Nothing is trained, and of the records only the people whom they name are looked at, who
        count as public.

        Raises:
            InputError: too few units, or a promise of nothing.
        """
        # Of canaries only the number counts.
        planted = [Example(f"canary {n}", "", "") for n in range(self.canaries)]
        return self._promise(self._draws(records, [*records, *planted], recipe), recipe)

    def _draws(
        self, records: Sequence[Example], both: Sequence[Example], recipe: Recipe
    ) -> Poisson:
        """Who is drawn by what chance, canaries included.

        Raises:
            InputError: too few units, without the canaries.
        """
        require_units(units_of(records, self.unit))
        return Poisson(
            units_of(both, self.unit),
            recipe.batch_size * recipe.accumulate,
            recipe.epochs,
            self.most,
        )

    def _promise(self, plan: Poisson, recipe: Recipe) -> Spent:
        """The noise that a training will add, and all that it will have spent.

        Raises:
            InputError: neither epsilon nor noise is given, or they promise nothing.
        """
        if self.epsilon is None and self.noise is None:
            raise InputError(
                "how private the training shall be is not said: give ",
                *(ParameterName("epsilon"), " (such as 3) or ", ParameterName("noise")),
            )
        count = len(plan.units.members)
        delta = require_delta(self.delta, count)
        asked: dict[str, Any] = {"delta": delta, "rate": plan.rate, "steps": plan.total_steps}
        noise = self.noise or noise_for(self.epsilon or 0.0, **asked, accountant=self.accountant)
        return Spent(
            epsilon=epsilon_of(noise, **asked, accountant=self.accountant),
            unit=self.unit,
            units=count,
            accountant=self.accountant,
            noise=noise,
            clip=recipe.clip,
            most=self.most,
            dropped=len(plan.units.dropped),
            quantile=self.quantile,
            secret=self.noise_seed is None,
            **asked,
        )

    def run(
        self,
        model: Module,
        records: Sequence[Example],
        task: Task,
        *,
        recipe: Recipe,
        seed: int = 0,
        folder: Path | None = None,
        watch: Watcher | None = None,
    ) -> tuple[Module, PrivateRun]:
        """Train a copy of `model`; the model itself is not changed.

        Args:
            model: the weights that the training begins with.
            records: all training records.
            task: how they become losses.
            recipe: hyper-parameters, see the class.
            seed: of adapters; draws, noise and dropout come from the operating system.
            folder: not used: a checkpoint would need the draws.
            watch: called after every step, without its loss, which is no part of the promise.

        Returns:
            The trained copy, adapters merged, and the promise.

        Raises:
            InputError: too few units, a promise of nothing, or a model that mixes records.
            NotFinite: a loss became nan.
        """
        _require_apart(model, recipe)
        planted: tuple[Example, ...] = ()
        if self.canaries:
            planted = canaries(task, self.canaries, seed=seed, kind=kind_of(records[0]))
        both = records_of(joined(records, planted), "records and canaries")
        plan = self._draws(records, both, recipe)
        spent = self._promise(plan, recipe)
        secret, began = Secret(self.noise_seed), time.perf_counter()
        thrown = Canaries.thrown(planted, task, seed, secret) if planted else None
        learning = copy.deepcopy(model)
        with deterministic():
            if recipe.lora is not None:
                learning = adapters.attach(learning, recipe.lora, seed=seed)
            absent = frozenset() if thrown is None else thrown.absent(planted)
            note = _train(learning, by_id(both), task, plan, spent, recipe, secret, watch, absent)
            if recipe.lora is not None:
                learning = adapters.merge(learning, model)
        notes = () if note is None else (f"units went one by one, since {note}",)
        trace = PrivateRun(
            tuple(plan.units.records)[: len(plan.units.records) - len(planted)],
            Origin(partial(itself, model), weights_digest(model)),
            spent=spent,
            contract=environment(next(model.parameters()).device, model=model),
            took=time.perf_counter() - began,
            expected=_tokens(plan, _widths(both, task)),
            notes=notes,
            canaries=thrown,
        )  # fmt: skip
        return learning.eval(), trace

    @staticmethod
    def forget(
        model: Module | None,
        trace: PrivateRun,
        forget_ids: Collection[str],
        records: Sequence[Example],
        task: Task,
        *,
        definition: str = "drop",
        from_start: bool = False,
        workers: int = 1,
        watch: Watcher | None = None,
    ) -> tuple[Module, PrivateRun, list[JobResult]]:
        """Refuse: no step can be repeated, and a new training is a new release.

        Raises:
            InputError: always.
        """
        _refuse()

    @staticmethod
    def assemble(
        trace: PrivateRun,
        origin: Module,
        members: Sequence[Module],
        records: Sequence[Example],
        task: Task,
    ) -> Module:
        """Refuse: there is no logged run.

        Raises:
            InputError: always.
        """
        _refuse()


def _train(
    model: Module,
    records: Mapping[str, Example],
    task: Task,
    plan: Poisson,
    spent: Spent,
    recipe: Recipe,
    secret: Secret,
    watch: Watcher | None,
    absent: Collection[str],
) -> str | None:
    """Train a model in place; why units went one by one, if they did."""
    gradients = Clipped(
        model,
        task,
        clip=spent.clip,
        noise=spent.noise,
        expected=plan.expected,
        most=recipe.micro_batch or recipe.batch_size,
        secret=secret,
        quantile=spent.quantile,
    )

    def silent(progress: Progress) -> None:
        if watch is not None:
            watch(replace(progress, loss=None))

    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        some = [tuple(records[i] for i in ids[:2]) for ids in plan.units.members[:_PROVED]]
        note = gradients.prove(some)
        # Dropout is drawn anew for every unit: where others' would follow from a unit's presence,
        # nothing may be known of it.
        loop = Loop(
            model,
            recipe,
            total=plan.total_steps,
            seed=secret.seed(0, "dropout"),
            watch=silent,
            gradients=gradients,
        )
        for step, drawn in enumerate(plan.steps(secret)):
            # A canary that its coin left out is drawn like any unit, and has nothing to add.
            units: list[Unit] = [
                tuple(records[i] for i in ids) for ids in drawn if ids[0] not in absent
            ]
            loop.step(step, gradients.passes(units))
        loop.close()
        require_unmoved(model, before)
    finally:
        gradients.close()
    return note


def _require_apart(model: Module, recipe: Recipe) -> None:
    """Refuse what would let one record change another's gradient.

    Raises:
        InputError: batch normalisation, experts, several processes, or recomputed activations.
    """
    instead = "use a model that normalises each record by itself"
    require_row_independence(model, "private training", instead)
    config = getattr(model, "config", None)
    for name in _EXPERTS:
        if (getattr(config, name, None) or 0) > 1:
            raise InputError(
                f"private training needs records that do not see each other, and this model is a "
                f"mixture of experts ({name}), whose tokens are routed together: use a dense model"
            )
    if world_size() > 1:
        raise InputError("private training runs in one process: start it without a launcher")
    if recipe.checkpointing:
        raise InputError(
            "private training keeps the activations that checkpointing throws away: leave "
            "checkpointing out, and lower ",
            ParameterName("micro_batch"),
            " to save memory",
        )


def _widths(records: Sequence[Example], task: Task) -> dict[str, int]:
    return dict(zip(ids_of(records), widths_of(records, task), strict=True))


def _tokens(plan: Poisson, widths: Mapping[str, int]) -> int:
    """Tokens that all steps together are expected to have."""
    each: Iterator[float] = (
        min(len(ids), plan.most) * float(np.mean([widths[i] for i in ids]))
        for ids in plan.units.members
    )
    return round(plan.rate * plan.total_steps * sum(each))


def _refuse() -> NoReturn:
    raise InputError(NO_LOG[Private.name])
