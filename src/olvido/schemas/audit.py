"""What an audit found: its findings, what is known of the references, and the verdict.

A report is written by `olvido.audits`, and a certificate holds one without what is only drawn.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from olvido.errors import Needed, ParameterName
from olvido.schemas.base import Number, Part, Plain


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
    Status.SILENT: "the original knew it no better than the references: its absence proves nothing",
}


class Verdict(StrEnum):
    """What the findings come to."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Ground(StrEnum):
    """Why a verdict is no pass."""

    FAILED = "failed"
    NOT_EXAMINED = "not examined"
    UNDECIDED = "undecided"
    SILENT = "silent"
    CONTAMINATED = "contaminated reference"
    UNAUTHENTICATED = "unauthenticated reference"
    NO_ORIGINAL = "no original"
    UNTRAINED_ORIGINAL = "original never knew"


class Standing(StrEnum):
    """What is known of a reference."""

    WITNESSED = "witnessed"
    TESTED = "tested"
    UNAUTHENTICATED = "unauthenticated"
    CONTAMINATED = "contaminated"


class OriginalStatus(StrEnum):
    """What is known of the model given as it was before the forgetting."""

    NONE = "none"
    KNOWS = "knows"
    NEVER_KNEW = "never knew"
    UNCLEAR = "unclear"


class EvidenceNeed(Needed):
    """Evidence that an audit cannot do without."""

    LANGUAGE = "language", "it asks questions in words, and this model answers with a class"
    CLASSES = "classes", "it asks class by class, and this model answers in words"
    PERTURBED = (
        "perturbed answers",
        "give the forgotten rows a 'perturbed_answers' list of false answers",
    )
    SHADOWS = "shadows", "give models whose members are known (", ParameterName("shadows"), ")"
    PARAPHRASES = (
        "paraphrases",
        "give the forgotten rows a 'paraphrases' list of questions never trained on",
    )
    ORIGINAL = "original", "give the original model (", ParameterName("original"), ")"
    RETAIN = "retain", "give records that were to be kept (", ParameterName("retain"), ")"
    NEIGHBOURS = (
        "neighbours",
        "give kept records near the forgotten ones (",
        ParameterName("neighbours"),
        ")",
    )
    GENERAL = "general", "give what everybody may know (", ParameterName("general"), ")"
    HOLDOUT = (
        "holdout",
        "give records of the same making that no model ever saw (",
        ParameterName("holdout"),
        ")",
    )


class Measured(Part):
    """One number, what it is compared with, and what follows.

    Attributes:
        audit: the audit that found it.
        metric: what was measured, in the metric's own unit.
        probe: the records it was measured on.
        value: of the suspect.
        against: what it is compared with: `never-trained` or `before`.
        expected: the value there; for never-trained models, their mean.
        never_trained: the value of each never-trained model.
        before: of the original model, where given.
        excess: how far the suspect is from what is expected.
        interval: 95% interval of the excess; None where nothing tells how far chance carries.
        p: how likely chance alone carries a model this far out of tolerance; None: not known, and
            the point estimate decides.
        adjusted: `p`, adjusted for how many findings vote.
        n: probes scored; `clusters` independent facts or subjects among them.
        tolerance: tolerated range of the excess, from low to high; None: open on that side.
        votes: whether it counts in the verdict; see `olvido.audits.tolerances.ADVISORY`.
        prior: the status that it has unless its numbers decide: `silent` where the original knew
            nothing, `unknown` where more than half of what that knew is there, or more than half
            of what was to be kept is gone, if it is out of tolerance at all.
        status: see `Status`.
        says: a sentence for people.
    """

    audit: str
    metric: str
    probe: str
    value: Number
    against: str
    expected: Number
    never_trained: tuple[Number, ...]
    before: float | None
    # What is measured reckons it; a document says it itself, and is held to it.
    excess: Number = Field(default_factory=lambda known: known["value"] - known["expected"])
    interval: tuple[Number, Number] | None
    p: float | None
    adjusted: float | None = None
    n: int
    clusters: int
    tolerance: tuple[float | None, float | None]
    votes: bool
    prior: Status = Status.PASS
    status: Status
    says: str

    @property
    def low(self) -> float | None:
        """The least excess that is tolerated."""
        return self.tolerance[0]

    @property
    def high(self) -> float | None:
        """The largest excess that is tolerated."""
        return self.tolerance[1]

    @property
    def outside(self) -> bool:
        """Whether the excess is out of tolerance; what is not a number always is."""
        return not (
            (self.low is None or self.excess >= self.low)
            and (self.high is None or self.excess <= self.high)
            and self.excess == self.excess
        )


