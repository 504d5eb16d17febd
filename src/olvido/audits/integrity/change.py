"""Weight change: which weights moved, how far, and whether both models share a base.

Weights that did not move have forgotten nothing, whatever the output says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch.nn import Module

from olvido.audits.compare import Question, finding
from olvido.audits.integrity.weights import SAME_BASE, Pairing, cosine, paired, rows_of, tensors
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import AT_THE_END, ONLY_WORSE, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.models.stored import StoredModel, Weight

Kind = Literal["below", "block", "above"]


@dataclass(frozen=True)
class LayerChange:
    """How far one layer moved.

    Attributes:
        layer: its name: the module's path up to its number.
        kind: `below` the blocks (embeddings), a `block`, or `above` them (last norm, head).
        relative: Frobenius norm of the difference over that of the original layer; infinite where
            the original was all zeros and the candidate is not.
        share: share of entries that changed at all.
        squared: squared Frobenius norm of the difference.
        entries: number of entries in the layer.
    """

    layer: str
    kind: Kind
    relative: float
    share: float
    squared: float
    entries: int


@dataclass(frozen=True)
class WeightChange:
    """How far a model moved from the original.

    Attributes:
        layers: changes in the order of the model.
        mismatch: the difference between both architectures, as a sentence; None: there is none.
        relative: as `LayerChange.relative`, over all weights together.
        share: as `LayerChange.share`, over all weights together.
        cosine: cosine of the matrices of both models; nan where their architectures differ.
    """

    layers: tuple[LayerChange, ...]
    mismatch: str | None
    relative: float
    share: float
    cosine: float

    @property
    def moved(self) -> tuple[str, ...]:
        """Layers with at least one changed entry."""
        return tuple(layer.layer for layer in self.layers if layer.share > 0)

    @property
    def at_the_end(self) -> float:
        """Share of the squared change that lies in the last block and above it; nan: no change.

        Near 1, the layers that store the knowledge did not change, and only the path out of them
        did. Tied weights count as embeddings.
        """
        blocks = [n for n, layer in enumerate(self.layers) if layer.kind == "block"]
        start = blocks[-1] if blocks else len(self.layers) - 1
        whole = sum(layer.squared for layer in self.layers)
        return sum(la.squared for la in self.layers[start:]) / whole if whole else float("nan")


def layers(model: Module) -> dict[str, list[str]]:
    """The names of a model's tensors by layer, in the model's order.

    A layer is everything under the first number in a name (`model.layers.3`) or, without a number,
    the module that owns the tensor (`model.embed_tokens`, `conv1`).
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


def change(candidate: Module | StoredModel, original: Module | StoredModel) -> WeightChange:
    """Compare the weights of a candidate with those of the original model.

    Args:
        candidate: a module, PEFT model or wrapper, not changed, or a stored model, read weight by
            weight. Adapters count as merged.
        original: the original model.

    Returns:
        For two models of different architecture: the shared layers, and a sentence that names the
        difference; numbers are nan where no layer is shared.
    """
    found = paired(candidate, original)
    if not found.pairs:
        nothing = float("nan")
        return WeightChange((), found.mismatch, nothing, nothing, nothing)
    groups: dict[str, list[tuple[str, Weight, Weight]]] = {}
    for pair in found.pairs:
        groups.setdefault(layer_of(pair[0]), []).append(pair)
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
        float("nan") if found.mismatch else cosine(candidate, original),
    )


@dataclass(frozen=True)
class SharedBase:
    """Whether a candidate and never-trained models come from the base of the original model.

    Attributes:
        candidate: cosine of its matrices with those of the original model; nan where architectures
            differ.
        references: the same for each never-trained model.
        mismatch: the difference of the candidate's architecture, as a sentence; None: there is
        none.
    """

    candidate: float
    references: tuple[float, ...]
    mismatch: str | None

    @property
    def other_base(self) -> bool:
        """Whether every never-trained model has the original's base and the candidate has not.

        Where never-trained models have bases of their own, a retrained candidate may have one too,
        and nothing follows.
        """
        shared = bool(self.references) and min(self.references) >= SAME_BASE
        return shared and not self.candidate >= SAME_BASE


