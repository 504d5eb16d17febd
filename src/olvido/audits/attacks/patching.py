"""Activation patching: put one model's hidden states into another, and measure what it then knows.

The Unlearning Depth Score of Lee, Kim and Jo 2026 (arXiv 2605.24614, section 3), by their
measurements of 150 models the most faithful and most robust of twenty metrics; and its mirror
image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from olvido.audits.attacks.lens import anatomy, first, streams
from olvido.audits.integrity.weights import SAME_BASE, cosine
from olvido.errors import InputError
from olvido.models.stored import StoredModel
from olvido.tasks import Example, Task

Table = NDArray[np.float64]

DEPTH_SHARE = 0.05
"""Least gap, in nats a token, by which a layer tells a model that knows from one that does not
(section 3.3 there)."""


@dataclass(frozen=True)
class Kept:
    """How much of a knowledge a model's layers still contain.

    Attributes:
        score: 0: no more than the never-trained model's, 1: as much as the original model's; nan
            for a record that no layer can decide. [R]
        layers: the mean score at each layer over its decidable records; nan where there are none.
        [L]
        counts: how many records each layer can decide. [L]
    """

    score: Table
    layers: Table
    counts: NDArray[np.int64]


def erased_depth(
    candidate: Module,
    original: Module,
    never: Module,
    records: Sequence[Example],
    task: Task,
    *,
    batch: int = 16,
) -> Kept:
    """Patch the original model with the candidate's states, and measure its loss of knowledge.

    The original's log-probability of the answer falls where the states lack the knowledge. Its fall
    with the never-trained model's states is the maximum; the fall with the candidate's states as a
    share of it is the erased share (clipped to [0, 1], layers weighted by the maximum), and `score`
    is one minus the paper's depth score.

    Args:
        candidate, original, never: Hugging Face causal models of one base.
        records: the forget set.
        task: the language task of the models.
        batch: records a pass.

    Raises:
        InputError: no records, models that are not of one base, or a model that cannot be patched.
    """
    most = patched(original, never, records, task, batch=batch)
    return kept(patched(original, candidate, records, task, batch=batch), most)


def kept(fall: Patched, most: Patched) -> Kept:
    """`erased_depth` from the original patched with the candidate's states, and with those of the
    never-trained model."""
    erased = shares(fall.base - fall.log_p, most.base - most.log_p)
    return Kept(1 - erased.score, 1 - erased.layers, erased.counts)


def regained(
    candidate: Module,
    original: Module,
    never: Module,
    records: Sequence[Example],
    task: Task,
    *,
    batch: int = 16,
) -> Kept:
    """Patch a never-trained model with the candidate's states, and measure its gain of knowledge.

    The mirror image of `erased_depth`: the rise of its log-probability of the answer, as a share of
    the rise with the states of the original model. Arguments, result and errors as there.
    """
    most = patched(never, original, records, task, batch=batch)
    rise = patched(never, candidate, records, task, batch=batch)
    return shares(rise.log_p - rise.base, most.log_p - most.base)


@dataclass(frozen=True)
class Patched:
    """A model that ran with another model's states.

    Attributes:
        base: mean log-probability of the answer's tokens without patching, nats a token. [R]
        log_p: with the stream after each block replaced, one block at a time. [L, R]
    """

    base: Table
    log_p: Table


@torch.no_grad()
def donated(
    donor: Module, records: Sequence[Example], task: Task, *, batch: int = 16
) -> tuple[tuple[Tensor, ...], ...]:
    """A model's states where the answers are predicted, to be put into another: by batch and layer.

    Args:
        donor: a Hugging Face causal model; not changed.
        records, task, batch: see `patched`.

    Returns:
        For each batch, the states after each block at the answers' tokens. L x [N, D]

    Raises:
        InputError: no records, or a model whose states cannot be read.
    """
    _require_answers(records, task)
    parts, device = anatomy(donor), next(donor.parameters()).device
    found = []
    for start in range(0, len(records), batch):
        ready = task.collate(records[start : start + batch]).to(device)
        seen = streams(donor, parts, ready, task)
        found.append(tuple(states[seen.rows, seen.columns] for states in seen.states))
    return tuple(found)


def _require_answers(records: Sequence[Example], task: Task) -> None:
    if not records:
        raise InputError("there are no records to look for")
    if not task.language:
        raise InputError("patching is done at an answer's tokens: arrays with a label have none")


def patched(
    receiver: Module, donor: Module, records: Sequence[Example], task: Task, *, batch: int = 16
) -> Patched:
    """Run the receiver with the donor's residual stream where the answer is predicted.

    After each block in turn, the states at the positions that predict the answer's tokens are the
    donor's; before, after and everywhere else the receiver is itself.

    Args:
        receiver, donor: Hugging Face causal models of one base; not changed.
        records: examples whose completions are searched for.
        task: the language task of both models.
        batch: records a pass.

    Raises:
        InputError: no records, models that share no residual space, or one that cannot be patched.
    """
    _require_answers(records, task)
    require_shared(receiver, donor)
    return patched_with(
        receiver, donated(donor, records, task, batch=batch), records, task, batch=batch
    )


@torch.no_grad()
def patched_with(
    receiver: Module,
    states: Sequence[Sequence[Tensor]],
    records: Sequence[Example],
    task: Task,
    *,
    batch: int = 16,
) -> Patched:
    """`patched`, with states that a model of the same base donated before (see `donated`)."""
    here = anatomy(receiver)
    base = np.zeros(len(records))
    log_p = np.zeros((len(here.blocks), len(records)))
    device = next(receiver.parameters()).device
    for number, start in enumerate(range(0, len(records), batch)):
        ready = task.collate(records[start : start + batch]).to(device)
        own = streams(receiver, here, ready, task)
        place = slice(start, start + len(ready.ids))
        base[place] = _means(own.log_p, own.records, len(ready.ids))
        for layer, block in enumerate(here.blocks):
            given = states[number][layer].to(own.states[layer])
            with _replaced(block, own.rows, own.columns, given):
                seen = streams(receiver, here, ready, task)
            log_p[layer, place] = _means(seen.log_p, seen.records, len(ready.ids))
    return Patched(base, log_p)


def require_shared(one: Module | StoredModel, other: Module | StoredModel) -> None:
    """Refuse two models whose states have no common meaning.

    Models trained from different random weights give their directions different meanings; one's
    states are noise to the other, and a number made of that noise would look like a result.

    Raises:
        InputError: other shapes, or unrelated weights.
    """
    found = cosine(one, other)
    if not found >= SAME_BASE:
        raise InputError(
            f"the two models share no residual space (cosine of their weights {found:.2f}, at "
            f"least {SAME_BASE} is needed): patching compares models of one base, so train the "
            "reference from the base that the candidate came from"
        )


@contextmanager
def _replaced(block: Module, rows: Tensor, columns: Tensor, states: Tensor) -> Iterator[None]:
    """Replace a block's output states at these places, within the context."""

    def hook(_module: Module, _given: Any, output: Any) -> Any:
        changed = first(output).clone()
        changed[rows, columns] = states
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = block.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _means(values: Tensor, rows: Tensor, size: int) -> Table:
    counts = torch.bincount(rows, minlength=size).double()
    totals = torch.zeros_like(counts).index_add(0, rows, values.double())
    means: Table = (totals / counts).cpu().numpy()
    return means


def shares(moved: Table, most: Table) -> Kept:
    """Movements as shares of the possible movement, by record and by layer.

    Args:
        moved: nats a token. [L, R]
        most: the possible movement; a layer decides a record where it exceeds `DEPTH_SHARE`. [L, R]
    """
    tells = most > DEPTH_SHARE
    share = np.clip(np.divide(moved, most, out=np.zeros_like(most), where=tells), 0, 1)
    counts = tells.sum(axis=1)
    weight = np.where(tells, most, 0.0)
    with np.errstate(invalid="ignore"):
        score = (share * weight).sum(axis=0) / weight.sum(axis=0)
        layers = np.where(tells, share, 0.0).sum(axis=1) / counts
    return Kept(score, layers, counts)
