"""What a learner is, and the table of all of them."""

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
from olvido.training.trace import Trace


class Learner(Protocol):
    """A way to train: one small file and one line in `olvido.learners`.

    Its constructor takes its options, keyword-only, each with a default, and keeps each in an
    attribute of its name.

    Attributes:
        name: that it is called by.
        summary: what it does, in a line.
        trainer: carries one of its runs out, here or in another process.
        trace: the class of the traces that it leaves.
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
        model: Module,
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
        """The same model as if some of its records had never been, and the runs done for it.

        Args:
            model: that it made, or `forget` after it.
            trace: that it left, an object of its class `trace`.
            forget_ids: ids to leave out, with all that were forgotten since.
            records: at least those that stay in what is done again.
            task: how they become losses.
            definition: of their absence, see `DEFINITIONS`.
            from_start: do every run again, from its start.
            workers: runs at a time.
            watch: called after every step.

        Raises:
            InputError: a record that the model has not learned, or one that stays was not given.
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
        """The model that serves, made of what its runs gave.

        Args:
            trace: of the training.
            origin: what every run began with.
            members: of the runs in the order in which the trace names them.
            records: all that the trace has present.
            task: how they become losses.
        """
        ...


LEARNERS: Registry[Learner] = Registry(
    "learner",
    ("trainer", "summary", "trace", "run", "forget", "assemble"),
    home=__package__,
    group="olvido.learners",
)
"""Learners by the name they are called by."""
