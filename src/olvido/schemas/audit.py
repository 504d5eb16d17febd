"""An audit's document: its findings, its references, and the verdict.

`olvido.audits` writes a report; a certificate includes one without its exhibits.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from olvido.errors import Needed, ParameterName
from olvido.schemas.base import Number, Part, Plain


class Status(StrEnum):
    """The meaning of a finding for the verdict."""

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
    """The verdict of all findings."""

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
    """How a reference was authenticated."""

    WITNESSED = "witnessed"
    TESTED = "tested"
    UNAUTHENTICATED = "unauthenticated"
    CONTAMINATED = "contaminated"


class OriginalStatus(StrEnum):
    """Whether the original model knew the forget set."""

    NONE = "none"
    KNOWS = "knows"
    NEVER_KNEW = "never knew"
    UNCLEAR = "unclear"


class EvidenceNeed(Needed):
    """Evidence that an audit needs."""

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
    """One number, its reference value, and its status.

    Attributes:
        audit: the audit that found it.
        metric: the measured metric, in its own unit.
        probe: the records it was measured on.
        value: the candidate's value.
        against: the models to compare with: `never-trained` or `before`.
        expected: their value; for never-trained models, their mean.
        never_trained: the value of each never-trained model.
        before: the original model's value, if any.
        excess: the candidate's difference from the expected value.
        interval: 95% interval of the excess; None where chance is unknown.
        p: probability that chance alone carries a model this far out of tolerance; None: unknown,
            and the point estimate decides.
        adjusted: `p`, adjusted for the number of findings that vote.
        n: probes scored; `clusters` independent facts or subjects among them.
        tolerance: tolerated range of the excess, from low to high; None: open on that side.
        votes: whether it counts in the verdict; see `olvido.audits.tolerances.ADVISORY`.
        prior: the status unless its numbers decide: `silent` where the original knew nothing,
            `unknown` where more than half of the original's knowledge is there, or more than half
            of the retain set is lost, if it is out of tolerance at all.
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
    # A measurement computes it; a document states it, and is checked against it.
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
        """The least tolerated excess."""
        return self.tolerance[0]

    @property
    def high(self) -> float | None:
        """The largest tolerated excess."""
        return self.tolerance[1]

    @property
    def outside(self) -> bool:
        """Whether the excess is out of tolerance; a value that is not a number always is."""
        return not (
            (self.low is None or self.excess >= self.low)
            and (self.high is None or self.excess <= self.high)
            and self.excess == self.excess
        )


class Finding(Measured):
    """A measurement as the audit's own report has it.

    Attributes:
        exhibit: data of a page's picture, as plain values with a `kind`.
        failing: the sentence for a failure where numbers say too little; it is not written.
    """

    exhibit: Plain | None = None
    failing: str = Field(default="", exclude=True)


class Reason(Part):
    """One reason why a verdict is no pass.

    Attributes:
        ground: the kind of reason.
        about: the audit, or the digest of the model, that it is about.
        says: a sentence for people.
        details: details of the sentence.
    """

    ground: Ground
    about: str
    says: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The sentence, with its details in brackets."""
        return f"{self.says} [{'; '.join(self.details)}]" if self.details else self.says


class Reference(Part):
    """Evidence on whether a reference saw the forget set.

    Attributes:
        digest: of the reference's weights.
        standing: the conclusion; `contaminated` voids the verdict, `unauthenticated` lets nothing
            pass.
        witnessed: whether Olvido trained it on records without any of the forget set.
        tests: for each test, the probability that chance alone makes a reference that never saw
            them so good on the forget set.
        adjusted: the least of them, adjusted for all tests of all references (Holm 1979).
        control: probability that a reference that knows the forget set half as well as the
            original, or better, lies so far from it; None: no original, or no group to compare
            with.
        beside: the group that the control compares the forgotten with: `holdout` or `retain`.
        answers: number of long verbatim answers, of `facts` that nobody else has.
        knowing: the adjusted p of a reference that knows half of the forget set, by these tests;
            None: there is none.
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
    """All findings of an audit, and their verdict.

    Attributes:
        verdict: pass, fail or unknown; only pass is a pass.
        grounds: reasons why it is not a pass; empty for a pass. `reasons` are their sentences.
        findings: everything measured.
        not_examined: audits that did not run, with the evidence that they lacked.
        not_possible: audits that models or records do not allow, and why.
        candidate: digest of the audited weights; `original` and `never_trained` likewise.
        references: the authentication of each never-trained model, in order.
        original_status: whether the original model knew the forget set.
        level: the effort.
        tolerances: digest of all tolerances.
        records: number of records of each kind.
    """

    verdict: Verdict
    grounds: tuple[Reason, ...]
    # Computed from the findings; a document states them, and is checked against them.
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
    """The report of an audit, as in its file; `seconds` is its duration."""

    type: Literal["audit-report"] = "audit-report"
    version: Literal[1] = 1
    findings: tuple[Finding, ...]
    seconds: Number = 0.0
