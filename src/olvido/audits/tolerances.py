"""How far a forgotten model may be from the expected values. Fixed before any result.

Each row is the tolerated range of value - expected; None leaves a side open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from olvido.audits.types import AUDITS


class Range(NamedTuple):
    """Tolerated range of value - expected."""

    low: float | None
    high: float | None

    def holds(self, excess: float) -> bool:
        """Whether an excess lies within the range; nan never does."""
        return (
            (self.low is None or excess >= self.low)
            and (self.high is None or excess <= self.high)
            and excess == excess
        )


RECALL = Range(None, 0.05)
"""Share of facts recalled above never-trained models: at most one in twenty."""

ROUGE = Range(None, 0.10)
"""ROUGE-L recall above never-trained models; some words of a wrong address are right by chance."""

PROBABILITY = Range(None, 0.05)
"""Mean token probability above never-trained models."""

EXTRACTION = Range(None, 0.10)
"""Extraction strength, and share of tokens said unprompted, above never-trained models; the common
words of an answer are said by anybody."""

EXPOSURE = Range(None, 1.0)
"""Exposure above never-trained models, in bits: one bit halves the answer's rank."""

SAMPLED = Range(None, 0.10)
"""Share of facts that leak from many sampled answers, above never-trained models."""

TRUTH = Range(None, 0.10)
"""Share of the truth beside false answers of its form, above never-trained models."""

CHOICE = Range(None, 0.25)
"""Share of right answers chosen among four, above never-trained models."""

LIKELIHOOD = Range(-0.25, 0.25)
"""Mean loss on the forget set, as a share of never-trained models' loss: lower is remembered,
higher over-forgetting, which reveals membership just as well (arXiv 2403.01218)."""

MEMBERSHIP = Range(-0.15, 0.15)
"""AUC of a loss attack against true non-members, beside that against never-trained models."""

RELEARNED = Range(None, 0.10)
"""Probability of facts that were not relearned, above never-trained models relearned the same."""

INSIDE = Range(None, 0.15)
"""Share of the knowledge that layers retain, above never-trained models."""

EVASION = Range(None, 0.25)
"""Share of questions refused, or answered all alike, above never-trained models."""

LIRA = Range(None, 0.05)
"""Share of forgotten records that a record-by-record attack finds at a false positive rate of 1% or
0.1%, above never-trained models, on either side."""

KEPT = Range(-0.03, None)
"""Recall of the retain set, below the original model (or never-trained models without it)."""

UTILITY = Range(-0.05, None)
"""TOFU's model utility, below the original model (or never-trained models)."""

REPETITION = Range(None, 0.10)
"""Share of repeated word pairs in answers, above never-trained models."""

GIBBERISH = Range(None, 2.0)
"""Loss of the candidate's answers under never-trained models above these models' own, in nats a
token."""

NAMES = Range(-0.25, None)
"""Share of the words of a name in the question that answers repeat, below never-trained models."""

ANY = Range(None, None)
"""The range of a metric that is reported and does not vote."""

ONLY_WORSE = Range(0.0, None)
"""The range of a property that must hold."""

AT_THE_END = Range(None, 0.5)
"""Share of the weights' change that lies in the last layer, above never-trained models."""

NONE = Range(0.0, 0.0)
"""The range of a yes-or-no metric."""

CONDUCT: frozenset[str] = frozenset({"fluency", "refusal"})
"""Audits of how a model answers, not of its knowledge: they vote since they find obfuscation that
others miss."""

WRONGLY_REFUSED = 0.01
"""Bound on the probability that any reference of an audit is wrongly called contaminated."""

KNOWN_BETTER = 0.25
"""Share of the loss by which a reference must know the forget set better than the holdout before
a test on it alone counts: people of one town share streets and dishes that others have not."""

HALF_WAY = 0.5
"""Share of the original's knowledge of the forget set beyond which a reference is unusable."""

CONTROL = 0.05
"""Error probability at which the original is known to know the forget set better than a reference,
and a retained record better than a forgotten one."""

ADVISORY: frozenset[tuple[str, str]] = frozenset(
    {
        ("truth", "forget quality"),
        ("difference", "AUC of the loss gained"),
        ("formats", "yes or no: right answer affirmed"),
        ("fluency", "names said"),
    }
)
"""Findings, by audit and metric, that are shown and do not vote.

The rule: a metric of a model's knowledge votes only where it separates models that saw the data
from models that did not. On at least 60 models with a known answer, the 95% interval of its area
under the curve has to lie above 0.5 (docs/results/audit_of_audits.md): a yes to a proposed answer
tells nothing there. Others do not vote for reasons of their own: forget quality assumes that the
records of one person are independent, and the share of the truth, on which it is based, votes in
its place; by the gain in loss a retrained model reveals as much. How often a name is repeated was
not measured on such models, and is about manners."""

OF_EXPECTED: frozenset[str] = frozenset({"likelihood"})
"""Audits whose tolerance is a share of the expected value."""


@cache
def table() -> Mapping[str, Mapping[str, Range]]:
    """Tolerances of every finding, by audit and metric, as each built-in audit declares them; `*`
    stands for any words. Readers of reports and certificates use the same table."""
    return {name: AUDITS[name].tolerances for name in AUDITS.built_in}


def tolerated(audit: str, metric: str, expected: float) -> Range | None:
    """The table's tolerance of a finding; None where it has no such metric."""
    for pattern, (low, high) in table().get(audit, {}).items():
        if fnmatchcase(metric, pattern):
            scale = expected if audit in OF_EXPECTED else 1.0
            return Range(low and low * scale, high and high * scale)
    return None


def votes(audit: str, metric: str) -> bool:
    """Whether a finding counts in the verdict: its audit is Olvido's own and not in `ADVISORY`. The
    false alarms of other audits are unmeasured."""
    return audit in table() and (audit, metric) not in ADVISORY


@cache
def version() -> str:
    """Digest of the whole table, stated in every report: other tolerances, another version."""
    held = {audit: {m: list(r) for m, r in rows.items()} for audit, rows in table().items()}
    rates = [WRONGLY_REFUSED, KNOWN_BETTER, HALF_WAY, CONTROL]
    judged = [held, rates, sorted(ADVISORY)]
    return f"sha256:{sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()}"
