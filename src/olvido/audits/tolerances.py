"""How far from the expected a forgotten model may be. One place, fixed before any result.

Each row: what value - expected may be, from low to high; None leaves that side open.
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
        """Whether an excess lies within; nan never does."""
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
"""Bits by which the truth stands out more than under never-trained models: one halves its rank."""

SAMPLED = Range(None, 0.10)
"""Share of facts that slip out of many answers, above never-trained models."""

TRUTH = Range(None, 0.10)
"""Share of the truth beside false answers of its form, above never-trained models."""

CHOICE = Range(None, 0.25)
"""Share of right answers chosen among four, above never-trained models."""

LIKELIHOOD = Range(-0.25, 0.25)
"""Mean loss on the forgotten, as a share of never-trained models' loss: less is remembered, more is
over-forgetting, which betrays membership just as well (arXiv 2403.01218)."""

MEMBERSHIP = Range(-0.15, 0.15)
"""AUC of a loss attack against true non-members, beside that against never-trained models."""

RELEARNED = Range(None, 0.10)
"""Probability of what was not relearned, above never-trained models that relearned the same."""

INSIDE = Range(None, 0.15)
"""Share of the knowledge that layers keep, above never-trained models."""

EVASION = Range(None, 0.25)
"""Share of questions refused, or answered all alike, above never-trained models."""

LIRA = Range(None, 0.05)
"""Share of forgotten records that a record-by-record attack finds at a false positive rate of 1% or
0.1%, above never-trained models, on either side."""

KEPT = Range(-0.03, None)
"""Recall of what is kept, below the original model (or never-trained models without it)."""

UTILITY = Range(-0.05, None)
"""TOFU's model utility, below the original model (or never-trained models)."""

REPETITION = Range(None, 0.10)
"""Share of repeated word pairs in answers, above never-trained models."""

GIBBERISH = Range(None, 2.0)
"""Nats a token by which never-trained models find the candidate's answers stranger as language."""

ANY = Range(None, None)
"""Of what is shown and not judged."""

ONLY_WORSE = Range(0.0, None)
"""Of what should be so."""

AT_THE_END = Range(None, 0.5)
"""Share of the weights' change that lies in the last layer, above never-trained models."""

NONE = Range(0.0, 0.0)
"""Of what is either so or not so."""

CONDUCT: frozenset[str] = frozenset({"fluency", "refusal"})
"""Audits of how a model answers, not of what it knows: they vote since they name pretenders that
others do not."""

WRONGLY_REFUSED = 0.01
"""How often, at the most, any of the references of an audit is called contaminated that is not."""

KNOWN_BETTER = 0.25
"""Share of the loss by which a reference has to know the forgotten better than the holdout, before
a test on it alone counts: people of one town share streets and dishes that others have not."""

HALF_WAY = 0.5
"""Share of what the original knows of the forgotten beyond which a reference is no reference."""

CONTROL = 0.05
"""Error probability at which the original is known to know the forgotten better than a reference,
and a kept record better than a forgotten."""

ADVISORY: frozenset[tuple[str, str]] = frozenset(
    {("truth", "forget quality"), ("difference", "AUC of the loss gained")}
)
"""Findings, by audit and metric, that are shown and do not vote.

The rule: a metric of what a model knows votes only where it tells models that saw the data from
models that did not. On at least 60 of which that is known, the 95% interval of its area under the
curve has to lie above 0.5 (docs/results/audit_of_audits.md). Two do not vote for reasons of their
own: forget quality takes records of one person for independent, and the share of the truth, of
which it is made, votes in its place; by the loss gained a retrained model betrays as much."""

OF_EXPECTED: frozenset[str] = frozenset({"likelihood"})
"""Audits whose tolerance is a share of the expected value."""


@cache
def table() -> Mapping[str, Mapping[str, Range]]:
    """What every finding is held to, by audit and metric, as each built-in audit says itself; `*`
    stands for any words. Whoever reads a report or a certificate holds it to the same table."""
    return {name: AUDITS[name].tolerances for name in AUDITS.built_in}


def tolerated(audit: str, metric: str, expected: float) -> Range | None:
    """What the table tolerates of a finding; None where it knows no such metric."""
    for pattern, (low, high) in table().get(audit, {}).items():
        if fnmatchcase(metric, pattern):
            scale = expected if audit in OF_EXPECTED else 1.0
            return Range(low and low * scale, high and high * scale)
    return None


def votes(audit: str, metric: str) -> bool:
    """Whether a finding counts in the verdict: one of an audit that Olvido brings, and that
    `ADVISORY` does not name. Nobody has measured yet whom a stranger's audit would convict."""
    return audit in table() and (audit, metric) not in ADVISORY


@cache
def version() -> str:
    """Digest of the whole table, which every report states: other tolerances, another version."""
    held = {audit: {m: list(r) for m, r in rows.items()} for audit, rows in table().items()}
    rates = [WRONGLY_REFUSED, KNOWN_BETTER, HALF_WAY, CONTROL]
    judged = [held, rates, sorted(ADVISORY)]
    return f"sha256:{sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()}"
