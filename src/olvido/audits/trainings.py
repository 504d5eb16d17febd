"""Trainings done for an audit alone: what lies in the folder already is not trained again."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn import Module

from olvido.documents import write_document
from olvido.errors import InputError
from olvido.files import make_folder, new_folder
from olvido.learners import Recipe, train
from olvido.learners.parallel import side_by_side
from olvido.models import weights_digest
from olvido.models.sending import sendable
from olvido.tasks import Example, Task

WEIGHTS, CARD = "weights.safetensors", "card.json"


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        kind, number: what its folder's name begins with.
        start: the model it begins with; not changed.
        records: what it learns.
        seed: of the run.
        card: what is written beside the weights, as plain values.
    """

    kind: str
    number: int
    start: Module
    records: Sequence[Example]
    seed: int
    card: Mapping[str, Any] = field(default_factory=dict)

    def name(self, task: Task, recipe: Recipe) -> str:
        """A folder's name that another start, recipe, seed or record would change."""
        settled = [weights_digest(self.start), recipe.to_dict(), self.seed, dict(self.card)]
        total = hashlib.sha256(json.dumps(settled, sort_keys=True).encode())
        for record in self.records:
            total.update(hashlib.sha256(record.id.encode() + b"\0").digest())
            total.update(hashlib.sha256(task.fingerprint(record)).digest())
        return f"{self.kind}-{self.number:03d}-{total.hexdigest()[:16]}"


def carried_out(
    trainings: Sequence[Training],
    *,
    task: Task,
    recipe: Recipe,
    folder: Path,
    workers: int = 1,
    watch: Callable[[int, int], None] | None = None,
) -> list[Module]:
    """The models, in order, trained where they do not lie in the folder yet.

    Each lies in a folder of its own, which appears when it is complete: a run that was stopped goes
    on with the next.

    Args:
        trainings: what to train.
        task, recipe: of them all.
        folder: where they are kept.
        workers: trained at a time.
        watch: called with how many are there, and of how many.

    Raises:
        InputError: a folder does not hold what was trained there, or no worker at all.
    """
    make_folder(folder)
    homes = [folder / training.name(task, recipe) for training in trainings]
    # Side by side, each has one thread; alone, all that the process was given.
    threads = 1 if workers > 1 else torch.get_num_threads()
    jobs = [
        partial(_train, training, task, recipe, home, threads)
        for training, home in zip(trainings, homes, strict=True)
        if not (home / CARD).is_file()
    ]
    there = len(trainings) - len(jobs)
    for done, _ in enumerate(side_by_side(jobs, workers=workers), there + 1):
        if watch is not None:
            watch(done, len(trainings))
    return [_read(home, t.start) for home, t in zip(homes, trainings, strict=True)]


def _train(training: Training, task: Task, recipe: Recipe, home: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    trained = train(
        training.start, records=training.records, task=task, recipe=recipe, seed=training.seed
    )
    # An empty folder of the same name, left by another process, gives way.
    with new_folder(home) as unfinished:
        save_file(_distinct(trained.model), str(unfinished / WEIGHTS))
        write_document({**training.card, "digest": trained.digest}, unfinished / CARD)


def _read(home: Path, start: Module) -> Module:
    twin = copy.deepcopy(sendable(start))
    try:
        card = json.loads((home / CARD).read_text(encoding="utf-8"))
        twin.load_state_dict(load_file(str(home / WEIGHTS)), strict=False)
        sound = weights_digest(twin) == card["digest"]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError):
        sound = False
    if not sound:
        raise InputError(
            f"{home} does not hold the weights that were trained there: remove it, and it is "
            "trained again"
        )
    return twin.eval()


def _distinct(model: Module) -> dict[str, torch.Tensor]:
    """Every tensor once: tied weights share memory, which safetensors refuses."""
    found, seen = {}, set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or not tensor.numel():
            seen.add(tensor.data_ptr())
            found[name] = tensor.contiguous()
    return found
