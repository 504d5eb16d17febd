"""Likelihood: the loss shows both too little forgetting and over-forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import ClassVar

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import LIKELIHOOD, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.tasks import Example


def loss(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Mean negative log-likelihood of the completion, nats a token."""
    return [score.loss for score in scored.scores(records)]


class Likelihood:
    """The mean loss on the forget set compared with never-trained models, two-sided.

    The tolerance is a share of the never-trained models' own loss.
    """

    name: ClassVar = "likelihood"
    family: ClassVar = "asked"
    source: ClassVar = "arXiv 2403.01218"
    needs: ClassVar[frozenset[EvidenceNeed]] = frozenset()
    required: ClassVar = True
    level: ClassVar = Level.QUICK
    summary: ClassVar = (
        "whether the loss on the forgotten is that of never-trained models, two-sided"
    )
    reason: ClassVar = "the loss on the forgotten is not that of never-trained models"
    tolerances: ClassVar[Mapping[str, Range]] = {"loss": LIKELIHOOD}

    def asks(self, evidence: Evidence) -> Asks:
        """Forget set and controls, scored."""
        return Asks(evidence.forget, evidence.controls)

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare mean losses."""
        scale = fmean(fmean(loss(w, evidence.forget)) for w in evidence.references)
        assert LIKELIHOOD.low is not None
        assert LIKELIHOOD.high is not None
        tolerated = Range(LIKELIHOOD.low * scale, LIKELIHOOD.high * scale)
        shown = {
            "kind": "losses",
            "unit": "nats a token",
            "candidate": loss(evidence.candidate, evidence.forget),
            "before": loss(evidence.original, evidence.forget) if evidence.original else None,
            "never-trained": [
                value for w in evidence.references for value in loss(w, evidence.forget)
            ],
            "holdout": loss(evidence.candidate, evidence.controls),
        }
        question = Question("likelihood", "loss", "forgotten, as trained", tolerated, shown)
        return [
            with_never_trained(
                evidence,
                question,
                evidence.forget,
                loss,
                controls=evidence.controls,
                known=True,
            )
        ]
