"""Recall: whether the model still says it, asked as trained or otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from olvido.audits.compare import with_never_trained
from olvido.audits.scoring import Witness
from olvido.audits.tolerances import PROBABILITY, RECALL, ROUGE
from olvido.audits.types import Evidence, Finding, Need
from olvido.tasks import Example


def exact(witness: Witness, records: Sequence[Example]) -> list[float]:
    """1 where greedy decoding gives exactly the completion."""
    return [float(score.exact) for score in witness.scores(records)]


def probability(witness: Witness, records: Sequence[Example]) -> list[float]:
    """Geometric mean probability of the completion's tokens."""
    return [score.probability for score in witness.scores(records)]


def rouge(witness: Witness, records: Sequence[Example]) -> list[float]:
    """ROUGE-L recall of the greedy answer (Lin 2004), without stemming."""
    answers = witness.answers(records)
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

    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar = True
    summary: ClassVar = "what the model still says of the forgotten, asked as trained"
    name: ClassVar = "recall"
    probe: ClassVar = "forgotten, as trained"

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.forget

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare three measures of recall with never-trained models."""
        return [
            with_never_trained(
                evidence,
                self.probes(evidence),
                measure,
                tolerated,
                audit=self.name,
                metric=metric,
                probe=self.probe,
                known=tolerated,
            )
            for metric, measure, tolerated in (
                ("exact match", exact, RECALL),
                ("ROUGE-L", rouge, ROUGE),
                ("probability", probability, PROBABILITY),
            )
        ]


class Paraphrase(Recall):
    """The same of the forgotten behind questions that no model was trained on (2309.17410)."""

    needs: ClassVar = frozenset({Need.PARAPHRASES})
    summary: ClassVar = "what the model still says of the forgotten when the question is rephrased"
    name: ClassVar = "paraphrase"
    probe: ClassVar = "forgotten, rephrased"

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.paraphrased
