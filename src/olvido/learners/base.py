"""The door `train()`: checks, works on a copy, and returns weights with their trace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from torch.nn import Module

from olvido.errors import InputError, NothingChanged, UnknownName
from olvido.learners.loop import Watcher
from olvido.learners.monolith import Monolith
from olvido.learners.recipe import Recipe
from olvido.learners.trace import Trace, Trained
from olvido.models import weights_digest
from olvido.tasks import Example, Language, Task, examples
from olvido.tasks.base import Row


class Learner(Protocol):
    """A way to train."""

    def run(
        self, model: Module, records: tuple[Example, ...], task: Task, watch: Watcher | None = None
    ) -> tuple[Module, Trace]:
        """Train a copy of the model on the records."""
        ...


LEARNERS: dict[str, type[Monolith]] = {"monolith": Monolith}
"""Learners by the name they are called by."""


def task_of(tokenizer: Any | None, task: Task | None) -> Task:
    """The task a caller meant: the one given, or language with this tokenizer.

    Raises:
        InputError: neither is given.
    """
    if task is not None:
        return task
    if tokenizer is None:
        raise InputError("give the model's tokenizer (tokenizer=...) or a task (task=...)")
    return Language(tokenizer)


def train(
    model: Module,
    *,
    records: Iterable[Row | Example],
    tokenizer: Any | None = None,
    task: Task | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    learner: str = "monolith",
    folder: Path | None = None,
    watch: Watcher | None = None,
) -> Trained:
    """Train a copy of a model on records, so that it can forget them later.

    Args:
        model: any Hugging Face causal model; it is not changed.
        records: dictionaries with `prompt` and `completion`, or `text`.
        tokenizer: the model's tokenizer; or give a `task`.
        task: how records become losses.
        recipe: hyper-parameters; the default fine-tunes gently.
        seed: with records and recipe it determines the run.
        learner: a name in `LEARNERS`.
        folder: for checkpoints; a run that was killed goes on from there with the same bits.
        watch: called after every step.

    Raises:
        InputError: no records, or one that cannot be read.
        UnknownName: no such learner.
        NotFinite: a loss became nan; nothing is returned.
        NothingChanged: training left the weights as they were.
    """
    if learner not in LEARNERS:
        raise UnknownName("learner", learner, LEARNERS)
    rows = examples(records, "records")
    if not rows:
        raise InputError("there are no records to train on")
    chosen = task_of(tokenizer, task)
    before = weights_digest(model)
    trained, trace = LEARNERS[learner](recipe or Recipe(), seed=seed, folder=folder).run(
        model, rows, chosen, watch
    )
    after = weights_digest(trained)
    if after == before:
        raise NothingChanged("training left every weight as it was: raise lr or epochs")
    return Trained(trained, after, trace)
