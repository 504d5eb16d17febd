"""Recall: whether the model still gives the answer, asked as trained or otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from olvido.audits.compare import Measure, Question, with_never_trained
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import PROBABILITY, RECALL, ROUGE, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.tasks import Example


def exact(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """1 where greedy decoding gives exactly the completion."""
    return [float(score.exact) for score in scored.scores(records)]


def probability(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Geometric mean probability of the completion's tokens."""
    return [score.probability for score in scored.scores(records)]


def rouge(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """ROUGE-L recall of the greedy answer (Lin 2004), without stemming."""
    answers = scored.answers(records)
    return [
        _rouge_scorer().score(record.completion, answer)["rougeL"].recall
        for record, answer in zip(records, answers, strict=True)
    ]


class _Words:
    """Splits into words in any script; rouge-score's own splitter drops accented letters."""

    def tokenize(self, text: str) -> list[str]:
        import re

        return re.findall(r"\w+", text.casefold())


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


class Recall:
    """Exact match, ROUGE-L and probability of the forgotten, asked as trained."""

    name: ClassVar = "recall"
    family: ClassVar = "asked"
    source: ClassVar = ""
    needs: ClassVar[frozenset[EvidenceNeed]] = frozenset()
    required: ClassVar = True
    level: ClassVar = Level.QUICK
    summary: ClassVar = "what the model still says of the forgotten, asked as trained"
    reason: ClassVar = "the model still recalls the forgotten"
    probe: ClassVar = "forgotten, as trained"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "exact match": RECALL,
        "probability": PROBABILITY,
        "ROUGE-L": ROUGE,
    }

    def probes(self, evidence: Evidence) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """The forgotten questions, and those of the control subjects."""
        return evidence.forget, evidence.controls

    def asks(self, evidence: Evidence) -> Asks:
        """Score every question; generate answers to the forgotten ones."""
        probes, controls = self.probes(evidence)
        return Asks(probes, controls, _spoken(evidence, probes))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare measures of recall with never-trained models."""
        probes, controls = self.probes(evidence)
        # Most models that never saw a record predict its class: that the original model did little
        # better does not mean that it was not taught. Only the loss shows that (`likelihood`).
        known = evidence.has(EvidenceNeed.LANGUAGE)

        def found(metric: str, measure: Measure, tolerated: Range, **extra: Any) -> Finding:
            question = Question(
                self.name, metric, self.probe, tolerated, extra.pop("exhibit", None)
            )
            return with_never_trained(evidence, question, probes, measure, known=known, **extra)

        findings = [
            found("exact match", exact, RECALL, controls=controls),
            found("probability", probability, PROBABILITY, controls=controls),
        ]
        if asked := _spoken(evidence, probes):
            # Generation is too expensive for a crowd of controls.
            shown = answers(evidence, asked, self.name)
            findings.append(found("ROUGE-L", rouge, ROUGE, exhibit=shown))
        return findings


class Paraphrase(Recall):
    """Recall of the forgotten facts behind questions never trained on (2309.17410)."""

    name: ClassVar = "paraphrase"
    family: ClassVar = "turned"
    source: ClassVar = "arXiv 2309.17410"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE, EvidenceNeed.PARAPHRASES})
    summary: ClassVar = "what the model still says of the forgotten when the question is rephrased"
    reason: ClassVar = "the model still recalls the forgotten when the question is rephrased"
    probe: ClassVar = "forgotten, rephrased"

    def probes(self, evidence: Evidence) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """The forgotten questions rephrased, and those of the control subjects."""
        return evidence.paraphrased, evidence.paraphrased_controls


def _spoken(evidence: Evidence, probes: tuple[Example, ...]) -> tuple[Example, ...]:
    """The probes that are answered by generation."""
    return probes if evidence.has(EvidenceNeed.LANGUAGE) else ()


def answers(
    evidence: Evidence, probes: Sequence[Example], probe: str, most: int = 12
) -> dict[str, Any]:
    """Each model's answers to some of the probes, one for each fact first, for display."""
    facts = {(record.subjects, record.completion): record for record in reversed(probes)}
    shown = list(facts.values())[::-1][:most]
    said = [scored.answers(shown) for scored in (evidence.candidate, evidence.references[0])]
    original = evidence.original.answers(shown) if evidence.original else [None] * len(shown)
    return {
        "kind": "answers",
        "rows": [
            {
                "probe": probe,
                "question": record.prompt,
                "truth": record.completion,
                "candidate": now,
                "before": then,
                "never-trained": never,
            }
            for record, now, then, never in zip(shown, said[0], original, said[1], strict=True)
        ],
    }
