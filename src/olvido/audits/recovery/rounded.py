"""Recovery by rounding: what the model says when its weights are stored in few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.recovery.rounding import rounded
from olvido.audits.scoring import Score, Witness
from olvido.audits.tolerances import PROBABILITY, RECALL, Range
from olvido.audits.types import Asks, Evidence, Finding, Level, Need
from olvido.tasks import Example

BITS = {Level.STANDARD: (4,), Level.THOROUGH: (8, 4)}


class Rounding:
    """Recall after rounding to int4, and int8 where the audit is thorough (arXiv 2410.16454)."""

    name: ClassVar = "rounding"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2410.16454"
    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = (
        "what comes back when the weights are rounded to int4, and int8 where thorough"
    )
    reason: ClassVar = "rounding the weights brings the forgotten back"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "exact match in int*": RECALL,
        "probability in int*": PROBABILITY,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """The forgotten and the strangers, by every model in every width."""
        width = evidence.suspect.task.width
        models = len(evidence.references) + 1
        cost = len(evidence.witnesses) * sum(map(width, evidence.forget))
        return Asks(passes=len(_bits(evidence)) * (cost + models * sum(map(width, evidence.few))))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare recall of the rounded suspect with that of rounded never-trained models."""
        asked, beside = evidence.forget, evidence.few
        found = []
        for bits in _bits(evidence):

            def coarse(
                witness: Witness, records: Sequence[Example], bits: int = bits
            ) -> list[Score]:
                """All at once, since a model is rounded for it."""
                everything = asked if witness is evidence.before else (*asked, *beside)

                def find() -> dict[bytes, Score]:
                    model = Witness(rounded(witness.model, bits), witness.task)
                    keys = map(witness.task.fingerprint, everything)
                    return dict(zip(keys, model.scores(everything), strict=True))

                scores = witness.once(f"rounded to {bits} bits", everything, find)
                return [scores[witness.task.fingerprint(record)] for record in records]

            for metric, tolerated in (("exact match", RECALL), ("probability", PROBABILITY)):
                question = Question(
                    "rounding", f"{metric} in int{bits}", "forgotten, as trained", tolerated
                )

                def measure(
                    witness: Witness,
                    records: Sequence[Example],
                    coarse: Any = coarse,
                    metric: str = metric,
                ) -> list[float]:
                    scores = coarse(witness, records)
                    return [float(s.exact) if "exact" in metric else s.probability for s in scores]

                found.append(
                    with_never_trained(
                        evidence,
                        question,
                        asked,
                        measure,
                        strangers=beside,
                        # A class is told without having been taught; see `Recall`.
                        known=evidence.has(Need.LANGUAGE),
                    )
                )
        return found


def _bits(evidence: Evidence) -> tuple[int, ...]:
    return BITS.get(evidence.level, BITS[Level.STANDARD])
