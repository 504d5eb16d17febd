"""Classes: a classifier that gave up one class entirely still answers most of the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from olvido.audits.compare import Question, finding
from olvido.audits.knowledge.recall import exact
from olvido.audits.tolerances import KEPT, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level, Status
from olvido.statistics import Chance, Values, clusters_of

LEAST = 5
"""Retained records of a class, at the least, to judge its accuracy."""


class Classes:
    """Retain-set accuracy of the class that lost most; for classifiers alone.

    A mean over all classes hardly moves where one of many is lost.
    """

    name: ClassVar = "classes"
    family: ClassVar = "kept"
    source: ClassVar = ""
    needs: ClassVar = frozenset({EvidenceNeed.CLASSES, EvidenceNeed.RETAIN})
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether any class that a classifier was to keep was lost"
    reason: ClassVar = "collateral damage: a class was lost"
    tolerances: ClassVar[Mapping[str, Range]] = {"exact match of the class that lost most": KEPT}

    def asks(self, evidence: Evidence) -> Asks:
        """The retain set, scored."""
        return Asks(evidence.retain)

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare every class with the original model, and name the one that lost most."""
        kept = evidence.retain
        classes = [c for c in clusters_of([r.completion for r in kept]) if len(c) >= LEAST]
        if not classes:
            return []

        def shares(values: Sequence[float]) -> Values:
            return np.array([np.array(values)[places].mean() for places in classes])

        candidate = shares(exact(evidence.candidate, kept))
        never = np.array([shares(exact(w, kept)) for w in evidence.references])
        original = None if evidence.original is None else shares(exact(evidence.original, kept))
        compared = (
            never.mean(axis=0) if original is None else np.minimum(original, never.mean(axis=0))
        )
        worst = int((candidate - compared).argmin())
        places = classes[worst]
        value, expected = float(candidate[worst]), float(compared[worst])
        learned = never if original is None else np.vstack([never, original])
        by_seed = _seeded(learned, 1 / len(places))
        excess = value - expected
        p = max(_drawn(value, expected, len(places)), by_seed.p(excess, *KEPT))
        found = finding(
            Question(
                "classes",
                "exact match of the class that lost most",
                f"retained, class {kept[places[0]].completion}",
                KEPT,
            ),
            value=value,
            against="never-trained" if original is None or original[worst] > expected else "before",
            expected=expected,
            spread=tuple(never[:, worst].tolist()),
            before=None if original is None else float(original[worst]),
            interval=by_seed.interval(excess),
            # The worst was chosen among all of them.
            p=min(1.0, len(classes) * p),
            n=len(places),
            clusters=len(places),
        )
        # As for the whole retain set: a model that lost most of it does not pass.
        return [found.but(status=Status.UNKNOWN) if value < expected / 2 else found]


def _drawn(value: float, expected: float, n: int) -> float:
    """P-value of this many misses in a class, each at the tolerated rate (binomial)."""
    from scipy.stats import binom

    assert KEPT.low is not None
    missed = round((1 - value) * n)
    return float(binom.sf(missed - 1, n, min(1.0, max(0.0, 1 - expected - KEPT.low))))


def _seeded(learned: Values, unit: float) -> Chance:
    """How far another seed carries a class, from all classes of all models that learned them.

    Args:
        learned: accuracies. [models, classes]
        unit: the share of one record.
    """
    models, classes = learned.shape
    if models < 2:
        return Chance(unit, math.inf)
    spread = float(learned.var(axis=0, ddof=1).mean())
    return Chance(math.sqrt(spread * (1 + 1 / models) + unit**2), (models - 1) * classes)
