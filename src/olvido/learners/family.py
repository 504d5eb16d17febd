"""The interface of learners, and their registry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch.nn import Module

from olvido.learners.parts import JobResult, Trainer
from olvido.registry import Registry
from olvido.tasks import Example, Task
from olvido.training.loop import Watcher
from olvido.training.recipe import Recipe
from olvido.training.traces.base import Trace


class Learner(Protocol):
    """A way to train: one small file and one line in `olvido.learners`.

    Its constructor takes keyword-only options, each with a default, and stores each in an attribute
    of its name.

    Attributes:
        name: its name in the registry.
        summary: a description, in a line.
        trainer: carries one of its runs out, here or in another process.
        trace: the class of its traces.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    trainer: ClassVar[Trainer]
    trace: ClassVar[type[Trace]]

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
    ) -> tuple[Module, Trace]:
        """Train a copy of the model on the records."""
        ...

    @staticmethod
    def forget(
        model: Module | None,
        trace: Any,
        forget_ids: Collection[str],
        records: Sequence[Example],
        task: Task,
        *,
        definition: str = "drop",
        from_start: bool = False,
        workers: int = 1,
        watch: Watcher | None = None,
    ) -> tuple[Module, Trace, list[JobResult]]:
        """The model as if some records had never been in it, and the runs done for it.

        Args:
            model: a model of this learner, or of `forget` after it; None: it is not there, and
                every run is repeated.
            trace: the model's trace, an object of the class `trace`.
            forget_ids: ids to leave out, with all earlier forgotten ones.
            records: at least the remaining records of the repeated runs.
            task: how they become losses.
            definition: how records are absent, see `DEFINITIONS`.
            from_start: repeat every run from its start.
            workers: runs at a time.
            watch: called after every step.

        Raises:
            InputError: a record that the model has not learned, or a missing remaining one.
            EnvironmentMismatch, StateError: see `olvido.learners.parts.again`.
        """
        ...

    @staticmethod
    def assemble(
        trace: Any,
        origin: Module,
        members: Sequence[Module],
        records: Sequence[Example],
        task: Task,
    ) -> Module:
        """The served model, made of the models of its runs.

        Args:
            trace: of the training.
            origin: the weights that every run began with.
            members: models of the runs, in the trace's order.
            records: all records that the trace has present.
            task: how they become losses.
        """
        ...


LEARNERS: Registry[Learner] = Registry(
    "learner",
    ("trainer", "summary", "trace", "run", "forget", "assemble"),
    home=__package__,
    group="olvido.learners",
)
"""Learners by name."""
