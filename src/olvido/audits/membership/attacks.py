"""Membership: can an attacker tell the forgotten from records that were never trained on?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from olvido.audits.compare import finding
from olvido.audits.likelihood import loss
from olvido.audits.scoring import Witness
from olvido.audits.statistics import auc, clusters_of, excess_interval
from olvido.audits.tolerances import MEMBERSHIP
from olvido.audits.types import Evidence, Finding, Need, Status


class Membership:
    """A loss attack (Yeom et al. 2018, arXiv 1709.01604) against true non-members, two-sided.

    The attack scores a record by minus its loss; its AUC is compared with that of the same attack
    on never-trained models, for which the forgotten are non-members as well.
    """

    needs: ClassVar = frozenset({Need.HOLDOUT})
    required: ClassVar = False
    summary: ClassVar = "whether a loss attack tells the forgotten from true non-members"

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the attack's AUC with the never-trained models'."""
        value = np.array(_attack(evidence.suspect, evidence))
        others = [np.array(_attack(w, evidence)) for w in evidence.references]
        spread = tuple(_area(v, evidence) for v in others)
        before = None
        if evidence.before is not None:
            before = _area(np.array(_attack(evidence.before, evidence)), evidence)
        expected = sum(spread) / len(spread)
        area = _area(value, evidence)
        holds = MEMBERSHIP.holds(area - expected)
        records = (*evidence.forget, *evidence.holdout)
        return [
            finding(
                audit="membership",
                metric="AUC of the loss attack",
                probe="forgotten against never members",
                value=area,
                against="never-trained",
                spread=spread,
                before=before,
                interval=None if len(others) < 2 else _interval(value, others, evidence),
                n=len(records),
                clusters=len(clusters_of([r.completion for r in records])),
                tolerated=MEMBERSHIP,
                status=Status.PASS if holds else Status.FAIL,
            )
        ]


def _attack(witness: Witness, evidence: Evidence) -> list[float]:
    return [-value for value in loss(witness, (*evidence.forget, *evidence.holdout))]


def _area(scores: np.ndarray[tuple[int], np.dtype[np.float64]], evidence: Evidence) -> float:
    members = len(evidence.forget)
    return auc(scores[:members], scores[members:])


def _interval(
    value: np.ndarray[tuple[int], np.dtype[np.float64]],
    others: Sequence[np.ndarray[tuple[int], np.dtype[np.float64]]],
    evidence: Evidence,
) -> tuple[float, float]:
    """Resample the forgotten facts; the non-members, many and only a yardstick, stay."""
    members = len(evidence.forget)
    clusters = clusters_of([example.completion for example in evidence.forget])

    # Each forgotten record's share of non-members that it beats: their mean is the AUC, so the
    # bootstrap of a mean applies.
    def beaten(
        scores: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        strangers = np.sort(scores[members:])
        below = np.searchsorted(strangers, scores[:members], side="left")
        upto = np.searchsorted(strangers, scores[:members], side="right")
        return (below + upto) / (2 * len(strangers))

    return excess_interval(beaten(value), [beaten(v) for v in others], clusters)
