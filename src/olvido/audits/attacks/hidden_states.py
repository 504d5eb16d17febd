"""Hidden states: whether a layer still holds an answer that the output no longer gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import ClassVar

import numpy as np
from torch import Tensor

from olvido.audits.attacks.lens import Reading, lens
from olvido.audits.attacks.patching import Patched, donated, patched_with, require_shared
from olvido.audits.attacks.patching import kept as share_kept
from olvido.audits.compare import Question, with_never_trained
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import INSIDE, PROBABILITY, Range
from olvido.audits.types import Asks, CannotEvaluate, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import InputError
from olvido.tasks import Example

RECORDS = {Level.STANDARD: 8, Level.THOROUGH: 40}
"""Records tested: every layer is read, or the model run anew for it."""
LAYERS = 12
"""Assumed layers of a model whose depth is unknown before it runs, to predict the time."""


class Lens:
    """The highest probability that any layer gives an answer, read through the model's own head."""

    name: ClassVar = "lens"
    family: ClassVar = "hidden"
    source: ClassVar = "arXiv 2506.12618"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE})
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = "whether an inner layer still holds the forgotten (logit lens)"
    reason: ClassVar = "an inner layer still holds the forgotten"
    tolerances: ClassVar[Mapping[str, Range]] = {"probability at the best layer": PROBABILITY}

    def asks(self, evidence: Evidence) -> Asks:
        """A few records, whose answers go through the head once a layer."""
        return Asks(
            passes=4 * _width(evidence) * len(evidence.models),
            inside=(partial(_read, _some(evidence)),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the best layer's probability with never-trained models'."""
        asked = _some(evidence)
        readings = {id(scored): _read(asked, scored) for scored in evidence.models}

        def best(scored: ScoredModel, records: Sequence[Example]) -> Sequence[float]:
            values: Sequence[float] = np.exp(readings[id(scored)].log_p).max(axis=0).tolist()
            return values

        def layers(scored: ScoredModel) -> list[float]:
            values: list[float] = readings[id(scored)].log_p.mean(axis=1).tolist()
            return values

        shown = {
            "kind": "layers",
            "y": "log-probability of the answer, nats a token",
            "layers": list(range(1, len(layers(evidence.candidate)) + 1)),
            "candidate": layers(evidence.candidate),
            "before": layers(evidence.original) if evidence.original else None,
            "never-trained": [layers(w) for w in evidence.references],
        }
        question = Question(
            "lens", "probability at the best layer", "forgotten, as trained", PROBABILITY, shown
        )
        return [with_never_trained(evidence, question, asked, best, known=True)]


class Patching:
    """How much the layers keep of what the original model knew (arXiv 2605.24614)."""

    name: ClassVar = "patching"
    family: ClassVar = "hidden"
    source: ClassVar = "arXiv 2605.24614"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE, EvidenceNeed.ORIGINAL})
    required: ClassVar = False
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "how much of the knowledge the layers keep (activation patching)"
    reason: ClassVar = "the layers keep the knowledge that the output no longer shows"
    tolerances: ClassVar[Mapping[str, Range]] = {"knowledge kept inside": INSIDE}

    def asks(self, evidence: Evidence) -> Asks:
        """A few records, run anew for every layer and pair of models."""
        layers = getattr(
            getattr(evidence.candidate.model, "config", None), "num_hidden_layers", LAYERS
        )
        # For each pair: the donor once, the receiver unpatched once and patched once for every
        # layer.
        return Asks(
            passes=2 * (layers + 2) * _width(evidence) * (len(evidence.references) + 1),
            inside=(partial(_prepare, evidence),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the retained share with that of never-trained models."""
        original, never = evidence.original, evidence.references[0]
        assert original is not None
        asked = _some(evidence)
        layers: dict[int, list[float]] = {}

        def kept(scored: ScoredModel, records: Sequence[Example]) -> Sequence[float]:
            if scored is original:
                return [1.0] * len(records)
            most = _patched(evidence, never)
            found = share_kept(_patched(evidence, scored), most)
            layers[id(scored)] = found.layers.tolist()
            # A record that no layer distinguishes from a never-learned one says nothing either way.
            values: Sequence[float] = np.nan_to_num(found.score).tolist()
            return values

        question = Question("patching", "knowledge kept inside", "forgotten, as trained", INSIDE)
        found = with_never_trained(evidence, question, asked, kept, known=True)
        shown = {
            "kind": "layers",
            "y": "share of the knowledge kept",
            "layers": list(range(1, len(layers[id(evidence.candidate)]) + 1)),
            "candidate": layers[id(evidence.candidate)],
            "before": None,
            "never-trained": [layers[id(w)] for w in evidence.references],
        }
        return [found.but(exhibit=shown)]


def _prepare(evidence: Evidence, scored: ScoredModel) -> None:
    """Keep a model's states, to be put into the original model when it is there: the last one."""
    if scored is not evidence.original:
        _donated(evidence, scored)
        return
    for donor in (evidence.candidate, *evidence.references):
        _patched(evidence, donor)


def _donated(evidence: Evidence, scored: ScoredModel) -> tuple[tuple[Tensor, ...], ...]:
    asked = _some(evidence)
    try:
        return scored.once("states", asked, lambda: donated(scored.model, asked, scored.task))
    except InputError as error:
        raise CannotEvaluate(str(error)) from error


def _patched(evidence: Evidence, donor: ScoredModel) -> Patched:
    """The original model with this model's states."""
    original, asked = evidence.original, _some(evidence)
    assert original is not None

    def find() -> Patched:
        require_shared(original.source, donor.source)
        states = _donated(evidence, donor)
        return patched_with(original.model, states, asked, original.task)

    try:
        return original.once(f"states of {donor.digest}", asked, find)
    except InputError as error:
        raise CannotEvaluate(str(error)) from error


def _read(asked: Sequence[Example], scored: ScoredModel) -> Reading:
    try:
        return scored.once("lens", asked, lambda: lens(scored.model, asked, scored.task))
    except InputError as error:
        raise CannotEvaluate(str(error)) from error


def _some(evidence: Evidence) -> list[Example]:
    """One record of each fact, as many as the level allows."""
    ordered = sorted(evidence.forget, key=lambda r: sha256(r.id.encode()).digest())
    facts = list({record.completion: record for record in ordered}.values())
    return facts[: RECORDS.get(evidence.level, RECORDS[Level.STANDARD])]


def _width(evidence: Evidence) -> int:
    return sum(map(evidence.candidate.task.width, _some(evidence)))
