"""The monolith: one model, all records, every weight (or one adapter)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from torch.nn import Module

from olvido.errors import InputError
from olvido.learners.parts import (
    JobResult,
    Trainer,
    again,
    begin,
    carry_out,
    make_plan,
    train_whole,
)
from olvido.registry import Options
from olvido.tasks import Example, Task
from olvido.training.checkpoint import CheckpointStore
from olvido.training.execute import SAFETY
from olvido.training.loop import Watcher
from olvido.training.recipe import Recipe
from olvido.training.traces.base import Trace
from olvido.training.traces.steps import StepLog


class Monolith(Options):
    """Train one model on all records.

    Args:
        replay_points: checkpoints within the first epoch, for replay. Removing k records together
            from a shuffled run of E epochs saves about 1/(E(k+1)) of it: little.
        safety: steps between the checkpoints against crashes.
    """

    name: ClassVar = "monolith"
    summary: ClassVar = "one model on all records; forgets exactly by training again"
    trainer: ClassVar[Trainer] = staticmethod(train_whole)
    trace: ClassVar[type[Trace]] = StepLog

    replay_points: int = 0
    safety: int = SAFETY

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if self.replay_points < 0:
            raise InputError(f"replay_points must be 0 or more, got {self.replay_points}")

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
    ) -> tuple[Module, StepLog]:
        """Train a copy of `model`; the model itself is not changed.

        Args:
            model: the weights that the training begins with.
            records: all training records.
            task: how they become losses.
            recipe: hyper-parameters.
            seed: of order, dropout and adapters.
            folder: for checkpoints; a run found there is resumed.
            watch: called after every step.

        Returns:
            The trained copy, adapters merged, and its step log.

        Raises:
            NotFinite: a loss became nan.
            StateError: the folder holds another run.
        """
        plan = make_plan(records, task, recipe, seed)
        parts = self.replay_points + 1
        keep = {plan.first_epoch * number // parts for number in range(1, parts)} - {0}
        job = begin(
            model,
            records,
            task,
            recipe=recipe,
            seed=seed,
            plan=plan,
            checkpoints=CheckpointStore(folder) if folder or keep else None,
            keep=sorted(keep),
            safety=self.safety,
        )
        (done,) = carry_out([job], watch=watch)
        return done.model, done.log

    @staticmethod
    def forget(
        model: Module | None,
        trace: StepLog,
        forget_ids: Collection[str],
        records: Sequence[Example],
        task: Task,
        *,
        definition: str = "drop",
        from_start: bool = False,
        workers: int = 1,
        watch: Watcher | None = None,
    ) -> tuple[Module, StepLog, list[JobResult]]:
        """The model without some records, see `again`; one run has one worker."""
        job = again(trace, forget_ids, records, task, definition=definition, from_start=from_start)
        (done,) = carry_out([job], workers=workers, watch=watch)
        return done.model, done.log, [done]

    @staticmethod
    def assemble(
        trace: StepLog,
        origin: Module,
        members: Sequence[Module],
        records: Sequence[Example],
        task: Task,
    ) -> Module:
        """The model of the only run."""
        (model,) = members
        return model
