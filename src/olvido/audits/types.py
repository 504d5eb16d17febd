"""What an audit looks at and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from olvido.audits.scoring import Witness
from olvido.tasks import Example


class Need(StrEnum):
    """Evidence that an audit cannot do without."""

    PARAPHRASES = "paraphrases"
    BEFORE = "before"
    RETAIN = "retain"
    NEIGHBOURS = "neighbours"
    GENERAL = "general"
    HOLDOUT = "holdout"

    @property
    def remedy(self) -> str:
        """How a caller provides it."""
        return _REMEDY[self]


_REMEDY = {
    Need.PARAPHRASES: "give the forgotten rows a 'paraphrases' list of questions never trained on",
    Need.BEFORE: "pass the model as it was (before=...)",
    Need.RETAIN: "pass records that were to be kept (retain=...)",
    Need.NEIGHBOURS: "pass kept records near the forgotten ones (neighbours=...)",
    Need.GENERAL: "pass what everybody may know (general=...)",
    Need.HOLDOUT: "pass records of the same making that no model ever saw (holdout=...)",
}


class Status(StrEnum):
    """What a finding means for the verdict."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"
    SILENT = "silent"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _STATUS[self]


_STATUS = {
    Status.PASS: "within tolerance of what it is compared with",
    Status.FAIL: "out of tolerance",
    Status.UNKNOWN: "evidence is missing; this can never pass",
    Status.SILENT: "the model never knew it, so finding it gone proves nothing",
}


@dataclass(frozen=True)
class Finding:
    """One number, what it is compared with, and what follows.

    Attributes:
        audit: the audit that found it.
        metric: what was measured, in the metric's own unit.
        probe: the records it was measured on.
        value: of the suspect.
        against: what it is compared with: `never-trained` or `before`.
        expected: the value there; for never-trained models, their mean.
        spread: the value of each never-trained model.
        before: of the model as it was, where given.
        interval: 95% interval of value - expected; None with a single never-trained model, whose
            seed-to-seed spread cannot be known.
        n: probes scored; `clusters` independent facts among them.
        low, high: tolerated range of value - expected; None: open on that side.
        status: see `Status`.
        says: a sentence for people.
    """

    audit: str
    metric: str
    probe: str
    value: float
    against: str
    expected: float
    spread: tuple[float, ...]
    before: float | None
    interval: tuple[float, float] | None
    n: int
    clusters: int
    low: float | None
    high: float | None
    status: Status
    says: str

    @property
    def excess(self) -> float:
        """How far the suspect is from what is expected."""
        return self.value - self.expected

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        return {
            "audit": self.audit,
            "metric": self.metric,
            "probe": self.probe,
            "value": self.value,
            "against": self.against,
            "expected": self.expected,
            "never_trained": list(self.spread),
            "before": self.before,
            "excess": self.excess,
            "interval": None if self.interval is None else list(self.interval),
            "n": self.n,
            "clusters": self.clusters,
            "tolerance": [self.low, self.high],
            "status": self.status.value,
            "says": self.says,
        }


@dataclass(frozen=True)
class Evidence:
    """Everything an audit may look at. It never learns which method ran.

    Attributes:
        suspect: the model under audit.
        references: models that never saw the forgotten records.
        before: the model as it was, where given.
        forget, retain, neighbours, general, holdout: the probes.
        paraphrased: the forgotten facts behind questions that were never trained on.
    """

    suspect: Witness
    references: tuple[Witness, ...]
    before: Witness | None
    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    neighbours: tuple[Example, ...]
    general: tuple[Example, ...]
    holdout: tuple[Example, ...]
    paraphrased: tuple[Example, ...]

    def has(self, need: Need) -> bool:
        """Whether a piece of evidence was given."""
        return {
            Need.PARAPHRASES: bool(self.paraphrased),
            Need.BEFORE: self.before is not None,
            Need.RETAIN: bool(self.retain),
            Need.NEIGHBOURS: bool(self.neighbours),
            Need.GENERAL: bool(self.general),
            Need.HOLDOUT: bool(self.holdout),
        }[need]


class Audit(Protocol):
    """One test of a forgetting: one small file and one row in `AUDITS`."""

    needs: ClassVar[frozenset[Need]]
    required: ClassVar[bool]
    summary: ClassVar[str]

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Look at the evidence and say what was found."""
        ...
