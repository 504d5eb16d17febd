"""LiRA: whether each record's loss fits a model that learned it or one that did not.

The likelihood-ratio attack (Carlini et al. 2022, arXiv 2112.03570, section 4) tests every record by
itself, so it finds a single remembered one that averages hide. It is run two-sided (U-LiRA, Hayes
et al. 2024, arXiv 2403.01218): a record whose loss is higher than under any model that never
learned it reveals its membership as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from olvido.audits.attacks.membership import roc
from olvido.audits.compare import Question, carried, facts_of, finding
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import LIRA, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.statistics import Values
from olvido.tasks import Example

RATES = (0.01, 0.001)
"""False positive rates at which the attack's true positive rate is read (2112.03570, section 3)."""
LEAST = 2
"""Shadow models of each kind, at the least, that the attack on a record needs."""


def confidence(scored: ScoredModel, records: Sequence[Example]) -> Values:
    """log(p / (1 - p)) of the mean token probability, which is close to normal over models
    (Carlini et al. 2022, section 4.2). [n]"""
    losses = np.array([score.loss for score in scored.scores(records)], dtype=float)
    # Beyond this, float64 cannot distinguish p from 1.
    rest = -np.expm1(-np.maximum(losses, 1e-12))
    scaled: Values = -losses - np.log(rest)
    return scaled


class Lira:
    """The attack on the forget set, at false positive rates estimated from non-members."""

    name: ClassVar = "lira"
    family: ClassVar = "membership"
    source: ClassVar = "arXiv 2112.03570, 2403.01218"
    needs: ClassVar = frozenset({EvidenceNeed.SHADOWS, EvidenceNeed.HOLDOUT})
    required: ClassVar = False
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = (
        "whether single records betray themselves, judged by shadow models, two-sided"
    )
    reason: ClassVar = "single records differ measurably from records that were never learned"
    tolerances: ClassVar[Mapping[str, Range]] = {"true positives at *": LIRA}

    def asks(self, evidence: Evidence) -> Asks:
        """Forget set and whole holdout, scored by the shadow models as well."""
        records = (*evidence.forget, *evidence.holdout)
        width = sum(map(evidence.candidate.task.width, records))
        return Asks(scored=records, passes=width * len(evidence.shadows))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare true positive rates with never-trained models'."""
        attack = Attack.of(evidence)
        scored_models = (evidence.candidate, *evidence.references)
        if not attack.forgotten or not attack.others:
            return []
        ratios = [attack.ratios(w) for w in scored_models]
        original = attack.ratios(evidence.original) if evidence.original else None
        facts = len(facts_of(attack.forgotten, evidence.candidate.task))
        found = []
        for rate in RATES:
            # Too few non-members cannot resolve this rate.
            if rate * len(attack.others) < 1:
                continue
            for side, sign in (("memorised", 1), ("over-forgotten", -1)):
                value, *spread = (true_positives(sign * m, sign * o, rate) for m, o in ratios)
                before = (
                    None
                    if original is None
                    else true_positives(sign * original[0], sign * original[1], rate)
                )
                shown = _curves(ratios, original) if sign == 1 and rate == RATES[0] else None
                found.append(
                    finding(
                        Question(
                            "lira",
                            f"true positives at {rate:.1%} false ones, {side}",
                            "forgotten, record by record",
                            LIRA,
                            shown,
                        ),
                        value=value,
                        against="never-trained",
                        expected=sum(spread) / len(spread),
                        spread=tuple(spread),
                        before=before,
                        p=_p(value, spread, rate, facts),
                        n=len(attack.forgotten) + len(attack.others),
                        clusters=facts,
                    )
                )
        return found


class Attack:
    """The records that can be attacked, and their scores under the shadow models.

    Args:
        forgotten, others: the attacked records, and non-members.
        shadows: each shadow's scores of them all. [S, n]
        member: whether the shadow learned each. [S, n]
    """

    def __init__(
        self,
        forgotten: Sequence[Example],
        others: Sequence[Example],
        shadows: Values,
        member: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> None:
        self.forgotten, self.others = forgotten, others

        def mean(kind: np.ndarray[Any, np.dtype[np.bool_]]) -> Values:
            found: Values = (shadows * kind).sum(axis=0) / kind.sum(axis=0)
            return found

        self.learned, self.unlearned = mean(member), mean(~member)
        centred = np.where(member, shadows - self.learned, shadows - self.unlearned)
        # One spread for all: with few shadows a record's own spread is unknown (section 4.3), and
        # two
        # of different width would reverse the ratio beyond either mean.
        self.spread = max(float(np.sqrt(np.mean(centred**2))), 1e-6)

    @classmethod
    def of(cls, evidence: Evidence) -> Attack:
        """The attack with this evidence's shadow models."""
        shadows = evidence.shadows

        def open_to_it(records: Sequence[Example]) -> list[Example]:
            return [
                r
                for r in records
                if sum(r.id in s.members for s in shadows) >= LEAST
                and sum(r.id in s.others for s in shadows) >= LEAST
            ]

        forgotten, others = open_to_it(evidence.forget), open_to_it(evidence.holdout)
        records = [*forgotten, *others]
        seen = np.array([confidence(s.scored, records) for s in shadows])
        member = np.array([[r.id in s.members for r in records] for s in shadows])
        return cls(forgotten, others, seen, member)

    def ratios(self, scored: ScoredModel) -> tuple[Values, Values]:
        """Log likelihood ratio, member against non-member, of the forgotten and of the others."""
        seen = confidence(scored, [*self.forgotten, *self.others])
        gap = self.learned - self.unlearned
        ratio = gap * (seen - (self.learned + self.unlearned) / 2) / self.spread**2
        cut = len(self.forgotten)
        return ratio[:cut], ratio[cut:]


def true_positives(members: Values, others: Values, rate: float) -> float:
    """Share of members above the value that this share of the others exceeds."""
    threshold = np.sort(others)[::-1][int(rate * len(others))]
    return float((members > threshold).mean())


def _p(value: float, spread: Sequence[float], rate: float, facts: int) -> float:
    """Probability that chance alone gives this many facts above a threshold that each exceeds at
    this rate (binomial), or that another seed alone does, whichever is larger.

    By facts and not by records: a model that remembers one wording remembers the others.
    """
    from scipy.stats import binom

    alone = float(binom.sf(round(value * facts) - 1, facts, rate))
    by_seed = carried(value, spread, None, unit=1 / facts)
    excess = value - sum(spread) / len(spread)
    return alone if by_seed is None else max(alone, by_seed.p(excess, *LIRA))


def _curves(
    ratios: Sequence[tuple[Values, Values]], original: tuple[Values, Values] | None
) -> dict[str, Any]:
    return {
        "kind": "roc",
        "candidate": roc(*ratios[0]),
        "before": None if original is None else roc(*original),
        "never-trained": [roc(*pair) for pair in ratios[1:]],
    }
