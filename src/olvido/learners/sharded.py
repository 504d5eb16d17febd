"""Shards and slices: several models, each trained on a part of the people, answer together."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from torch.nn import Module

from olvido.errors import UnknownName
from olvido.learners.parts import (
    JobResult,
    Trainer,
    again_in_parts,
    begin,
    carry_out,
    itself,
    make_plan,
    train_whole,
)
from olvido.learners.placement import place
from olvido.models import weights_digest
from olvido.models.ensemble import AGGREGATIONS, Ensemble, as_one
from olvido.registry import Options, name_of
from olvido.tasks import Example, Task
from olvido.training.checkpoint import CheckpointStore
from olvido.training.loop import Watcher
from olvido.training.recipe import Recipe
from olvido.training.records import ids_of, only
from olvido.training.traces.base import MemberRun, Placement, Trace
from olvido.training.traces.steps import Origin


class ShardPlacement(Placement):
    """The shard of each record."""

    offers: ClassVar = frozenset({"step log", "shards"})


class Sharded(Options):
    """Train one model on each shard of the people, slice after slice (SISA).

    Bourtoule et al. 2021 (arXiv 1912.03817): removing a person touches one shard, and of it only
    the training after their slice was added. Here checkpoints include the optimizer's state, a
    person's records stay together, and people likely to be removed come last.

    Args:
        shards, slices: their numbers; with R slices each stage makes about 2 epochs / (R + 1)
            passes, so that the total work is that of the recipe's `epochs` passes over all records.
        aggregation: `mean` of probabilities, or `vote`.
        workers: shards trained at a time.
        threads: threads of each shard's training, whatever runs beside it.
    """

    name: ClassVar = "sharded"
    summary: ClassVar = "a model for each shard of the people; forgets exactly within one shard"
    trainer: ClassVar[Trainer] = staticmethod(train_whole)
    trace: ClassVar[type[Trace]] = ShardPlacement

    shards: int = 5
    slices: int = 1
    aggregation: str = "mean"
    workers: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if self.aggregation not in AGGREGATIONS:
            raise UnknownName("aggregation", self.aggregation, AGGREGATIONS)

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
    ) -> tuple[Module, ShardPlacement]:
        """Train a copy of `model` on each shard; the model itself is not changed.

        Arguments are those of `Monolith.run`; the seed determines the placement as well.

        Raises:
            InputError: fewer subjects than shards.
            NotFinite: a loss became nan.
            StateError: the folder holds another run.
        """
        homes = place(records, shards=self.shards, slices=self.slices, seed=seed)
        epochs = max(1, round(2 * recipe.epochs / (self.slices + 1)))
        origin = Origin(partial(itself, model), weights_digest(model))
        names = [f"shard-{number:03}" for number in range(self.shards)]
        jobs, ids = [], ids_of(records)
        for number, name in enumerate(names):
            mine = only(records, {i for i in ids if homes[i].shard == number})
            slices = [homes[i].slice for i in ids_of(mine)]
            plan = make_plan(mine, task, recipe, seed + number, slices=slices, epochs=epochs)
            job = begin(
                model,
                mine,
                task,
                recipe=recipe,
                seed=seed + number,
                plan=plan,
                checkpoints=CheckpointStore(folder and folder / name),
                keep=plan.boundaries[1:],
                threads=self.threads,
                origin=origin,
            )
            jobs.append(job)
        done = carry_out(jobs, workers=self.workers, watch=watch)
        parts = [MemberRun(name, one.log) for name, one in zip(names, done, strict=True)]
        options = {"aggregation": self.aggregation}
        trace = ShardPlacement(name_of(self), origin, options, tuple(parts))
        return self.assemble(trace, model, [one.model for one in done], records, task), trace

    @staticmethod
    def forget(
        model: Module | None,
        trace: ShardPlacement,
        forget_ids: Collection[str],
        records: Sequence[Example],
        task: Task,
        *,
        definition: str = "drop",
        from_start: bool = False,
        workers: int = 1,
        watch: Watcher | None = None,
    ) -> tuple[Module, ShardPlacement, list[JobResult]]:
        """The model without some records: their shards are retrained from before them.

        An empty shard is removed; without any shard, the model that all of them began with
        answers.
        """
        hit = trace.hit(forget_ids)
        origin = trace.origin.module()
        remaining = [p for p in trace.parts if set(p.log.present) - set(hit.get(p.name, ()))]
        concerned = [part for part in remaining if from_start or part.name in hit]
        made = again_in_parts(
            concerned,
            hit,
            records,
            task,
            model=origin,
            definition=definition,
            from_start=from_start,
            workers=workers,
            watch=watch,
        )
        before: dict[str, Module] = {}
        if len(concerned) < len(remaining):
            assert isinstance(model, Ensemble)
            before = dict(zip((part.name for part in trace.parts), model.members, strict=True))
        members = [
            made[p.name].model if p.name in made else copy.deepcopy(before[p.name])
            for p in remaining
        ]
        parts = tuple(
            MemberRun(p.name, made[p.name].log) if p.name in made else p for p in remaining
        )
        left_over = replace(trace, parts=parts)
        assembled = Sharded.assemble(left_over, origin, members, records, task)
        return assembled, left_over, list(made.values())

    @staticmethod
    def assemble(
        trace: ShardPlacement,
        origin: Module,
        members: Sequence[Module],
        records: Sequence[Example],
        task: Task,
    ) -> Module:
        """The members answering together, or without any member the model that they began with."""
        if not members:
            return copy.deepcopy(origin).eval()
        return as_one(members, aggregation=str(trace.options["aggregation"])).eval()
