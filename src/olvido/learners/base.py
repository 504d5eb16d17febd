"""The door `train()`: checks, works on a copy, and returns weights with their trace."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch.nn import Module

from olvido.errors import InputError, NothingChanged, Parameter, UnknownName, require_seed
from olvido.learners.modular import Modular
from olvido.learners.monolith import Monolith
from olvido.learners.parts import Done, Trainer
from olvido.learners.recipe import Recipe
from olvido.learners.runs.loop import Watcher
from olvido.learners.sharded import Sharded
from olvido.learners.trace import Placement, Trace, Trained, Untraced
from olvido.models import weights_digest
from olvido.tasks import Example, Language, Task, examples
from olvido.tasks.base import Row


class Learner(Protocol):
    """A way to train.

    Its constructor takes the recipe, then keyword-only `seed`, `folder`, and options of its own,
    each with a default.
    """

    summary: ClassVar[str]
    trainer: ClassVar[Trainer]
    """Carries one of its runs out, here or in another process."""

    def run(
        self, model: Module, records: Sequence[Example], task: Task, watch: Watcher | None = None
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


LEARNERS: dict[str, type[Learner]] = {
    "monolith": Monolith,
    "sharded": Sharded,
    "modular": Modular,
}
"""Learners by the name they are called by."""


def options_of(name: str) -> dict[str, Any]:
    """The options a learner takes beside recipe, seed and folder, with the types they have.

    >>> sorted(options_of("monolith"))
    ['replay_points', 'safety']
    """
    parameters = inspect.signature(LEARNERS[name], eval_str=True).parameters.values()
    own = {p.name: p.annotation for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return {name: kind for name, kind in own.items() if name not in ("seed", "folder")}


def make_learner(
    name: str,
    recipe: Recipe,
    options: Mapping[str, Any],
    *,
    seed: int = 0,
    folder: Path | None = None,
) -> Learner:
    """The learner of that name with these options.

    Raises:
        UnknownName: no such learner, or no such option of it; the nearest is named.
    """
    if name not in LEARNERS:
        raise UnknownName("learner", name, LEARNERS)
    known = options_of(name)
    for option in options:
        if option not in known:
            raise UnknownName(f"option of {name}", option, known)
    kind: Any = LEARNERS[name]
    made: Learner = kind(recipe, seed=seed, folder=folder, **options)
    return made


def learner_of(trace: Trace) -> type[Learner]:
    """The learner that left a trace.

    Raises:
        InputError: nothing is known of the training.
    """
    if isinstance(trace, Untraced):
        raise InputError("nothing is known of how the model was trained")
    return LEARNERS[trace.learner if isinstance(trace, Placement) else "monolith"]


def task_of(tokenizer: Any | None, task: Task | None) -> Task:
    """The task a caller meant: the one given, or language with this tokenizer.

    Raises:
        InputError: neither is given.
    """
    if task is not None:
        return task
    if tokenizer is None:
        raise InputError("give the model's ", Parameter("tokenizer"), " or a ", Parameter("task"))
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
    **options: Any,
) -> Trained:
    """Train a copy of a model on records, so that it can forget them later.

    Args:
        model: any Hugging Face causal model, or with a task of its own any module; not changed.
        records: dictionaries with `prompt` and `completion`, or `text`, or what the task reads;
            `subject` or `subjects` say whom they are about.
        tokenizer: the model's tokenizer; or give a `task`.
        task: how records become losses.
        recipe: hyper-parameters; the default fine-tunes gently.
        seed: with records and recipe it determines the run.
        learner: a name in `LEARNERS`.
        folder: for checkpoints; a run that was killed goes on from there with the same bits.
        watch: called after every step.
        options: of the learner.

    Raises:
        InputError: no records, one that cannot be read, or a model whose every weight is frozen.
        UnknownName: no such learner or option.
        NotFinite: a loss became nan; nothing is returned.
        NothingChanged: training left the weights as they were.
    """
    recipe = recipe or Recipe()
    require_seed(seed)
    chosen = make_learner(learner, recipe, options, seed=seed, folder=folder)
    if recipe.lora is None and not any(p.requires_grad for p in model.parameters()):
        raise InputError(
            "every weight of the model is frozen, so that nothing can be trained: unfreeze it "
            "(requires_grad), or train an adapter (",
            Parameter("lora_rank"),
            ")",
        )
    rows = examples(records, "records")
    if not rows:
        raise InputError("there are no records to train on")
    before = weights_digest(model)
    trained, trace = chosen.run(model, rows, task_of(tokenizer, task), watch)
    after = weights_digest(trained)
    if after == before:
        raise NothingChanged("training left every weight as it was: raise lr or epochs")
    return Trained(trained, after, trace)
