"""Change: weights that did not move have forgotten nothing, whatever the output says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from olvido.audits.compare import Question, finding
from olvido.audits.tolerances import NONE
from olvido.audits.types import Asks, Evidence, Finding, Level, Need


class Change:
    """Whether the weights differ from the model as it was."""

    needs: ClassVar = frozenset({Need.BEFORE})
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether the weights changed at all"
    reason: ClassVar = "the weights did not change"

    def asks(self, evidence: Evidence) -> Asks:
        """Nothing."""
        return Asks()

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare digests."""
        was = evidence.before
        assert was is not None
        return [
            finding(
                Question("change", "weights changed", "all weights", NONE),
                value=float(evidence.suspect.digest != was.digest),
                against="never-trained",
                expected=1.0,
                spread=tuple(float(w.digest != was.digest) for w in evidence.references),
                before=0.0,
                n=1,
                clusters=1,
            )
        ]
