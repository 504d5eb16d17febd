"""Trainings for an audit alone, and their cost forecasts; one in the folder is not repeated."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn import Module

from olvido.audits.scoring import BATCH, ScoredModel
from olvido.audits.types import Asks, Evidence, EvidenceNeed
from olvido.errors import InputError
from olvido.files import make_folder, new_folder, write_document
from olvido.learners import Recipe, train
from olvido.models import weights_digest
from olvido.models.merging import picklable
from olvido.models.stored import ModelSlot, StoredModel
from olvido.processes import from_main, side_by_side
from olvido.tasks import Example, Task

SAMPLE = 8
"""Records that are scored, and answered, to measure the speed of this machine."""


def forecast(evidence: Evidence, asks: Sequence[Asks]) -> float:
    """Seconds that the rest of an audit will take on this machine, as an upper estimate.

    Answers that follow from the scores need no generation, and cached ones cost nothing.
    """
    candidate, task = evidence.candidate, evidence.candidate.task
    models = len(evidence.references) + 1
    original = evidence.original is not None

    def tokens(records: Iterable[Example]) -> int:
        return sum(map(task.width, {task.fingerprint(r): r for r in records}.values()))

    answered = {task.fingerprint(r): r for ask in asks for r in ask.answered}
    scored = [r for ask in asks for r in (*ask.scored, *ask.answered)]
    controls = [r for ask in asks for r in ask.controls]
    passes = tokens(scored) * (models + original) + tokens(controls) * models
    passes += sum(ask.passes for ask in asks)
    probe = evidence.forget[:SAMPLE]
    # The first pass of a process includes one-time costs.
    task.losses(candidate.model, task.collate(probe))
    seconds = (
        passes * _timed(lambda: ScoredModel(candidate.model, task).scores(probe)) / tokens(probe)
    )
    if answered and evidence.has(EvidenceNeed.LANGUAGE):
        sample = list(answered.values())[:SAMPLE]
        each = _timed(lambda: task.generate(candidate.model, sample, BATCH)) / len(sample)
        # Answers that the original model knows by heart follow from its scores.
        seconds += each * len(answered) * models
    return seconds


def _timed(work: object) -> float:
    began = time.perf_counter()
    assert callable(work)
    work()
    return time.perf_counter() - began


def forecast_training(
    model: Module, task: Task, records: Sequence[Example], recipe: Recipe
) -> float:
    """Seconds that a training on these records will take on this machine.

    A step costs about three forward passes: the pass itself, and twice that backward (Kaplan et al.
    2020, arXiv 2001.08361, section 2.1).
    """
    sample = records[: recipe.batch_size]
    if not sample:
        return 0.0
    batch = task.collate(sample)
    with torch.no_grad():
        task.losses(model, batch)
        forward = _timed(lambda: task.losses(model, batch)) / sum(map(task.width, sample))
    return 3 * forward * recipe.epochs * sum(map(task.width, records))


def train_references(
    starts: Sequence[Module],
    *,
    retain: Sequence[Example],
    forget: Sequence[Example],
    task: Task,
    recipe: Recipe,
    folder: Path,
    cache: Path | None = None,
    slot: ModelSlot | None = None,
    workers: int = 1,
    watch: Callable[[int, int], None] | None = None,
) -> list[ScoredModel]:
    """Train a model from each start on the retain set, with the seeds 1, 2, 3 and so on.

    Args:
        starts: the weights that the candidate's training began with, once for each model: a
            pretrained model again and again, or other random weights each time.
        retain: records that they learn.
        forget: records that they must not learn.
        task, recipe: of the candidate's training.
        folder: each lies in a folder of its own here and is not trained again.
        cache: see `ScoredModel`.
        slot: one of them at a time is loaded into it; None: a slot of their own.
        workers: models trained at a time.
        watch: called with the number of models ready, and their total.

    Raises:
        InputError: nothing to train on, or a text of the forget set among it.
    """
    if not retain:
        raise InputError(
            "never-trained models are trained on what was to be kept: give those records (retain)"
        )
    forget_contents = {task.fingerprint(record): record.id for record in forget}
    for record in retain:
        if task.fingerprint(record) in forget_contents:
            raise InputError(
                f"record {record.id!r} is to be kept, and has the very text of one that is to be "
                "forgotten: a model trained on it would have seen that"
            )
    trainings = [
        ReferenceTraining("reference", seed, start, retain, seed)
        for seed, start in enumerate(starts, 1)
    ]
    made = carried_out(
        trainings, task=task, recipe=recipe, folder=folder, slot=slot, workers=workers, watch=watch
    )
    taught = [record.id for record in retain]
    return [
        ScoredModel(model, task, cache=cache, taught=taught, began=weights_digest(start))
        for model, start in zip(made, starts, strict=True)
    ]


WEIGHTS, CARD = "weights.safetensors", "card.json"


@dataclass(frozen=True)
class ReferenceTraining:
    """One training.

    Attributes:
        kind, number: beginning of its folder's name.
        start: the model it begins with; not changed.
        records: its training data.
        seed: of the run.
        card: metadata to store beside the weights, as plain values.
    """

    kind: str
    number: int
    start: Module
    records: Sequence[Example]
    seed: int
    card: Mapping[str, Any] = field(default_factory=dict)

    def name(self, task: Task, recipe: Recipe) -> str:
        """A folder's name that depends on start, recipe, seed and records."""
        settled = [weights_digest(self.start), recipe.to_dict(), self.seed, dict(self.card)]
        total = hashlib.sha256(json.dumps(settled, sort_keys=True).encode())
        for record in self.records:
            total.update(hashlib.sha256(record.id.encode() + b"\0").digest())
            total.update(hashlib.sha256(task.fingerprint(record)).digest())
        return f"{self.kind}-{self.number:03d}-{total.hexdigest()[:16]}"


