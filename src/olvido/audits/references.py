"""Never-trained models made for an audit: the suspect's training, without the forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch.nn import Module

from olvido.audits.scoring import Witness
from olvido.audits.trainings import Training, carried_out
from olvido.errors import InputError
from olvido.learners import Recipe
from olvido.models import weights_digest
from olvido.tasks import Example, Task


def train_references(
    starts: Sequence[Module],
    *,
    retain: Sequence[Example],
    forget: Sequence[Example],
    task: Task,
    recipe: Recipe,
    folder: Path,
    cache: Path | None = None,
    workers: int = 1,
    watch: Callable[[int, int], None] | None = None,
) -> list[Witness]:
    """Train a model from each start on what was to be kept, with the seeds 1, 2, 3 and so on.

    Args:
        starts: what the suspect's training began with, once for each model: a pretrained model
            again and again, or other random weights each time.
        retain: what they learn.
        forget: what they must not learn.
        task, recipe: of the suspect's training.
        folder: each lies in a folder of its own here, and one that is there is not trained again.
        cache: see `Witness`.
        workers: trained at a time.
        watch: called with how many are there, and of how many.

    Raises:
        InputError: nothing to train on, or a text that is to be forgotten among it.
    """
    if not retain:
        raise InputError(
            "never-trained models are trained on what was to be kept: give those records (retain)"
        )
    gone = {task.fingerprint(record): record.id for record in forget}
    for record in retain:
        if task.fingerprint(record) in gone:
            raise InputError(
                f"record {record.id!r} is to be kept, and has the very text of one that is to be "
                "forgotten: a model trained on it would have seen that"
            )
    trainings = [
        Training("reference", seed, start, retain, seed) for seed, start in enumerate(starts, 1)
    ]
    made = carried_out(
        trainings, task=task, recipe=recipe, folder=folder, workers=workers, watch=watch
    )
    taught = [record.id for record in retain]
    return [
        Witness(model, task, cache=cache, taught=taught, began=weights_digest(start))
        for model, start in zip(made, starts, strict=True)
    ]
