"""The entry point `train()`: check, work on a copy, return weights with their trace. Also exact
forgetting in a chain of trainings: it is repeated from the first one that taught a record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.errors import InputError, NothingChanged, ParameterName, StateError, require_seed
from olvido.learners.family import LEARNERS, Learner
from olvido.learners.parts import JobResult, itself
from olvido.learners.trained import Trained
from olvido.ledger.facts import PRIVATE
from olvido.models import weights_digest
from olvido.tasks import Example, Task, task_of
from olvido.tasks.base import Row
from olvido.training.loop import Watcher
from olvido.training.recipe import Recipe
from olvido.training.records import records_of
from olvido.training.traces.base import Trace
from olvido.training.traces.chain import Continued
from olvido.training.traces.declared import NO_LOG
from olvido.training.traces.steps import Origin


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
            result of `train()` is trained further: its training and the new one are a chain, and
            exact methods forget the records of both.
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
    if recipe.lora is None and not any(p.requires_grad for p in before.parameters()):
        raise InputError(
            "every weight of the model is frozen, so that nothing can be trained: unfreeze it "
            "(requires_grad), or train an adapter (",
            ParameterName("lora_rank"),
            ")",
        )
    rows = records_of(records, "records")
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
    if isinstance(model, Trained) and model.trace.learner is not None:
        trace = Continued(model.trace, trace)
    return Trained(trained, after, trace)


def learner_of(trace: Trace) -> type[Learner]:
    """The learner that left the trace of one training.

    Raises:
        InputError: the training is unknown, or was not run here.
        UnknownName: the learner is of a package that is not installed, or has no name.
    """
    if trace.learner is None:
        raise InputError("nothing is known of how the model was trained")
    if trace.learner in NO_LOG:
        instead = "" if trace.learner == PRIVATE else ": train it with 'olvido learn'"
        raise InputError(NO_LOG[trace.learner] + instead)
    return LEARNERS.find(trace.learner)


def forget_exactly(
    model: Module | None,
    trace: Trace,
    forget_ids: Collection[str],
    records: Sequence[Example],
    task: Task,
    *,
    definition: str,
    from_start: bool,
    workers: int,
    watch: Watcher | None,
) -> tuple[Module, Trace, list[JobResult]]:
    """The model as if some records had never been in any training of its chain, and the runs done.

    A training whose initial weights are new is run from its start, with its logged recipe, seed
    and order: the same as if the earlier training had never had the records (the argument of
    "Unlearning at Scale", arXiv 2508.12220, link by link).

    Args:
        model: the module; None where it is not there, and every run is repeated.
        trace: its trace, without what approximate methods did since (`Trace.leaving`).
        forget_ids: ids to leave out.
        records: at least the remaining ones of the repeated runs.
        task: how they become losses, in all trainings.
        definition: how records are absent, see `DEFINITIONS`.
        from_start: repeat every affected training from its start.
        workers: runs at a time.
        watch: called after every step.

    Raises:
        InputError: a record that no training taught, or a missing remaining one.
        EnvironmentMismatch, StateError: see `olvido.learners.parts.again`.
    """
    further: dict[str, Any] = {"definition": definition, "workers": workers, "watch": watch}
    if not isinstance(trace, Continued):
        return learner_of(trace).forget(
            model, trace, forget_ids, records, task, from_start=from_start, **further
        )
    early, own = trace.early(forget_ids), trace.own(forget_ids)
    if trace.kept and not early:
        made, last, done = forget_exactly(
            model, trace.last, own, records, task, from_start=from_start, **further
        )
        return made, Continued(trace.previous, last), done
    training, absent = trace.previous.leaving(early)
    was = trace.last.origin
    assert was is not None
    before = was.module() if trace.kept else None
    began, previous, done = forget_exactly(
        before,
        training,
        absent,
        records,
        task,
        from_start=from_start or not trace.kept,
        **further,
    )
    digest = weights_digest(began)
    if not absent and digest != was.digest:
        raise StateError(
            f"the training before the last one, run again, gave other weights (expected "
            f"{was.digest}, found {digest}): its log or its records were changed"
        )
    last = trace.last.beginning_with(Origin(partial(itself, began), digest, replaces=was.digest))
    made, last, since = learner_of(last).forget(
        None, last, own, records, task, from_start=True, **further
    )
    # The log of the new runs is that of these weights; nothing is replaced any more.
    last = last.beginning_with(Origin(partial(itself, began), digest))
    return made, Continued(previous, last), [*done, *since]
