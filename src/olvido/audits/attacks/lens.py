"""The logit lens: find a causal model's residual stream and read each layer as if it were last.

Blocks, norm and head are found by inspecting the model, not by the names of its modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Identity, Module, ModuleList

from olvido.errors import InputError
from olvido.tasks import Example, Language, Task
from olvido.tasks.batches import Windows
from olvido.tasks.blocks import body_and_head, plain_model

NEAR = 1e-4
"""Largest difference in nats between the model's own log-probabilities and those read off its
residual stream by its norm and head."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model that its residual stream passes.

    Attributes:
        blocks: the transformer layers, first to last.
        norm: the last normalisation; an `Identity` where there is none.
        head: from normalised states to logits.
    """

    blocks: tuple[Module, ...]
    norm: Module
    head: Module


@dataclass(frozen=True)
class Streams:
    """One pass over a batch, seen from inside.

    Attributes:
        states: the residual stream after each block. L x [B, T, D]
        log_p: of every target under the model itself, in nats. [N]
        targets: token ids. [N]
        rows: the row of states of each target. [N]
        columns: the position that predicts each target. [N]
        records: the record of each target, by its place in the batch. [N]
    """

    states: tuple[Tensor, ...]
    log_p: Tensor
    targets: Tensor
    rows: Tensor
    columns: Tensor
    records: Tensor


def anatomy(model: Module) -> Anatomy:
    """Find the blocks, last norm and head of a Hugging Face causal model.

    The blocks are the module list as long as the configuration says; the norm is what computes the
    body's last hidden state, found by running one token through.

    Raises:
        InputError: one of them is missing; it is named.
    """
    body, head = body_and_head(model)
    if not isinstance(body, Module) or not isinstance(head, Module):
        raise _lacking(model, "a body and a head (base_model, get_output_embeddings())")
    depth = int(getattr(plain_model(model).config, "num_hidden_layers", 0))
    lists = [m for m in body.modules() if isinstance(m, ModuleList) and len(m) == depth > 0]
    if len(lists) != 1:
        raise _lacking(model, f"one list of its {depth} layers (it has {len(lists)})")
    blocks = tuple(lists[0])
    return Anatomy(blocks, _norm(model, body, blocks), head)


def first(output: Any) -> Tensor:
    """The hidden states in a block's output: the output itself, or the first of several."""
    states = output[0] if isinstance(output, tuple) else output
    if not isinstance(states, Tensor):
        raise InputError(f"a layer gave out a {type(states).__name__}, expected hidden states")
    return states


@contextmanager
def listening(modules: Sequence[Module]) -> Iterator[list[Tensor | None]]:
    """Collect the last output of each of these modules within the block."""
    heard: list[Tensor | None] = [None] * len(modules)

    def keep(place: int) -> Any:
        def hook(_module: Module, _given: Any, output: Any) -> None:
            heard[place] = first(output)

        return hook

    with ExitStack() as stack:
        for place, module in enumerate(modules):
            stack.callback(module.register_forward_hook(keep(place)).remove)
        yield heard


@torch.no_grad()
def streams(model: Module, parts: Anatomy, batch: Any, task: Task) -> Streams:
    """One pass over a batch of text records, in evaluation mode.

    Raises:
        InputError: the batch is not of tokens, or a layer was not passed.
    """
    if not task.language:
        raise InputError(
            "hidden states are read at the tokens of an answer, and these records have none: "
            "arrays with a label have no such audit"
        )
    # A text that is longer than the model reads at once has a row of states for each window.
    cut = task.windows(model, batch) if isinstance(task, Language) else Windows(batch)
    training = model.training
    model.eval()
    try:
        with listening(parts.blocks) as heard:
            logits, targets, rows = task.answer_logits(model, cut.batch)
    finally:
        model.train(training)
    states = tuple(state for state in heard if state is not None)
    if len(states) < len(parts.blocks):
        raise InputError(
            f"{len(parts.blocks) - len(states)} layers were passed by: not a plain model"
        )
    columns = torch.nonzero(cut.batch.targets != -100, as_tuple=True)[1] - 1
    records = cut.records(rows)
    return Streams(states, picked(logits, targets), targets, rows, columns, records)


def picked(logits: Tensor, targets: Tensor) -> Tensor:
    """The log-probability of each target, in nats. [N, V], [N] -> [N]"""
    return logits.float().log_softmax(-1).gather(-1, targets[:, None])[:, 0]


