"""Model utility as TOFU defines it: one number for all knowledge that should be retained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from olvido.audits.compare import Question, carried, finding
from olvido.audits.knowledge.truth import model_utility, utility
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import UTILITY, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.tasks import Example

AUTHORS, FACTS = "real_authors", "world_facts"
"""Values of the field `split` that distinguish the sets of general knowledge, as in TOFU."""


class ModelUtility:
    """TOFU's model utility (arXiv 2401.06121, section 2.2.1) beside the original model.

    It needs retained records and both sets of general knowledge, all with perturbed answers, and is
    left out where one is missing.
    """

    name: ClassVar = "utility"
    family: ClassVar = "kept"
    source: ClassVar = "arXiv 2401.06121"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE, EvidenceNeed.RETAIN, EvidenceNeed.GENERAL})
    required: ClassVar = False
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "TOFU's model utility, where the records allow it"
    reason: ClassVar = "collateral damage: the model is less useful than before"
    tolerances: ClassVar[Mapping[str, Range]] = {"model utility": UTILITY}

    def asks(self, evidence: Evidence) -> Asks:
        """True and perturbed answers of every record scored, and each question answered."""
        sets = _sets(evidence)
        if sets is None:
            return Asks()
        records = [record for group in sets for record in group]
        lies = sum(
            evidence.candidate.task.width(r) * len(r.fields["perturbed_answers"]) for r in records
        )
        return Asks(
            tuple(records),
            answered=tuple(records),
            passes=lies,
            inside=(lambda scored: _value(scored, *sets),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare one number."""
        sets = _sets(evidence)
        if sets is None:
            return []
        before = _value(evidence.original, *sets) if evidence.original else None
        spread = tuple(_value(w, *sets) for w in evidence.references)
        expected = sum(spread) / len(spread)
        against = "never-trained"
        if before is not None and before < expected:
            expected, against = before, "before"
        useful, n = _value(evidence.candidate, *sets), sum(map(len, sets))
        by_seed = carried(useful, spread, before, unit=1 / n)
        return [
            finding(
                Question("utility", "model utility", "retained and general", UTILITY),
                value=useful,
                against=against,
                expected=expected,
                spread=spread,
                before=before,
                interval=None if by_seed is None else by_seed.interval(useful - expected),
                p=None if by_seed is None else by_seed.p(useful - expected, *UTILITY),
                n=n,
                clusters=3,
            )
        ]


def _value(
    scored: ScoredModel,
    retain: Sequence[Example],
    authors: Sequence[Example],
    facts: Sequence[Example],
) -> float:
    return model_utility(
        utility(scored, retain, options=False),
        utility(scored, authors, options=True),
        utility(scored, facts, options=True),
    )


def _sets(evidence: Evidence) -> tuple[list[Example], list[Example], list[Example]] | None:
    def of(records: Sequence[Example], split: str | None) -> list[Example]:
        return [
            r
            for r in records
            if r.fields.get("perturbed_answers") and split in (None, r.fields.get("split"))
        ]

    sets = of(evidence.retain, None), of(evidence.general, AUTHORS), of(evidence.general, FACTS)
    return sets if all(sets) else None
