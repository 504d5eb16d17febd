"""Membership inference: separate the forget set from records that were never trained on.

Every attack gives a record a number that is higher for members. Its AUC, forgotten against true
non-members, is compared with the same attack on never-trained models, for which the forgotten are
non-members as well, two-sided: a record that stands out as *less* known than a non-member's reveals
itself just as well (arXiv 2403.01218).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from olvido.audits.compare import Measure, Question, against_never_trained, facts_of, grouped
from olvido.audits.scoring import Score, ScoredModel
from olvido.audits.tolerances import MEMBERSHIP, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.statistics import LEAST_CONTROLS, Values, auc
from olvido.tasks import Example

LEAST_LIKELY = 0.2
"""Share of tokens that min-k averages (Shi et al. 2023 use 0.2)."""


def loss_attack(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Minus the loss (Yeom et al. 2018, arXiv 1709.01604)."""
    return [-score.loss for score in scored.scores(records)]


def zlib_attack(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Log-probability a byte of the compressed text (Carlini et al. 2021, arXiv 2012.07805)."""
    return [
        score.log_p / len(zlib.compress(record.completion.encode()))
        for record, score in zip(records, scored.scores(records), strict=True)
    ]


def min_k(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Mean log-probability of the least likely fifth of tokens (Shi et al. 2023, 2310.16789)."""
    return [_least(score.per_token) for score in scored.scores(records)]


def min_k_plus_plus(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Min-k of log-probabilities standardised by their mean and spread under the model
    (Zhang et al. 2024, arXiv 2404.02936, equation 3)."""
    return [_least(_standardised(score)) for score in scored.scores(records)]


def _standardised(score: Score) -> Values:
    # Where the model is certain there is no spread to standardise by.
    spread = np.sqrt(np.maximum(score.variance.astype(float), 1e-6))
    standardised: Values = (score.per_token.astype(float) - score.mean) / spread
    return standardised


def _least(values: Any) -> float:
    count = max(1, int(len(values) * LEAST_LIKELY))
    return float(np.sort(values)[:count].mean())


class Membership:
    """The loss attack, and attacks on single tokens."""

    name: ClassVar = "membership"
    family: ClassVar = "membership"
    source: ClassVar = "arXiv 1709.01604, 2012.07805, 2310.16789, 2404.02936"
    needs: ClassVar = frozenset({EvidenceNeed.HOLDOUT})
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = (
        "whether an attack (loss, zlib, min-k, min-k++, reference) tells the forgotten from true "
        "non-members"
    )
    reason: ClassVar = "an attack separates the forgotten from true non-members"
    tolerances: ClassVar[Mapping[str, Range]] = {"AUC of the * attack": MEMBERSHIP}

    def asks(self, evidence: Evidence) -> Asks:
        """Forget set and controls, scored."""
        return Asks(evidence.forget, evidence.controls)

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare each attack's AUC with the never-trained models'."""
        found = [_area_finding(evidence, "loss", loss_attack)]
        if len(grouped(evidence.controls, len(evidence.forget))) < LEAST_CONTROLS:
            # Chance cannot be estimated here: each further attack would be one more false alarm.
            return found
        if evidence.has(EvidenceNeed.LANGUAGE):
            found += [
                _area_finding(evidence, "zlib", zlib_attack),
                _area_finding(evidence, "min-k", min_k),
                _area_finding(evidence, "min-k++", min_k_plus_plus),
            ]
        if len(evidence.references) > 1:
            found.append(_reference_finding(evidence))
        return found


def _area_finding(evidence: Evidence, name: str, attack: Measure) -> Finding:
    scored_models = (evidence.candidate, *evidence.references)
    members = [np.array(attack(w, evidence.forget)) for w in scored_models]
    others = [np.array(attack(w, evidence.controls)) for w in scored_models]
    original, was_others = None, None
    if evidence.original is not None:
        original = np.array(attack(evidence.original, evidence.forget))
        was_others = np.array(attack(evidence.original, evidence.controls))
    shown = None
    if name == "loss":
        shown = {
            "kind": "roc",
            "candidate": roc(members[0], others[0]),
            "before": None if original is None or was_others is None else roc(original, was_others),
            "never-trained": [roc(m, o) for m, o in zip(members[1:], others[1:], strict=True)],
        }
    return _finding(
        evidence,
        f"AUC of the {name} attack",
        members,
        others,
        None if original is None or was_others is None else auc(original, was_others),
        shown,
    )


def _reference_finding(evidence: Evidence) -> Finding:
    """A model's loss less that of a never-trained one, which removes a text's difficulty
    (Carlini et al. 2021, section 5.2). Each reference is attacked with the help of the others."""
    scored_models = (evidence.candidate, *evidence.references)

    def attack(records: Sequence[Example]) -> tuple[list[Values], Values | None]:
        losses = np.array([loss_attack(w, records) for w in scored_models])
        found = [losses[0] - losses[1:].mean(axis=0)]
        for number in range(1, len(scored_models)):
            rest = [n for n in range(1, len(scored_models)) if n != number]
            found.append(losses[number] - losses[rest].mean(axis=0))
        original = None
        if evidence.original is not None:
            original = np.array(loss_attack(evidence.original, records)) - losses[1:].mean(axis=0)
        return found, original

    members, original = attack(evidence.forget)
    others, was_others = attack(evidence.controls)
    area = None if original is None or was_others is None else auc(original, was_others)
    return _finding(evidence, "AUC of the reference attack", members, others, area, None)


def _finding(
    evidence: Evidence,
    metric: str,
    members: Sequence[Values],
    others: Sequence[Values],
    before: float | None,
    shown: dict[str, Any] | None,
) -> Finding:
    groups = grouped(evidence.controls, len(evidence.forget))
    placebo = np.array([[_beside(row, group) for group in groups] for row in others])
    areas = np.array([[auc(m, o)] for m, o in zip(members, others, strict=True)])
    return against_never_trained(
        Question("membership", metric, "forgotten against never members", MEMBERSHIP, shown),
        areas,
        placebo if len(groups) > 1 else np.empty((len(others), 0)),
        before=before,
        known=True,
        n=len(evidence.forget) + len(evidence.controls),
        clusters=len(facts_of(evidence.forget, evidence.candidate.task)),
    )


def _beside(values: Values, group: Sequence[int]) -> float:
    """The AUC of one control subject against all the others."""
    rest = np.ones(len(values), dtype=bool)
    rest[list(group)] = False
    return auc(values[list(group)], values[rest]) if rest.any() else 0.5


def roc(members: Values, others: Values) -> dict[str, list[float]]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    return {
        "fpr": [0.0, *(float((others >= t).mean()) for t in thresholds)],
        "tpr": [0.0, *(float((members >= t).mean()) for t in thresholds)],
    }
