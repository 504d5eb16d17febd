"""Retention: whether the model still does what it should have kept doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar

from olvido.audits.compare import Measure, Question, with_original
from olvido.audits.knowledge.recall import exact, probability, rouge
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import KEPT, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.tasks import Example

GENERATED = 24
"""Records answered by generation, at the most; exact match and probability use all."""
GROUPS = 20
"""Groups, at the most, for a table by group."""


class Retention:
    """Recall of the retain set, compared with the original model."""

    name: ClassVar = "retention"
    family: ClassVar = "kept"
    source: ClassVar = "arXiv 2401.06121"
    needs: ClassVar = frozenset({EvidenceNeed.RETAIN})
    required: ClassVar = True
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether the rest of what the model learned is still there"
    reason: ClassVar = "collateral damage: retained records were lost"
    probe: ClassVar = "retained"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "exact match": KEPT,
        "probability": KEPT,
        "ROUGE-L": KEPT,
    }

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.retain

    def asks(self, evidence: Evidence) -> Asks:
        """Score all; generate answers to some, at the worst with every model."""
        probes = self.probes(evidence)
        spoken = _spoken(evidence, probes)
        width = sum(map(evidence.candidate.task.width, spoken))

        def answer(scored: ScoredModel) -> None:
            # References only where the candidate fell behind; see `run`.
            if evidence.original is None or scored in (evidence.candidate, evidence.original):
                scored.answers(spoken)

        return Asks(probes, passes=len(evidence.models) * width, inside=(answer,))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare exact match, probability and ROUGE-L."""
        probes = self.probes(evidence)

        def found(metric: str, asked: Sequence[Example], measure: Measure, shown: Any) -> Finding:
            question = Question(self.name, metric, self.probe, KEPT, shown)
            return with_original(evidence, question, asked, measure)

        findings = [
            found("exact match", probes, exact, by_group(evidence, probes)),
            found("probability", probes, probability, None),
        ]
        if spoken := _spoken(evidence, probes):
            question = Question(self.name, "ROUGE-L", self.probe, KEPT)
            # Generation is expensive: never-trained models answer only where the candidate fell
            # behind.
            alone = replace(evidence, references=()) if evidence.original else evidence
            said = with_original(alone, question, spoken, rouge)
            if said.outside and evidence.original:
                said = with_original(evidence, question, spoken, rouge)
            findings.append(said)
        return findings


class Neighbours(Retention):
    """Retention of records near the forgotten ones: same template, near entity (2511.00030)."""

    name: ClassVar = "neighbours"
    family: ClassVar = "kept"
    source: ClassVar = "arXiv 2511.00030"
    needs: ClassVar = frozenset({EvidenceNeed.NEIGHBOURS})
    required: ClassVar = False
    summary: ClassVar = "whether what stands near the forgotten is still there"
    reason: ClassVar = "collateral damage: neighbours of the forgotten were lost"
    probe: ClassVar = "neighbours"

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.neighbours


class General(Retention):
    """Retention of general knowledge."""

    name: ClassVar = "general"
    family: ClassVar = "kept"
    source: ClassVar = "arXiv 2406.10890"
    needs: ClassVar = frozenset({EvidenceNeed.GENERAL})
    required: ClassVar = False
    summary: ClassVar = "whether general knowledge is still there"
    reason: ClassVar = "collateral damage: general knowledge was lost"
    probe: ClassVar = "general knowledge"

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.general


def _spoken(evidence: Evidence, probes: tuple[Example, ...]) -> tuple[Example, ...]:
    """Records evenly spread over the probes, to be answered by generation."""
    return probes[:: -(-len(probes) // GENERATED)] if evidence.has(EvidenceNeed.LANGUAGE) else ()


def by_group(evidence: Evidence, probes: Sequence[Example]) -> dict[str, Any] | None:
    """Exact match by topic, or by class for a classifier; None where all records are of one kind,
    or nearly every one of its own."""
    language = evidence.has(EvidenceNeed.LANGUAGE)
    kinds = [str(r.fields.get("topic", "")) if language else r.completion for r in probes]
    names = sorted(set(kinds))
    if not 1 < len(names) <= GROUPS:
        return None

    def shares(scored: ScoredModel) -> list[float]:
        values = exact(scored, probes)
        return [
            fmean(value for value, kind in zip(values, kinds, strict=True) if kind == name)
            for name in names
        ]

    never = [shares(scored) for scored in evidence.references]
    return {
        "kind": "bars",
        "y": "exact match by group",
        "x": [name or "without a topic" for name in names],
        "candidate": shares(evidence.candidate),
        "before": shares(evidence.original) if evidence.original else None,
        "never-trained": [fmean(column) for column in zip(*never, strict=True)],
    }
