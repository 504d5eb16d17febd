"""Match the weights of one model with those of another."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError
from olvido.models.stored import StoredModel, StoredTensor, Weight

ROWS = 4096
"""Rows compared at a time in float64."""
SAME_BASE = 0.5
"""Least cosine of two models' matrices at which they count as descendants of one base with a common
meaning of their states. Measured on `tiny`: 0.98 for two fine-tunings of one model, 0.93 for two
trainings from the same random weights, 0.00 for other random weights."""


@dataclass(frozen=True)
class Pairing:
    """Two models, weight by weight.

    Attributes:
        pairs: name in the original model, the candidate's weight, the original's; tied weights
        once.
        added: names that only the candidate has.
        removed: names that only the original model has.
        reshaped: names of both, with the candidate's shape and the original's.
    """

    pairs: tuple[tuple[str, Weight, Weight], ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def mismatch(self) -> str | None:
        """The architectural difference, as a sentence; None: there is none."""
        said = [
            f"{len(names)} weights {what} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
            for what, names in (("are new", self.added), ("are missing", self.removed))
            if names
        ]
        said += [
            f"{name} has the shape {list(now)} where it had {list(then)}"
            for name, now, then in self.reshaped[:3]
        ]
        return f"not the architecture as it was: {'; '.join(said)}" if said else None


def paired(candidate: Module | StoredModel, original: Module | StoredModel) -> Pairing:
    """Match the weights of two models by name.

    PEFT adapters count as merged. A wrapper's prefix of all names is ignored
    (`inner.model.layers.0...` is `model.layers.0...`), and so is an adapted layer's infix
    (`base_layer`).

    Args:
        candidate, original: any two modules, not changed; of stored models no weight is read.
    """
    now, then = _named(candidate), _named(original)
    prefix = _prefix(now, then)
    now = {name.removeprefix(prefix): tensor for name, tensor in now.items()}
    pairs: list[tuple[str, Weight, Weight]] = []
    reshaped = []
    seen: set[tuple[object, object]] = set()
    for name in then:
        if name not in now:
            continue
        a, b = now[name], then[name]
        if a.shape != b.shape:
            reshaped.append((name, tuple(a.shape), tuple(b.shape)))
        # Tied weights stand under two names, and where one side has untied them, under two pairs.
        elif (places := (_place(a), _place(b))) not in seen or a.shape.numel() == 0:
            seen.add(places)
            pairs.append((name, a, b))
    return Pairing(
        tuple(pairs),
        tuple(name for name in now if name not in then),
        tuple(name for name in then if name not in now),
        tuple(reshaped),
    )


def tensors(pairs: Iterable[tuple[str, Weight, Weight]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The weights of each pair, read when it is its turn."""
    for _, *pair in pairs:
        a, b = (one.read() if isinstance(one, StoredTensor) else one for one in pair)
        yield a, b


def cosine(one: Module | StoredModel, other: Module | StoredModel) -> float:
    """Cosine of the matrices of two models, flattened into one vector each.

    Biases and normalisations are left out: they are near 0 or 1 in every model, related or not.

    Raises:
        InputError: the architectures differ; the message names the difference.
    """
    found = paired(one, other)
    if found.mismatch is not None:
        raise InputError(f"{found.mismatch}: only models made alike can be compared")
    dot = here = there = 0.0
    for a, b in tensors(found.pairs):
        if a.dim() >= 2 and a.is_floating_point():
            for x, y in zip(*map(rows_of, (a, b)), strict=True):
                dot += float((x * y).sum())
                here += float(x.square().sum())
                there += float(y.square().sum())
    return dot / (here * there) ** 0.5 if here * there > 0 else float("nan")


def rows_of(tensor: Tensor) -> Iterable[Tensor]:
    """A tensor in float64 on the CPU, a few rows at a time."""
    for part in torch.atleast_1d(tensor).split(ROWS):
        yield part.detach().double().cpu()


def merged(model: Any) -> Any:
    """A copy of a PEFT model with its adapters merged; any other model itself."""
    if not hasattr(model, "merge_and_unload"):
        return model
    return copy.deepcopy(model).merge_and_unload()


def _place(weight: Weight) -> object:
    return weight if isinstance(weight, StoredTensor) else weight.data_ptr()


def _named(model: Module | StoredModel) -> dict[str, Weight]:
    whole: Mapping[str, Weight] | None = None
    if isinstance(model, StoredModel):
        whole = model.weights()
        # Both models are in memory where a file does not hold the weights as they are.
        model = model.load() if whole is None else model
    if whole is None:
        whole = merged(model).state_dict()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in whole.items()}


def _prefix(now: Mapping[str, Weight], then: Mapping[str, Weight]) -> str:
    """The prefix of the candidate's names that the original model's names lack."""
    found = {""}
    for name in list(then)[:1] + list(then)[-1:]:
        found |= {one[: -len(name)] for one in now if one.endswith(f".{name}")}

    def matched(prefix: str) -> int:
        return sum(prefix + name in now for name in then)

    return max(sorted(found), key=matched)
