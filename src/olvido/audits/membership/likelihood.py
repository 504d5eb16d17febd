"""Likelihood: too little forgotten, or too much, both show in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

from olvido.audits.compare import with_never_trained
from olvido.audits.scoring import Witness
from olvido.audits.tolerances import LIKELIHOOD, Range
from olvido.audits.types import Evidence, Finding, Need
from olvido.tasks import Example


def loss(witness: Witness, records: Sequence[Example]) -> list[float]:
    """Mean negative log-likelihood of the completion, nats a token."""
    return [score.loss for score in witness.scores(records)]


class Likelihood:
    """The mean loss on the forgotten beside never-trained models, two-sided.

    The tolerance is a share of the never-trained models' own loss.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar = True
    summary: ClassVar = "whether the loss on the forgotten is that of never-trained models"

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare mean losses."""
        scale = fmean(fmean(loss(w, evidence.forget)) for w in evidence.references)
        assert LIKELIHOOD.low is not None
        assert LIKELIHOOD.high is not None
        tolerated = Range(LIKELIHOOD.low * scale, LIKELIHOOD.high * scale)
        return [
            with_never_trained(
                evidence,
                evidence.forget,
                loss,
                tolerated,
                audit="likelihood",
                metric="loss",
                probe="forgotten, as trained",
                known=tolerated,
            )
        ]