@torch.no_grad()
def _norm(model: Module, body: Any, blocks: Sequence[Module]) -> Module:
    inner = {module for block in blocks for module in block.modules()}
    outside = [m for m in body.modules() if m not in inner and not isinstance(m, ModuleList)]
    candidates = [m for m in outside if m is not body and next(m.children(), None) is None]
    token = torch.zeros((1, 2), dtype=torch.long, device=next(body.parameters()).device)
    training = body.training
    body.eval()
    try:
        with listening([blocks[-1]]) as last, _hearing_any(candidates) as heard:
            final = body(
                input_ids=token, attention_mask=torch.ones_like(token), use_cache=False
            ).last_hidden_state
    finally:
        body.train(training)
    for module, output in heard:
        # A view of the same memory: some bodies reshape it before they return it.
        if isinstance(output, Tensor) and output.data_ptr() == final.data_ptr():
            return module
    if last[0] is not None and torch.equal(last[0], final):
        return Identity()
    raise _lacking(model, "a last normalisation that gives its last hidden state")


@contextmanager
def _hearing_any(modules: Sequence[Module]) -> Iterator[list[tuple[Module, Any]]]:
    heard: list[tuple[Module, Any]] = []
    with ExitStack() as stack:
        for module in modules:
            handle = module.register_forward_hook(
                lambda module, _given, output: heard.append((module, output))
            )
            stack.callback(handle.remove)
        yield heard


def _lacking(model: Module, what: str) -> InputError:
    return InputError(
        f"hidden states cannot be read in a {type(model).__name__}: {what} was not found. Give a "
        "plain Hugging Face causal model"
    )


@dataclass(frozen=True)
class Reading:
    """The lens's reading of each record at each layer.

    Attributes:
        log_p: mean log-probability of the answer's tokens, nats a token. [L, R]
        exact: share of the answer's tokens that are the likeliest. [L, R]
    """

    log_p: NDArray[np.float64]
    exact: NDArray[np.float64]


@torch.no_grad()
def lens(model: Module, records: Sequence[Example], task: Task, *, batch: int = 16) -> Reading:
    """Read every layer's residual stream through the model's last norm and head.

    nostalgebraist 2020, "interpreting GPT: the logit lens". One forward pass; the head is applied
    where an answer's token is predicted and nowhere else. The last layer is the model itself.

    Args:
        model: a Hugging Face causal model, plain or with adapters; not changed.
        records: examples whose completions are searched for.
        task: the language task of the model.
        batch: records a pass.

    Returns:
        Layers from the first block to the last, records in their order.

    Raises:
        InputError: no records; a model whose norm or head cannot be found; one that transforms its
            logits further, so that its last layer read by the lens differs from its output; or a
            task without tokens.
    """
    if not records:
        raise InputError("there are no records to look for")
    if not task.language:
        raise InputError("the logit lens reads answers of tokens: arrays with a label have none")
    parts = anatomy(model)
    log_p = np.zeros((len(parts.blocks), len(records)))
    exact = np.zeros_like(log_p)
    device = next(model.parameters()).device
    for start in range(0, len(records), batch):
        ready = task.collate(records[start : start + batch]).to(device)
        seen = streams(model, parts, ready, task)
        size = len(ready.ids)
        counts = torch.bincount(seen.records, minlength=size).double()
        for layer, states in enumerate(seen.states):
            logits = parts.head(parts.norm(states[seen.rows, seen.columns]))
            found = picked(logits, seen.targets)
            right = (logits.argmax(-1) == seen.targets).double()
            if layer == len(seen.states) - 1:
                _require_own(model, found, seen.log_p)
            for table, values in ((log_p, found.double()), (exact, right)):
                totals = torch.zeros_like(counts).index_add(0, seen.records, values)
                table[layer, start : start + size] = (totals / counts).cpu().numpy()
    return Reading(log_p, exact)


def _require_own(model: Module, found: torch.Tensor, own: torch.Tensor) -> None:
    apart = float((found - own).abs().max())
    if not apart <= NEAR:
        raise InputError(
            f"the last layer of the {type(model).__name__} read through its norm and head is "
            f"{apart:.2g} nats off what the model says, at most {NEAR:g} is right: something "
            "stands after the head (a cap, a scale, a hook)"
        )
