"""Collateral: what should have been kept, was it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from olvido.audits.compare import with_before
from olvido.audits.recall import exact, rouge
from olvido.audits.tolerances import KEPT
from olvido.audits.types import Evidence, Finding, Need
from olvido.tasks import Example


class Collateral:
    """Recall of records that were to be kept, beside the model as it was."""

    needs: ClassVar = frozenset({Need.RETAIN})
    required: ClassVar = True
    summary: ClassVar = "whether the rest of what the model learned is still there"
    name: ClassVar = "collateral"
    probe: ClassVar = "retained"

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.retain

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare exact match and ROUGE-L."""
        return [
            with_before(
                evidence,
                self.probes(evidence),
                measure,
                KEPT,
                audit=self.name,
                metric=metric,
                probe=self.probe,
            )
            for metric, measure in (("exact match", exact), ("ROUGE-L", rouge))
        ]


class Neighbours(Collateral):
    """The same of records near the forgotten ones: same template, near entity (2511.00030)."""

    needs: ClassVar = frozenset({Need.NEIGHBOURS})
    required: ClassVar = False
    summary: ClassVar = "whether what stands near the forgotten is still there"
    name: ClassVar = "neighbours"
    probe: ClassVar = "neighbours"

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.neighbours


class General(Collateral):
    """The same of what everybody may know."""

    needs: ClassVar = frozenset({Need.GENERAL})
    required: ClassVar = False
    summary: ClassVar = "whether general knowledge is still there"
    name: ClassVar = "general"
    probe: ClassVar = "general knowledge"

    def probes(self, evidence: Evidence) -> tuple[Example, ...]:
        """The questions asked."""
        return evidence.general
