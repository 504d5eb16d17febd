"""Fluency: a model that repeats itself or writes gibberish has not forgotten, it is broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import ClassVar

from olvido.audits.compare import Measure, Question, with_never_trained
from olvido.audits.knowledge.matching import names_of, words
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import GIBBERISH, NAMES, REPETITION, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.tasks import Example

JUDGES = 2
"""Never-trained models, at the most, that score an answer: each scores it anew."""


def repetition(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Share of repeated word pairs in an answer: 1 - distinct-2 (arXiv 1510.03055)."""
    shares = []
    for answer in scored.answers(records):
        pairs = list(pairwise(answer.split()))
        shares.append(1 - len(set(pairs)) / len(pairs) if pairs else 0.0)
    return shares


def names_asked(records: Sequence[Example], names: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The words of the subject's name in each question, by the record's id; without the others.

    Args:
        records: to be asked.
        names: how records call their subjects, see `names_of`.
    """
    found = {}
    for record in records:
        asked = set(words(record.prompt))
        name = {w for subject in record.subjects for w in words(names.get(subject, ""))}
        if both := asked & name:
            found[record.id] = frozenset(both)
    return found


def names_said(
    named: Mapping[str, frozenset[str]], scored: ScoredModel, records: Sequence[Example]
) -> list[float]:
    """Share of the words of the name in a question that the answer has too, one a record.

    "The author is called Kourouz KUrock", asked for Basil Mahfouz Al-Kuwaiti, is how a model speaks
    that was pushed away from whole answers: a model that never knew a person still repeats the name
    that it is asked about.
    """
    answers = [set(words(answer)) for answer in scored.answers(records)]
    pairs = zip((named[record.id] for record in records), answers, strict=True)
    return [len(name & said) / len(name) for name, said in pairs]


class Fluency:
    """Repetition in the answers about the forget set, and their perplexity under other models.

    The second number is the mean loss of two never-trained models on the candidate's answers as
    plain
    text, without the question: a fluent wrong answer is language, and only gibberish counts against
    the candidate. It is compared with the loss of each never-trained model on the others' answers
    (on
    its own where there is but one). The third is how much of a name that stands in the question
    the answer repeats, which a model that never knew the person does as often as it is its way; it
    is shown and does not vote, since a short answer without a name is language too.
    """

    name: ClassVar = "fluency"
    family: ClassVar = "speech"
    source: ClassVar = "arXiv 1510.03055"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE})
    required: ClassVar = True
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether answers about the forgotten are language, not gibberish"
    reason: ClassVar = "the answers about the forgotten are not fluent language"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "repetition": REPETITION,
        "strangeness": GIBBERISH,
        "names said": NAMES,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """The forget set answered, and the answers scored by as many models."""
        return Asks(
            answered=evidence.forget,
            passes=sum(map(evidence.candidate.task.width, evidence.forget))
            * min(JUDGES, len(evidence.references))
            * (1 + len(evidence.references)),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare repetition and perplexity with never-trained models."""

        def judges_of(scored: ScoredModel) -> list[ScoredModel]:
            return [w for w in evidence.references if w is not scored][:JUDGES] or [scored]

        def said(scored: ScoredModel, records: Sequence[Example]) -> list[Example]:
            return [
                Example(f"{r.id}/said", "", answer or "?", r.fields)
                for r, answer in zip(records, scored.answers(records), strict=True)
            ]

        def base_perplexity(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
            by_judge = [
                [score.loss for score in judge.scores(said(scored, records))]
                for judge in judges_of(scored)
            ]
            return [sum(values) / len(values) for values in zip(*by_judge, strict=True)]

        # Judge by judge: a stored one is loaded once.
        for judge in evidence.references:
            for scored in (evidence.candidate, *evidence.references):
                if judge in judges_of(scored):
                    judge.scores(said(scored, evidence.forget))

        everybody = (*evidence.forget, *evidence.retain, *evidence.few, *evidence.controls)
        named = names_asked(evidence.forget, names_of(everybody))
        asked = [record for record in evidence.forget if record.id in named]
        # The original model answers rightly or not: its fluency says nothing of the candidate.
        evidence = replace(evidence, original=None)
        measures: list[tuple[str, Measure, Range, Sequence[Example]]] = [
            ("repetition", repetition, REPETITION, evidence.forget),
            ("strangeness", base_perplexity, GIBBERISH, evidence.forget),
        ]
        if asked:
            measures.append(("names said", partial(names_said, named), NAMES, asked))
        return [
            with_never_trained(
                evidence,
                Question("fluency", metric, "answers about the forgotten", tolerated),
                records,
                measure,
            )
            for metric, measure, tolerated, records in measures
        ]
