"""Loss difference: an attacker who holds both versions of a model compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from olvido.audits.attacks.membership import loss_attack
from olvido.audits.compare import Question, facts_of, finding
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import ANY, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.statistics import auc


class LossDifference:
    """How well a record's gain in loss separates forget set and retain set (arXiv 1912.07942).

    Retraining reveals as much to whoever has the old version, so the finding does not vote.
    """

    name: ClassVar = "difference"
    family: ClassVar = "membership"
    source: ClassVar = "arXiv 1912.07942"
    needs: ClassVar = frozenset({EvidenceNeed.ORIGINAL, EvidenceNeed.RETAIN})
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = (
        "what both versions together betray about who was forgotten; shown, does not vote"
    )
    reason: ClassVar = "both versions together reveal who was forgotten"
    tolerances: ClassVar[Mapping[str, Range]] = {"AUC of the loss gained": ANY}

    def asks(self, evidence: Evidence) -> Asks:
        """Forget set and retain set, scored."""
        return Asks((*evidence.forget, *evidence.retain))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the attack's AUC with that on never-trained models."""
        original = evidence.original
        assert original is not None

        def area(scored: ScoredModel) -> float:
            forget_areas, kept = (
                np.array(loss_attack(original, records)) - np.array(loss_attack(scored, records))
                for records in (evidence.forget, evidence.retain)
            )
            return auc(forget_areas, kept)

        spread = tuple(map(area, evidence.references))
        return [
            finding(
                Question("difference", "AUC of the loss gained", "forgotten against kept", ANY),
                value=area(evidence.candidate),
                against="never-trained",
                expected=sum(spread) / len(spread),
                spread=spread,
                before=None,
                n=len(evidence.forget) + len(evidence.retain),
                clusters=len(facts_of(evidence.forget, evidence.candidate.task)),
            )
        ]
