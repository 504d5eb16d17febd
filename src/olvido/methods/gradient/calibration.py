"""Target losses of never-learned records, calibrated on holdout records."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch
from torch.nn import Module

from olvido.errors import InputError, StateError
from olvido.learners import Edited, Trace, Trained
from olvido.methods.gradient.answers import shared_weights_copy
from olvido.methods.origin.weights import module_of
from olvido.methods.types import Split
from olvido.tasks import Example, Task
from olvido.tasks.blocks import evaluating
from olvido.tasks.scoring import losses_of
from olvido.training.traces.steps import Origin

SHORTFALL = 0.05
"""Forgetting is complete when the records' mean distance below their targets is under this share
of the mean target."""
BETTER = 0.95
"""Share of chance's loss below which a base counts as one that has learned the language."""
BATCH = 32
"""Holdout records a forward pass."""


def holdout_losses(trained: Trained, records: Sequence[Example], task: Task) -> dict[str, float]:
    """Losses of holdout records in nats a token, by id: under the weights as they were trained
    where the trace has these losses, and otherwise under the current weights.

    Ten forgettings in sequence, each aiming at the result of the last one, raised it from 5.1 to
    6.2 nats (docs/results/sequence.md).
    """
    known = Edited.of(trained.trace).losses
    digests = {record.id: _content(record, task) for record in records}
    fresh = [record for record in records if digests[record.id] not in known]
    found = losses_of(shared_weights_copy(trained.model), fresh, task, BATCH) if fresh else {}
    return {i: known[d] if d in known else found[i] for i, d in digests.items()}


def with_holdout_losses(trace: Trace, split: Split, task: Task) -> Trace:
    """A trace with the holdout records' losses, for the next forgetting."""
    if trace.learner is None:
        return trace
    link = Edited.of(trace)
    found = {_content(r, task): split.holdout_losses[r.id] for r in split.holdout}
    return replace(link, losses={**found, **link.losses})


def remaining_trace(trace: Trace, split: Split) -> Trace:
    """The training that the weights still descend from, without the forgotten records: with it the
    next request can be answered exactly, and never-trained models can be made.

    Raises:
        InputError: a record to be forgotten is not in the model's training log.
    """
    if trace.learner is None:
        return trace
    return Edited.of(trace).without(example.id for example in split.forget)


def _content(record: Example, task: Task) -> str:
    return hashlib.blake2b(task.fingerprint(record), digest_size=16).hexdigest()


def targets(model: Module, split: Split, task: Task, size: int) -> dict[str, float]:
    """The loss at which each forgotten record counts as never learned, in nats a token.

    It is the loss under never-trained models, if any. Otherwise it is the mean loss of the holdout
    records of the same `topic` (of all of them where the topic has none), from the split or under
    the current model; an array's topic is its class, unless it has another. This is an estimate: in
    the demo's town of 100 residents it lies within 5% of the mean loss of never-trained models, in
    a town of 12, where an overconfident model errs more on holdout records, it was 47% above. Where
    the weights that the model was trained from are known, and answer better than by chance, their
    losses on the forget set count instead: where they did, they were nearer in a town with a base
    (docs/results/origins.md).
    """
    if split.never:
        found = [losses_of(other, split.forget, task, size) for other in split.never]
        return {e.id: fmean(losses[e.id] for losses in found) for e in split.forget}
    known = dict(split.holdout_losses)
    unknown = [example for example in split.holdout if example.id not in known]
    known |= losses_of(model, unknown, task, size)
    by_topic: dict[object, list[float]] = {}
    for example in split.holdout:
        by_topic.setdefault(_topic(example), []).append(known[example.id])
    overall = fmean(value for values in by_topic.values() for value in values)
    means = {topic: fmean(values) for topic, values in by_topic.items()}
    before = base_losses(split, task, size)
    return before or {e.id: means.get(_topic(e), overall) for e in split.forget}


def base_losses(split: Split, task: Task, size: int) -> dict[str, float]:
    """The forget set's losses under the weights that the model was trained from, in nats a token;
    empty where these are not known, or answer no better than by chance."""
    base = None if split.origin is None else _base(split.origin)
    return {} if base is None else informed_losses(base, split.forget, task, size)


def informed_losses(
    model: Module, records: Sequence[Example], task: Task, size: int
) -> dict[str, float]:
    """The records' losses under a model, in nats a token; empty where it answers no better than by
    chance."""
    found = losses_of(model, records, task, size)
    return found if fmean(found.values()) < BETTER * _chance(model, records[0], task) else {}


def _base(origin: Origin) -> Module | None:
    """The weights that the model was trained from; None, with a warning, where they are gone."""
    try:
        return module_of(origin)
    except (InputError, StateError) as error:
        warnings.warn(
            f"the weights that the model was trained from cannot be had ({error}): the holdout "
            "records tell where never learned lies",
            stacklevel=3,
        )
        return None


@torch.no_grad()
def _chance(model: Module, example: Example, task: Task) -> float:
    """The loss of a guess among all tokens, or classes."""
    batch = task.collate([example]).to(next(model.parameters()).device)
    with evaluating(model):
        logits, _, _ = task.answer_logits(model, batch)
    return math.log(logits.shape[-1])


def _topic(example: Example) -> object:
    return example.fields.get("topic", example.completion if "input" in example.fields else None)


def reached(losses: Mapping[str, float], goals: Mapping[str, float]) -> bool:
    """Whether every record was evaluated and their mean reached that of never-learned ones.

    An infinite goal is unknown, and is never reached.
    """
    if len(losses) < len(goals) or not all(map(math.isfinite, goals.values())):
        return False
    return shortfall(losses, goals) <= 0


def shortfall(losses: Mapping[str, float], goals: Mapping[str, float]) -> float:
    """How far the records' mean distance below their targets is above what is allowed, as a share
    of the mean target."""
    short = fmean(max(goal - losses[i], 0.0) for i, goal in goals.items())
    return short / fmean(goals.values()) - SHORTFALL
