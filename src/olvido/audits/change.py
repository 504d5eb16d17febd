"""Change: weights that did not move have forgotten nothing, whatever the output says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from olvido.audits.types import Evidence, Finding, Need, Status


class Change:
    """Whether the weights differ from the model as it was."""

    needs: ClassVar = frozenset({Need.BEFORE})
    required: ClassVar = False
    summary: ClassVar = "whether the weights changed at all"

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare digests."""
        assert evidence.before is not None
        changed = evidence.suspect.digest != evidence.before.digest
        return [
            Finding(
                "change",
                "weights changed",
                "all weights",
                float(changed),
                "never-trained",
                1.0,
                tuple(float(w.digest != evidence.before.digest) for w in evidence.references),
                0.0,
                None,
                1,
                1,
                0.0,
                0.0,
                Status.PASS if changed else Status.FAIL,
                "the weights changed"
                if changed
                else "the weights are those of the model as it was: nothing was forgotten",
            )
        ]
