"""How long an audit will take, found by asking a model a little before it starts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import torch
from torch.nn import Module

from olvido.audits.scoring import Witness
from olvido.audits.scoring.witness import BATCH
from olvido.audits.types import Asks, Evidence, Need
from olvido.learners import Recipe
from olvido.tasks import Example, Task

SAMPLE = 8
"""Records that are scored, and answered, to learn how fast this machine is."""


def forecast(evidence: Evidence, asks: Sequence[Asks]) -> float:
    """Seconds that the rest of an audit is going to take on this machine, at about the most.

    Answers that the scores turn out to tell need no generation, and what lies in a cache nothing.
    """
    suspect, task = evidence.suspect, evidence.suspect.task
    models = len(evidence.references) + 1
    was = evidence.before is not None

    def tokens(records: Iterable[Example]) -> int:
        return sum(map(task.width, {task.fingerprint(r): r for r in records}.values()))

    answered = {task.fingerprint(r): r for ask in asks for r in ask.answered}
    scored = [r for ask in asks for r in (*ask.scored, *ask.answered)]
    strangers = [r for ask in asks for r in ask.strangers]
    passes = tokens(scored) * (models + was) + tokens(strangers) * models
    passes += sum(ask.passes for ask in asks)
    probe = evidence.forget[:SAMPLE]
    # The first pass of a process pays for more than itself.
    task.losses(suspect.model, task.collate(probe))
    seconds = passes * _timed(lambda: Witness(suspect.model, task).scores(probe)) / tokens(probe)
    if answered and evidence.has(Need.LANGUAGE):
        sample = list(answered.values())[:SAMPLE]
        each = _timed(lambda: task.generate(suspect.model, sample, BATCH)) / len(sample)
        # What the model as it was knows by heart is read off its scores.
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
    """Seconds that a training on these records is going to take on this machine.

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