def descends(
    candidate: Module | StoredModel,
    original: Module | StoredModel,
    references: Sequence[Module | StoredModel],
) -> SharedBase:
    """Compare the candidate's kinship to the original model with that of never-trained models."""
    found: Pairing = paired(candidate, original)
    return SharedBase(
        float("nan") if found.mismatch else cosine(candidate, original),
        tuple(cosine(reference, original) for reference in references),
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


def _sums(pairs: Iterable[tuple[str, Weight, Weight]]) -> tuple[float, float, int, int]:
    """Squared norm of the difference, squared norm of the original, entries changed, entries."""
    moved = old = 0.0
    changed = entries = 0
    for now, then in tensors(pairs):
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


class WeightMovement:
    """Whether and where the weights differ from the original model, and whether they descend from
    it.

    Compared with never-trained models: where their training changed only the last layers, or
    began elsewhere, so may the candidate's.
    """

    name: ClassVar = "change"
    family: ClassVar = "honesty"
    source: ClassVar = ""
    needs: ClassVar = frozenset({EvidenceNeed.ORIGINAL})
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether the weights changed, where, and from which base they came"
    reason: ClassVar = "the weights are not those of the model, made to forget"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "weights changed": ONLY_WORSE,
        "made like the original model": ONLY_WORSE,
        "of the same base": ONLY_WORSE,
        "share of the change in the last layer": AT_THE_END,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """Nothing: weights are compared without queries."""
        return Asks()

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare digests, layers and bases."""
        original = evidence.original
        assert original is not None
        if evidence.candidate.digest == original.digest:
            found = _either(evidence, "weights changed", lambda w: w.digest != original.digest)
            return [found.but(failing="the weights did not change")]
        models = (evidence.candidate, *evidence.references)
        moved = [change(w.source, original.source) for w in models]
        kinship = descends(models[0].source, original.source, [w.source for w in models[1:]])
        alike = _either(evidence, "made like the original model", lambda w: _alike(w, original))
        if moved[0].mismatch:
            return [alike.but(failing=f"another architecture: {moved[0].mismatch}")]
        base = _either(
            evidence,
            "of the same base",
            lambda w: (
                not kinship.other_base
                if w is evidence.candidate
                else kinship.references[models.index(w) - 1] >= SAME_BASE
            ),
        )
        if kinship.other_base:
            base = base.but(
                failing="from another base: the weights' cosine with the original model is "
                f"{kinship.candidate:.2f}, that of never-trained models "
                f"{min(kinship.references):.2f} or more",
            )
        return [
            _either(
                evidence, "weights changed", lambda w: w.digest != original.digest, _shown(moved)
            ),
            base,
            _where(moved),
        ]


def _alike(scored: ScoredModel, original: ScoredModel) -> bool:
    return paired(scored.source, original.source).mismatch is None


def _either(
    evidence: Evidence, metric: str, holds: Any, shown: dict[str, Any] | None = None
) -> Finding:
    """A yes-or-no finding; a candidate better than never-trained models does not fail."""
    return finding(
        Question("change", metric, "all weights", ONLY_WORSE, shown),
        value=float(holds(evidence.candidate)),
        against="never-trained",
        expected=1.0,
        spread=tuple(float(holds(w)) for w in evidence.references),
        before=None,
        n=1,
        clusters=1,
    )


def _where(moved: Sequence[WeightChange]) -> Finding:
    """Whether nothing below the last block moved, although training changes these layers."""
    candidate, *others = (found.at_the_end for found in moved)
    expected = max((o for o in others if not math.isnan(o)), default=1.0)
    found = finding(
        Question("change", "share of the change in the last layer", "all weights", AT_THE_END),
        value=candidate,
        against="never-trained",
        expected=expected,
        spread=tuple(others),
        before=None,
        n=1,
        clusters=1,
    )
    return found.but(failing="only the last layer changed: what lies below computes as it did")


def _shown(moved: Sequence[WeightChange]) -> dict[str, Any] | None:
    names = [layer.layer for layer in moved[0].layers]
    others = [m for m in moved[1:] if [layer.layer for layer in m.layers] == names]
    if not names or not others:
        return None

    def relative(found: WeightChange) -> list[float]:
        return [layer.relative for layer in found.layers]

    return {
        "kind": "bars",
        "y": "change of the weights, relative to what they were",
        "x": names,
        "candidate": relative(moved[0]),
        "before": None,
        "never-trained": [
            sum(column) / len(others) for column in zip(*map(relative, others), strict=True)
        ],
    }