class Finding(Measured):
    """What is measured, as the audit's own report has it.

    Attributes:
        exhibit: what a page draws beside it, as plain values with a `kind`.
        failing: the sentence instead, where it fails and numbers say too little; it is not written.
    """

    exhibit: Plain | None = None
    failing: str = Field(default="", exclude=True)


class Reason(Part):
    """One reason why a verdict is no pass.

    Attributes:
        ground: of which kind.
        about: the audit, or the digest of the model, that it is about.
        says: a sentence for people.
        details: what the sentence rests on.
    """

    ground: Ground
    about: str
    says: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The sentence, with its details in brackets."""
        return f"{self.says} [{'; '.join(self.details)}]" if self.details else self.says


class Reference(Part):
    """What tells that a reference never saw the forgotten, or that it did.

    Attributes:
        digest: of the reference's weights.
        standing: what follows; `contaminated` voids the verdict, `unauthenticated` lets nothing
            pass.
        witnessed: whether Olvido trained it on records of which none is among the forgotten.
        tests: for each test, how likely chance alone makes a reference that never saw them so good
            at the forgotten.
        adjusted: the least of them, adjusted for how many there are of all references (Holm 1979).
        control: how likely a reference that knows the forgotten half as well as the original, or
            better, lies so far from it; None: no original, or nobody to compare with.
        beside: who the control compares the forgotten with: `holdout` or `retain`.
        answers: how many long answers it gives word for word, of `facts` that nobody else has.
        knowing: the adjusted p of a reference that is half way to knowing the forgotten, by these
            tests; None: there is none.
    """

    digest: str
    standing: Standing
    witnessed: bool
    tests: dict[str, float]
    adjusted: float | None
    control: float | None
    beside: str | None
    answers: int
    facts: int
    knowing: float | None


class Audited(Part):
    """All findings of an audit, and what they come to.

    Attributes:
        verdict: pass, fail or unknown; only pass is a pass.
        grounds: why it is not a pass; empty for a pass. `reasons` are the same in sentences.
        findings: everything measured.
        not_examined: audits that did not run, with what they lacked.
        not_possible: audits that found that models or records do not allow them, and why.
        candidate: digest of the audited weights; `original` and `never_trained` likewise.
        references: what is known of each never-trained model, in their order.
        original_status: what is known of the original model.
        level: how much was tried.
        tolerances: digest of all that findings are held to.
        records: how many of each kind were looked at.
    """

    verdict: Verdict
    grounds: tuple[Reason, ...]
    # Told by what is judged; a document tells them itself, and is held to it.
    reasons: tuple[str, ...] = Field(
        default_factory=lambda known: tuple(map(str, known["grounds"]))
    )
    findings: tuple[Measured, ...]
    not_examined: dict[str, tuple[EvidenceNeed, ...]]
    not_possible: dict[str, str] = Field(default={})
    candidate: str
    original: str | None
    never_trained: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    original_status: OriginalStatus = OriginalStatus.NONE
    level: str = ""
    tolerances: str
    records: dict[str, int] = Field(default={})


class AuditReport(Audited):
    """The report of an audit, as a file holds it; `seconds` is how long it took."""

    type: Literal["audit-report"] = "audit-report"
    version: Literal[1] = 1
    findings: tuple[Finding, ...]
    seconds: Number = 0.0
