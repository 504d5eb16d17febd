"""What a learner is, and the table of all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from torch.nn import Module

from olvido.learners.parts import Done, Trainer
from olvido.registry import Registry
from olvido.tasks import Example, Task
from olvido.training.loop import Watcher
from olvido.training.recipe import Recipe
from olvido.training.trace import Trace, Trained


class Learner(Protocol):
    """A way to train: one small file and one line in `olvido.learners`.

    Its constructor takes its options, keyword-only, each with a default, and keeps each in an
    attribute of its name.

    Attributes:
        name: that it is called by.
        summary: what it does, in a line.
        trainer: carries one of its runs out, here or in another process.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    trainer: ClassVar[Trainer]

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
        trained: Trained,
        gone: Collection[str],
        records: Sequence[Example],
        task: Task,
        *,
        definition: str = "drop",
        from_start: bool = False,
        workers: int = 1,
        watch: Watcher | None = None,
    ) -> tuple[Module, Trace, list[Done]]:
        """The same model as if some of its records had never been, and the runs done for it."""
        ...

    @staticmethod
    def assemble(
        trace: Trace,
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
    ("trainer", "summary", "run", "forget", "assemble"),
    home=__package__,
    group="olvido.learners",
)
"""Learners by the name they are called by."""
