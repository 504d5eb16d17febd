"""Change: weights that did not move have forgotten nothing, whatever the output says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from olvido.audits.compare import Question, finding
from olvido.audits.honesty.movement import WeightChange, change, descends
from olvido.audits.honesty.weights import SAME_BASE
from olvido.audits.scoring import Witness
from olvido.audits.tolerances import AT_THE_END, ONLY_WORSE, Range
from olvido.audits.types import Asks, Evidence, Finding, Level, Need


class Change:
    """Whether the weights differ from the model as it was, where, and whether they descend from it.

    Compared with never-trained models: where their training wrote only into the last layers, or
    began elsewhere, so may the suspect's.
    """

    name: ClassVar = "change"
    family: ClassVar = "honesty"
    source: ClassVar = ""
    needs: ClassVar = frozenset({Need.BEFORE})
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether the weights changed, where, and from which base they came"
    reason: ClassVar = "the weights are not those of the model, made to forget"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "weights changed": ONLY_WORSE,
        "made like the model as it was": ONLY_WORSE,
        "of the same base": ONLY_WORSE,
        "share of the change in the last layer": AT_THE_END,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """Nothing: weights are compared, not asked."""
        return Asks()

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare digests, layers and bases."""
        was = evidence.before
        assert was is not None
        if evidence.suspect.digest == was.digest:
            found = _either(evidence, "weights changed", lambda w: w.digest != was.digest)
            return [found.but(failing="the weights did not change")]
        models = (evidence.suspect, *evidence.references)
        moved = [change(w.model, was.model) for w in models]
        kinship = descends(evidence.suspect.model, was.model, [w.model for w in models[1:]])
        alike = _either(evidence, "made like the model as it was", lambda w: _alike(w, was))
        if moved[0].mismatch:
            return [alike.but(failing=f"another architecture: {moved[0].mismatch}")]
        base = _either(
            evidence,
            "of the same base",
            lambda w: (
                not kinship.other_base
                if w is evidence.suspect
                else kinship.references[models.index(w) - 1] >= SAME_BASE
            ),
        )
        if kinship.other_base:
            base = base.but(
                failing="from another base: the weights' cosine with the model as it was is "
                f"{kinship.suspect:.2f}, that of never-trained models "
                f"{min(kinship.references):.2f} or more",
            )
        return [
            _either(evidence, "weights changed", lambda w: w.digest != was.digest, _shown(moved)),
            base,
            _where(moved),
        ]


def _alike(witness: Witness, was: Witness) -> bool:
    return change(witness.model, was.model).mismatch is None


def _either(
    evidence: Evidence, metric: str, holds: Any, shown: dict[str, Any] | None = None
) -> Finding:
    """What is so or not so, and should be: nothing that is better than never-trained fails."""
    return finding(
        Question("change", metric, "all weights", ONLY_WORSE, shown),
        value=float(holds(evidence.suspect)),
        against="never-trained",
        expected=1.0,
        spread=tuple(float(holds(w)) for w in evidence.references),
        before=None,
        n=1,
        clusters=1,
    )


def _where(moved: Sequence[WeightChange]) -> Finding:
    """Whether nothing moved below the last block, although training wrote there."""
    suspect, *others = (found.at_the_end for found in moved)
    expected = max((o for o in others if not math.isnan(o)), default=1.0)
    found = finding(
        Question("change", "share of the change in the last layer", "all weights", AT_THE_END),
        value=suspect,
        against="never-trained",
        expected=expected,
        spread=tuple(others),
        before=None,
        n=1,
        clusters=1,
    )
    return found.but(failing="only the last layer changed: what lies below computes as it did")


def _shown(moved: Sequence[WeightChange]) -> dict[str, Any] | None:
    names = [layer.layer for layer in moved[0].layers]
    others = [m for m in moved[1:] if [layer.layer for layer in m.layers] == names]
    if not names or not others:
        return None

    def relative(found: WeightChange) -> list[float]:
        return [layer.relative for layer in found.layers]

    return {
        "kind": "bars",
        "y": "change of the weights, relative to what they were",
        "x": names,
        "suspect": relative(moved[0]),
        "before": None,
        "never-trained": [
            sum(column) / len(others) for column in zip(*map(relative, others), strict=True)
        ],
    }
