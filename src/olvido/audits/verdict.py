"""The verdict: pass only where everything required was found and lies within tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from olvido.audits.types import Finding, Need, Status


class Verdict(StrEnum):
    """What the findings come to."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


NAMES = {
    "recall": "the model still recalls the forgotten",
    "paraphrase": "the model still recalls the forgotten when the question is rephrased",
    "likelihood": "the loss on the forgotten is not that of never-trained models",
    "membership": "a loss attack tells the forgotten from true non-members",
    "collateral": "collateral damage: retained records were lost",
    "neighbours": "collateral damage: neighbours of the forgotten were lost",
    "general": "collateral damage: general knowledge was lost",
    "fluency": "the answers about the forgotten are not fluent language",
    "change": "the weights did not change",
}
"""What a failed audit means, for people."""


@dataclass(frozen=True)
class Report:
    """All findings of an audit, and what they come to.

    Attributes:
        verdict: pass, fail or unknown; only pass is a pass.
        reasons: why it is not a pass; empty for a pass.
        findings: everything measured.
        missing: audits that did not run, with what they lacked.
        suspect: digest of the audited weights; `before` and `references` likewise.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    missing: Mapping[str, tuple[Need, ...]]
    suspect: str
    before: str | None
    references: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the verdict is pass."""
        return self.verdict is Verdict.PASS

    def find(self, audit: str, metric: str) -> Finding:
        """The finding of that audit and metric.

        Raises:
            KeyError: it was not measured.
        """
        for found in self.findings:
            if (found.audit, found.metric) == (audit, metric):
                return found
        raise KeyError(f"no finding {metric!r} of audit {audit!r}")

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        return {
            "verdict": self.verdict.value,
            "reasons": list(self.reasons),
            "findings": [found.to_dict() for found in self.findings],
            "not_examined": {
                audit: [need.value for need in needs] for audit, needs in self.missing.items()
            },
            "suspect": self.suspect,
            "before": self.before,
            "never_trained": list(self.references),
        }


def judge(
    findings: Sequence[Finding], missing: Mapping[str, tuple[Need, ...]], required: Sequence[str]
) -> tuple[Verdict, tuple[str, ...]]:
    """What findings come to.

    A failed finding fails. A required audit that could not run, that found something unknown, or
    whose every finding is silent because the model never knew the answer, leaves the verdict
    unknown. Only what is left passes.
    """
    reasons: list[str] = []
    failed = sorted({f.audit for f in findings if f.status is Status.FAIL})
    for audit in failed:
        details = [f.says for f in findings if f.audit == audit and f.status is Status.FAIL]
        reasons.append(f"{NAMES.get(audit, audit)} [{'; '.join(details)}]")
    if failed:
        return Verdict.FAIL, tuple(reasons)
    for audit in required:
        if audit in missing:
            remedies = "; ".join(need.remedy for need in missing[audit])
            reasons.append(f"{audit} was not examined: {remedies or 'it was not asked for'}")
            continue
        found = {f.status for f in findings if f.audit == audit}
        if Status.UNKNOWN in found:
            reasons.append(f"{audit} could not be decided: evidence is missing")
        elif Status.PASS not in found:
            reasons.append(
                f"{audit} proves nothing: the model as it was never knew the answers, so finding "
                "them gone is no evidence"
            )
    return (Verdict.UNKNOWN if reasons else Verdict.PASS), tuple(reasons)
