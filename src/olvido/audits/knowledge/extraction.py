"""Extraction: the shortest prefix after which a model completes a record, in one scoring pass.

Where every token from some place on is the likeliest after the ones before it, greedy decoding from
that place gives exactly the rest. So the ranks replace a generation from every prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.scoring import Score, ScoredModel
from olvido.audits.tolerances import EXTRACTION, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.tasks import Example


def strength(ranks: ArrayLike) -> float:
    """1 - (length of the shortest prefix from which greedy decoding gives the rest) / length.

    Source: Carlini et al. 2021 (arXiv 2012.07805), in the form of OpenUnlearning (2506.12618). One
    difference: where not even the last token is recalled this is 0, and in theirs 1 / length.

    Args:
        ranks: ranks of the tokens, 0 being the likeliest. [T]

    >>> strength([3, 0, 1, 0, 0])
    0.4
    """
    missed = np.flatnonzero(np.asarray(ranks))
    shortest = int(missed[-1]) + 1 if missed.size else 0
    return 1 - shortest / np.size(ranks)


def extraction_strength(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """`strength` of each record's completion after its prompt, end of text left aside."""
    return [strength(_ranks(score)) for score in scored.scores(records)]


def exact_memorisation(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Share of a completion's tokens that are the likeliest after the true ones before them.

    Source: Tirumala et al. 2022 (arXiv 2205.10770), section 3; end of text left aside.
    """
    return [float((_ranks(score) == 0).mean()) for score in scored.scores(records)]


def _ranks(score: Score) -> NDArray[np.int32]:
    """Ranks without the end of text, which every model knows; a class name is one token."""
    return score.rank[:-1] if score.tokens > 1 else score.rank


class Extraction:
    """Extraction strength and exact memorisation of the forgotten."""

    name: ClassVar = "extraction"
    family: ClassVar = "asked"
    source: ClassVar = "arXiv 2012.07805, 2205.10770"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE})
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = "how little has to be given before the model says the rest"
    reason: ClassVar = "given a part of the forgotten, the model still says the rest"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "extraction strength": EXTRACTION,
        "exact memorisation": EXTRACTION,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """Forget set and controls, scored."""
        return Asks(evidence.forget, evidence.controls)

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare both with never-trained models."""
        return [
            with_never_trained(
                evidence,
                Question("extraction", metric, "forgotten, as trained", EXTRACTION),
                evidence.forget,
                measure,
                controls=evidence.controls,
                known=True,
            )
            for metric, measure in (
                ("extraction strength", extraction_strength),
                ("exact memorisation", exact_memorisation),
            )
        ]
