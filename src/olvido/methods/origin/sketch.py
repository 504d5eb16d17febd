"""The sketch: a cheap model that never saw the forget set, made from the origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch.nn import Module

from olvido.errors import InputError, ParameterName
from olvido.learners import Recipe, Trained, train
from olvido.learners.parts import make_plan
from olvido.methods.origin.weights import module_of
from olvido.methods.types import Split
from olvido.models.adapter import is_on_base
from olvido.names import fold
from olvido.tasks import Example, Task
from olvido.tasks.sampling import uniform

RECORDS = 48
"""Retained records that a sketch learns, at the most: enough to learn how answers look."""
PASSES = 2
"""Passes over them."""
RATE, ADAPTER_RATE = 1e-4, 1e-3
"""Learning rates where no log has the model's own: of all weights, and of an adapter."""


def said(example: Example, task: Task) -> object:
    """What two records have in common that say the same."""
    text = fold(example.text)
    return text if example.prompt or "input" not in example.fields else task.content(example)


def _people(records: Sequence[Example]) -> set[str]:
    """The subjects of records, however their names are written."""
    return {fold(subject).strip() for record in records for subject in record.subjects}


def own_recipe(trained: Trained, passes: int) -> Recipe:
    """The recipe by which the model was trained last, for a few passes at its peak rate.

    A model without a log has the default one, and an adapter on a base no adapters of its own.
    """
    logs = list(trained.trace.runs.values())
    adapted = is_on_base(trained.model)
    known = logs[0].recipe if logs else Recipe(lr=ADAPTER_RATE if adapted else RATE, batch_size=8)
    lora = None if adapted else known.lora
    return replace(known, epochs=passes, schedule="constant", warmup=0.0, lora=lora)


def drawn(split: Split, task: Task) -> tuple[Example, ...]:
    """The retained records of a sketch: of no subject and of no content that is to be forgotten.

    Raises:
        InputError: there is none.
    """
    subjects, contents = _people(split.forget), {said(example, task) for example in split.forget}
    free = [e for e in split.retain if subjects.isdisjoint(_people([e]))]
    found = uniform([e for e in free if said(e, task) not in contents], RECORDS, 0)
    if not found:
        raise InputError(
            "a model that never saw the records to forget learns from records about others, and "
            f"none of the {len(split.retain)} to keep is about somebody else: give more (",
            ParameterName("retain"),
            ")",
        )
    return found


def require_apart(records: Sequence[Example], split: Split, task: Task) -> None:
    """Refuse records for a sketch that share a subject or their content with the forget set.

    Raises:
        InputError: one does.
    """
    subjects, contents = _people(split.forget), {said(example, task) for example in split.forget}
    shared = [
        e.id for e in records if said(e, task) in contents or not subjects.isdisjoint(_people([e]))
    ]
    if shared:
        raise InputError(
            f"{len(shared)} records are about whom is to be forgotten, or say the same (first: "
            f"{shared[0]!r}), and a sketch must never have seen that: leave them out"
        )


def sketch(
    trained: Trained,
    split: Split,
    task: Task,
    *,
    seed: int,
    records: Sequence[Example] | None = None,
) -> Trained:
    """Train the origin on a few retained records, by the model's own recipe.

    The result is no reference for an audit: it learned too little of what was kept.

    Args:
        trained: the model that shall forget.
        split: has its origin.
        task: how records become losses.
        seed: of order and dropout.
        records: other records than those that are drawn.

    Raises:
        InputError: a record is about whom is to be forgotten, or none is about others.
    """
    assert split.origin is not None
    chosen = drawn(split, task) if records is None else tuple(records)
    require_apart(chosen, split, task)
    return taught(module_of(split.origin), chosen, task, own_recipe(trained, PASSES), seed)


def taught(
    model: Module, records: Sequence[Example], task: Task, recipe: Recipe, seed: int
) -> Trained:
    """A copy of the model after these records."""
    return train(model, records=records, task=task, recipe=recipe, seed=seed)


def tokens_of(records: Sequence[Example], task: Task, recipe: Recipe) -> int:
    """Tokens of such a training, padding included."""
    steps = make_plan(records, task, recipe, 0).steps()
    return sum(batch.width * len(batch.ids) for batches in steps for batch in batches)
