"""Change: which weights moved, how far, and whether they are still of the same base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import Module

from olvido.audits.honesty.weights import SAME_BASE, Pairing, cosine, paired, rows_of

Kind = Literal["below", "block", "above"]


@dataclass(frozen=True)
class LayerChange:
    """How far one layer moved.

    Attributes:
        layer: its name: the module's path up to its number.
        kind: `below` the blocks (embeddings), a `block`, or `above` them (last norm, head).
        relative: Frobenius norm of the difference over that of the layer as it was; infinite where
            that was all zeros and is not any more.
        share: of entries that changed at all.
        squared: of the difference's Frobenius norm.
        entries: in the layer.
    """

    layer: str
    kind: Kind
    relative: float
    share: float
    squared: float
    entries: int


@dataclass(frozen=True)
class WeightChange:
    """How far a model moved from what it was.

    Attributes:
        layers: in the order of the model.
        mismatch: what is unlike in the making of both models, as a sentence; None: nothing.
        relative: as `LayerChange.relative`, over all weights together.
        share: as `LayerChange.share`, over all weights together.
        cosine: of the matrices of both models; nan where they are not made alike.
    """

    layers: tuple[LayerChange, ...]
    mismatch: str | None
    relative: float
    share: float
    cosine: float

    @property
    def moved(self) -> tuple[str, ...]:
        """Layers of which at least one entry changed."""
        return tuple(layer.layer for layer in self.layers if layer.share > 0)

    @property
    def at_the_end(self) -> float:
        """Share of the squared change that lies in the last block and above it; nan: no change.

        Near 1, the layers that hold the knowledge are as they were, and only the way out of them
        was bent. Tied weights count as embeddings.
        """
        blocks = [n for n, layer in enumerate(self.layers) if layer.kind == "block"]
        start = blocks[-1] if blocks else len(self.layers) - 1
        whole = sum(layer.squared for layer in self.layers)
        return sum(la.squared for la in self.layers[start:]) / whole if whole else float("nan")


def layers(model: Module) -> dict[str, list[str]]:
    """The names of a model's tensors by layer, in the model's order.

    A layer is what stands under the first number in a name (`model.layers.3`), or where there is
    none, the module that owns the tensor (`model.embed_tokens`, `conv1`).
    """
    found: dict[str, list[str]] = {}
    for name in model.state_dict():
        found.setdefault(layer_of(name), []).append(name)
    return found


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to, by its name.

    >>> layer_of("model.layers.3.mlp.up_proj.weight"), layer_of("model.norm.weight")
    ('model.layers.3', 'model.norm')
    """
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: place + 1])
    return ".".join(parts[:-1]) or name


def change(suspect: Module, before: Module) -> WeightChange:
    """Compare the weights of a suspect with those of the model as it was.

    Args:
        suspect: a module, PEFT model or wrapper; not changed. Adapters count as merged.
        before: the model as it was.

    Returns:
        Of two models made unlike, what they have in common, and what is unlike; numbers are nan
        where nothing is.
    """
    found = paired(suspect, before)
    if not found.pairs:
        nothing = float("nan")
        return WeightChange((), found.mismatch, nothing, nothing, nothing)
    groups: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, now, then in found.pairs:
        groups.setdefault(layer_of(name), []).append((now, then))
    kinds = _kinds(groups)
    sums = {layer: _sums(pairs) for layer, pairs in groups.items()}
    each = tuple(
        LayerChange(layer, kinds[layer], _relative(moved, old), changed / max(n, 1), moved, n)
        for layer, (moved, old, changed, n) in sums.items()
    )
    moved, old, changed, entries = (sum(column) for column in zip(*sums.values(), strict=True))
    return WeightChange(
        each,
        found.mismatch,
        _relative(moved, old),
        changed / max(entries, 1),
        float("nan") if found.mismatch else cosine(suspect, before),
    )


@dataclass(frozen=True)
class Descent:
    """Whether a suspect and never-trained models come from the base of the model as it was.

    Attributes:
        suspect: cosine of its matrices with those of the model as it was; nan: not made alike.
        references: the same for each never-trained model.
        mismatch: what is unlike in the suspect's making, as a sentence; None: nothing.
    """

    suspect: float
    references: tuple[float, ...]
    mismatch: str | None

    @property
    def other_base(self) -> bool:
        """Whether every never-trained model is of the base and the suspect is not.

        Where never-trained models have a base of their own, so may a suspect that was trained
        again, and nothing follows.
        """
        told = bool(self.references) and min(self.references) >= SAME_BASE
        return told and not self.suspect >= SAME_BASE


def descends(suspect: Module, before: Module, references: Sequence[Module]) -> Descent:
    """Compare the suspect's kinship to the model as it was with that of never-trained models."""
    found: Pairing = paired(suspect, before)
    return Descent(
        float("nan") if found.mismatch else cosine(suspect, before),
        tuple(cosine(reference, before) for reference in references),
        found.mismatch,
    )


def _kinds(names: Iterable[str]) -> dict[str, Kind]:
    ordered = list(names)
    numbered = [n for n, name in enumerate(ordered) if name.rsplit(".", 1)[-1].isdigit()]
    if not numbered:
        return dict.fromkeys(ordered, "block")
    return {
        name: "below" if n < numbered[0] else "above" if n > numbered[-1] else "block"
        for n, name in enumerate(ordered)
    }


def _sums(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float, int, int]:
    """Squared norm of the difference, squared norm as it was, entries changed, entries."""
    moved = old = 0.0
    changed = entries = 0
    for now, then in pairs:
        for a, b in zip(rows_of(now), rows_of(then), strict=True):
            moved += float((a - b).square().sum())
            old += float(b.square().sum())
            changed += int((a != b).sum())
            entries += b.numel()
    return moved, old, changed, entries


def _relative(moved: float, old: float) -> float:
    if moved == 0:
        return 0.0
    return (moved / old) ** 0.5 if old else float("inf")