def carried_out(
    trainings: Sequence[ReferenceTraining],
    *,
    task: Task,
    recipe: Recipe,
    folder: Path,
    slot: ModelSlot | None = None,
    workers: int = 1,
    watch: Callable[[int, int], None] | None = None,
) -> list[StoredModel]:
    """The models, in order, trained where they do not lie in the folder yet.

    Each lies in a folder of its own, which appears when it is complete: a stopped run continues
    with the next.

    Args:
        trainings: the trainings to do.
        task, recipe: of all models.
        folder: the folder of all models.
        slot: one of them at a time is loaded into it; None: a slot of their own.
        workers: models trained at a time.
        watch: called with the number of models ready, and their total.

    Raises:
        InputError: a folder's content is not the model that was trained there, or no worker.
    """
    make_folder(folder)
    homes = [folder / training.name(task, recipe) for training in trainings]
    # Several at a time have one thread each; a single one has all threads of the process.
    threads = 1 if workers > 1 else torch.get_num_threads()
    jobs = [
        partial(_train, training, task, recipe, home, threads)
        for training, home in zip(trainings, homes, strict=True)
        if not from_main((home / CARD).is_file)
    ]
    there = len(trainings) - len(jobs)
    for done, _ in enumerate(side_by_side(jobs, workers=workers), there + 1):
        if watch is not None:
            watch(done, len(trainings))
    slot = ModelSlot() if slot is None else slot
    made = [
        StoredModel(partial(_read, home, training.start), slot, name=str(home))
        for home, training in zip(homes, trainings, strict=True)
    ]
    for one in made:
        # Damage is to show before hours of an audit, not after.
        _ = one.digest
    return made


def _train(
    training: ReferenceTraining, task: Task, recipe: Recipe, home: Path, threads: int
) -> None:
    torch.set_num_threads(threads)
    trained = train(
        training.start, records=training.records, task=task, recipe=recipe, seed=training.seed
    )

    def keep() -> None:
        # An empty folder of the same name, left by another process, is replaced.
        with new_folder(home) as unfinished:
            save_file(_distinct(trained.model), str(unfinished / WEIGHTS))
            write_document({**training.card, "digest": trained.digest}, unfinished / CARD)

    from_main(keep)


def _read(home: Path, start: Module) -> Module:
    replica = copy.deepcopy(picklable(start))
    try:
        card = json.loads((home / CARD).read_text(encoding="utf-8"))
        replica.load_state_dict(load_file(str(home / WEIGHTS)), strict=False)
        sound = weights_digest(replica) == card["digest"]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError):
        sound = False
    if not sound:
        raise InputError(
            f"{home} does not hold the weights that were trained there: remove it, and it is "
            "trained again"
        )
    return replica.eval()


def _distinct(model: Module) -> dict[str, torch.Tensor]:
    """Every tensor once: tied weights share memory, which safetensors refuses."""
    found, seen = {}, set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or not tensor.numel():
            seen.add(tensor.data_ptr())
            found[name] = tensor.contiguous()
    return found
