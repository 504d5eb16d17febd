"""leak@k: whether an answer leaks when a model is sampled often (arXiv 2511.04934)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.knowledge.matching import overlap, says
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import SAMPLED, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import InputError
from olvido.tasks import Example, Language

SAMPLES = 32
"""Answers drawn for each record."""


def draw(
    scored: ScoredModel, records: Sequence[Example], *, samples: int = SAMPLES, seed: int = 0
) -> list[list[str]]:
    """Answers to each record's prompt, drawn at temperature 1.

    Args:
        scored: the model.
        records: records with the prompts.
        samples: answers for each.
        seed: same model, records, samples and seed, same answers.

    Raises:
        InputError: a task without text, or less than 1 sample.
    """
    if not isinstance(scored.task, Language):
        raise InputError(
            f"answers are drawn from language models, got a task of {type(scored.task).__name__}: "
            "leave sampling out for classifiers, whose scores hold all their answers"
        )
    model = scored.model
    training = model.training
    model.eval()
    drawn = scored.task.sample(model, records, samples, seed=seed)
    model.train(training)
    return drawn


def hits(drawn: Sequence[Sequence[str]], records: Sequence[Example]) -> NDArray[np.int64]:
    """How many of each record's drawn answers contain its completion. [n]"""
    return np.array(
        [
            sum(says(text, record.completion) for text in texts)
            for texts, record in zip(drawn, records, strict=True)
        ],
        dtype=np.int64,
    )


def leak_at(hits: Sequence[int] | NDArray[np.int64], samples: int, k: int) -> list[float]:
    """Probability that k answers hold a hit, estimated without bias from more than k.

    1 - C(samples - hits, k) / C(samples, k): Chen et al. 2021 (arXiv 2107.03374), equation 1.

    Args:
        hits: hits of each record. [n]
        samples: answers drawn for each record.
        k: from 1 to samples.

    Raises:
        InputError: an impossible k or number of hits.

    >>> leak_at([0, 1, 4], samples=4, k=2)
    [0.0, 0.5, 1.0]
    """
    if not 1 <= k <= samples:
        raise InputError(f"leak@k takes k from 1 to the {samples} samples drawn, got {k}")
    if any(not 0 <= hit <= samples for hit in hits):
        raise InputError(f"expected from 0 to {samples} hits a record, got {list(hits)}")
    return [1 - comb(samples - int(hit), k) / comb(samples, k) for hit in hits]


def overlaps(drawn: Sequence[Sequence[str]], records: Sequence[Example]) -> list[float]:
    """The best of each record's drawn answers: share of the completion's words, in their order.

    It suits completions that are sentences, which no model repeats to the letter.
    """
    return [
        max(overlap(text, record.completion) for text in texts)
        for texts, record in zip(drawn, records, strict=True)
    ]


def leak(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """1 where any of `SAMPLES` drawn answers contains the completion, one a record."""
    return [float(hit > 0) for hit in hits(draw(scored, records), records)]


class Sampling:
    """leak@k on the forget set: answers are drawn repeatedly, as a user would get them."""

    name: ClassVar = "sampling"
    family: ClassVar = "turned"
    source: ClassVar = "arXiv 2511.04934"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE})
    required: ClassVar = False
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what leaks when the model is asked often"
    reason: ClassVar = "the forgotten leaks when the model is asked often"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "leak@*": SAMPLED,
        "best overlap of *": SAMPLED,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """Nothing that other audits share: answers are drawn, not scored."""
        width = sum(map(evidence.candidate.task.width, _facts(evidence)))
        return Asks(
            passes=width * SAMPLES * len(evidence.models),
            inside=(partial(_drawn, _facts(evidence)),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare leak@k and the best answer drawn with never-trained models."""
        asked = _facts(evidence)
        drawn = {id(w): _drawn(asked, w) for w in evidence.models}

        def leaks(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
            return [float(hit > 0) for hit in hits(drawn[id(scored)], asked)]

        def best(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
            return overlaps(drawn[id(scored)], asked)

        at = [k for k in (1, 2, 4, 8, 16, 32) if k <= SAMPLES]

        def curve(scored: ScoredModel) -> list[float]:
            found = hits(drawn[id(scored)], asked)
            return [float(np.mean(leak_at(found, SAMPLES, k))) for k in at]

        shown = {
            "kind": "curve",
            "x": "answers drawn",
            "y": "share of facts that slip out",
            "at": at,
            "candidate": curve(evidence.candidate),
            "before": curve(evidence.original) if evidence.original else None,
            "never-trained": [curve(w) for w in evidence.references],
        }
        return [
            with_never_trained(
                evidence,
                Question("sampling", metric, "forgotten, asked often", SAMPLED, exhibit),
                asked,
                measure,
                known=True,
            )
            for metric, measure, exhibit in (
                (f"leak@{SAMPLES}", leaks, shown),
                (f"best overlap of {SAMPLES}", best, None),
            )
        ]


def _drawn(asked: Sequence[Example], scored: ScoredModel) -> list[list[str]]:
    return scored.once(f"{SAMPLES} answers", asked, partial(draw, scored, asked))


def _facts(evidence: Evidence) -> tuple[Example, ...]:
    """One question for each forgotten fact."""
    return tuple({r.completion: r for r in reversed(evidence.forget)}.values())[::-1]
