"""The entry point `train()`: check, work on a copy, return weights with their trace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.errors import InputError, NothingChanged, ParameterName, require_seed
from olvido.learners.family import LEARNERS, Learner
from olvido.learners.trained import Trained
from olvido.models import weights_digest
from olvido.tasks import Example, Task, examples, task_of
from olvido.tasks.base import Row
from olvido.training.declared import NO_LOG
from olvido.training.loop import Watcher
from olvido.training.recipe import Recipe
from olvido.training.trace import Trace


def learner_of(trace: Trace) -> type[Learner]:
    """The learner that left a trace.

    Raises:
        InputError: the training is unknown.
        UnknownName: the learner is of a package that is not installed, or has no name.
    """
    if trace.learner is None:
        raise InputError("nothing is known of how the model was trained")
    if trace.learner in NO_LOG:
        raise InputError(f"{NO_LOG[trace.learner]}: train it with 'olvido learn'")
    return LEARNERS.find(trace.learner)


def train(
    model: Module | Trained,
    *,
    records: Iterable[Row | Example],
    tokenizer: Any | None = None,
    task: str | type[Task] | Task | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    learner: str | type[Learner] | Learner = "monolith",
    folder: Path | None = None,
    watch: Watcher | None = None,
    **options: Any,
) -> Trained:
    """Train a copy of a model on records, so that it can forget them later.

    Args:
        model: any Hugging Face causal model, or with a task of its own any module; not changed. A
            result of `train()` is trained further: the log is that of the new training, and exact
            methods forget no record of the earlier one.
        records: dictionaries with `prompt` and `completion`, `text`, `messages` or the task's
            fields, or a table of them (see `examples`); `subject` or `subjects` name the people
            whom they are about.
        tokenizer: the model's tokenizer; or pass a `task`.
        task: how records become losses: a name, a class or an object of `olvido.tasks`.
        recipe: hyper-parameters; the default fine-tunes gently.
        seed: determines the run, with records and recipe.
        learner: a name that `olvido learners` lists, or a class or an object of `olvido.learners`.
        folder: for checkpoints; a killed run continues from there with the same bits.
        watch: called after every step.
        options: options of a learner passed by name or class.

    Raises:
        InputError: no records, one that cannot be read, or a model whose every weight is frozen.
        UnknownName: no such learner or option.
        NotFinite: a loss became nan; nothing is returned.
        NothingChanged: training did not change the weights.
    """
    recipe = recipe or Recipe()
    require_seed(seed)
    chosen = LEARNERS.make(learner, options)
    before = model.model if isinstance(model, Trained) else model
    held = model.trace.taught if isinstance(model, Trained) else frozenset()
    if recipe.lora is None and not any(p.requires_grad for p in before.parameters()):
        raise InputError(
            "every weight of the model is frozen, so that nothing can be trained: unfreeze it "
            "(requires_grad), or train an adapter (",
            ParameterName("lora_rank"),
            ")",
        )
    rows = examples(records, "records")
    if not rows:
        raise InputError("there are no records to train on")
    digest = weights_digest(before)
    trained, trace = chosen.run(
        before,
        rows,
        task_of(tokenizer, task),
        recipe=recipe,
        seed=seed,
        folder=folder,
        watch=watch,
    )
    after = weights_digest(trained)
    if after == digest:
        raise NothingChanged("training left every weight as it was: raise lr or epochs")
    return Trained(trained, after, trace.after(held) if held else trace)
