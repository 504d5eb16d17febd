"""Recovery by rounding: what the model says when its weights are stored in few bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.memory.recall import exact, probability
from olvido.audits.recovery.rounding import rounded
from olvido.audits.tolerances import PROBABILITY, RECALL
from olvido.audits.types import Asks, Evidence, Finding, Level, Need

BITS = {Level.STANDARD: (4,), Level.THOROUGH: (8, 4)}


class Rounding:
    """Recall after rounding to int4, and int8 where the audit is thorough (arXiv 2410.16454)."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = "what comes back when the weights are rounded to few bits"
    reason: ClassVar = "rounding the weights brings the forgotten back"

    def asks(self, evidence: Evidence) -> Asks:
        """The forgotten and the strangers, by every model in every width."""
        width = evidence.suspect.task.width
        models = len(evidence.references) + 1
        cost = len(evidence.witnesses) * sum(map(width, evidence.forget))
        return Asks(
            passes=len(_bits(evidence)) * (cost + models * sum(map(width, evidence.strangers)))
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare recall of the rounded suspect with that of rounded never-trained models."""
        found = []
        for bits in _bits(evidence):
            coarse = evidence.changed(partial(rounded, bits=bits))
            for metric, measure, tolerated in (
                ("exact match", exact, RECALL),
                ("probability", probability, PROBABILITY),
            ):
                question = Question(
                    "rounding", f"{metric} in int{bits}", "forgotten, as trained", tolerated
                )
                found.append(
                    with_never_trained(
                        coarse,
                        question,
                        evidence.forget,
                        measure,
                        strangers=evidence.strangers,
                        known=True,
                    )
                )
        return found


def _bits(evidence: Evidence) -> tuple[int, ...]:
    return BITS.get(evidence.level, BITS[Level.STANDARD])
