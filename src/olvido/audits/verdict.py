"""The verdict: pass only where every required finding exists and lies within tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from olvido.audits.authentication import Authentication, OriginalStatus, Standing
from olvido.audits.tolerances import version
from olvido.audits.types import EvidenceNeed, Finding, Status
from olvido.files import read_document, write_document
from olvido.schemas.audit import AuditReport, Reason
from olvido.schemas.audit import Ground as Ground
from olvido.schemas.audit import Verdict as Verdict
from olvido.statistics import holm

FALSE_ALARMS = 0.05
"""Bound on the probability that a model that never saw the data fails by chance, in all."""


class Report(AuditReport):
    """All findings of an audit, and their verdict; see `olvido.schemas.audit.Audited`."""

    references: tuple[Authentication, ...] = ()
    tolerances: str = Field(default_factory=version)

    @property
    def passed(self) -> bool:
        """Whether the verdict is pass."""
        return self.verdict is Verdict.PASS

    def __repr__(self) -> str:
        """Show the verdict, and the number of findings behind it."""
        summary = f"{self.verdict.value}, {len(self.findings)} findings, level {self.level}"
        return f"{type(self).__name__}({summary}, {self.candidate})"

    def save(self, path: Path) -> None:
        """Write the report as JSON, for `Report.load`, `olvido verify-report` and pages."""
        write_document(self.to_dict(), Path(path))

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a report that `save` wrote.

        Raises:
            InputError: it is no report of an audit, or its verdict does not follow from its
                findings.
        """
        from olvido.audits.check import report_of

        return report_of(read_document(Path(path)))

    def page(self, path: Path) -> None:
        """Write the report as one HTML page, for people; see `olvido.audits.page.write_page`."""
        from olvido.audits.page import write_page

        write_page(self.to_dict(), Path(path))

    def find(self, audit: str, metric: str) -> Finding:
        """The finding of that audit and metric.

        Raises:
            KeyError: it was not measured.
        """
        for found in self.findings:
            if (found.audit, found.metric) == (audit, metric):
                return found
        raise KeyError(f"no finding {metric!r} of audit {audit!r}")

    def to_dict(self, *, texts: bool = True) -> dict[str, Any]:
        """Return plain values, for reports.

        Args:
            texts: include questions and answers, which name their subjects; exclude them from
                documents that are kept after a person was forgotten.
        """
        document = super().to_dict()
        for found in document["findings"]:
            shown = found["exhibit"]
            if shown is not None and not texts and shown["kind"] == "answers":
                found["exhibit"] = None
        return document


def settle(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Give each finding its status, corrected for the number of votes.

    Out of tolerance fails where chance is unknown, or where chance carries a model so far too
    seldom, all votes taken together (Holm 1979). Where more than half of the model's former
    knowledge is still there, or more than half of the retain set is lost, and only thin evidence
    prevents a fail, the finding stays unknown. A value that is not a number fails.
    """
    voting = [i for i, f in enumerate(findings) if f.votes and f.p is not None and f.p == f.p]
    adjusted = dict(zip(voting, holm([findings[i].p or 0.0 for i in voting]), strict=True))
    return tuple(_settled(f, adjusted.get(i, f.p)) for i, f in enumerate(findings))


def _settled(found: Finding, adjusted: float | None) -> Finding:
    says, status = found.says, Status.PASS
    above = found.high is not None and found.excess > found.high
    if found.excess != found.excess:
        status, says = Status.FAIL, f"{says} (not a number)"
    elif found.outside and (adjusted is None or adjusted < FALSE_ALARMS or adjusted != adjusted):
        says = found.failing or f"{says} ({'above' if above else 'below'} what is tolerated)"
        status = Status.FAIL
    elif found.prior is Status.SILENT:
        status, says = Status.SILENT, f"{says} (the original did no better: proves nothing)"
    elif found.outside and found.prior is Status.UNKNOWN:
        status, half = Status.UNKNOWN, "still there" if above else "gone"
        says += f" (more than half is {half}, and the evidence is too thin to judge)"
    elif found.outside:
        says += " (no further off than chance carries models that never saw it)"
    return found.but(adjusted=adjusted, status=status, says=says)


def doubts(authenticated: Sequence[Authentication], original: OriginalStatus) -> tuple[Reason, ...]:
    """Reasons why a verdict that rests on these references and this original cannot pass."""
    count = len(authenticated)
    found = [
        _reason(
            Ground.CONTAMINATED,
            one.digest,
            f"reference {place} of {count} knows what was to be forgotten, so nothing can be held "
            "to it: give models that were trained without the forgotten",
            one.says,
        )
        for place, one in enumerate(authenticated, 1)
        if one.standing is Standing.CONTAMINATED
    ]
    if original is OriginalStatus.NEVER_KNEW:
        found.append(
            _reason(
                Ground.UNTRAINED_ORIGINAL,
                "original",
                "the model given as the original never knew what was to be forgotten: give the "
                "weights as they were before the forgetting (before)",
            )
        )
    elif original is OriginalStatus.NONE:
        # Olvido's trace of a reference shows which ids it learned, and not which texts.
        if not all(one.standing is Standing.WITNESSED and one.telling for one in authenticated):
            found.append(
                _reason(
                    Ground.NO_ORIGINAL,
                    "original",
                    "there is no original to show that the questions find what was taught: give "
                    "the original model (before), or what its training began with (base)",
                )
            )
    else:
        found += [
            _reason(
                Ground.UNAUTHENTICATED,
                one.digest,
                f"nothing shows that reference {place} of {count} never saw what was to be "
                "forgotten: give records of the same making that no model saw, of five people or "
                "more (holdout), or have references trained (base)",
                one.says,
            )
            for place, one in enumerate(authenticated, 1)
            if one.standing is Standing.UNAUTHENTICATED
        ]
    return tuple(found)


def _reason(ground: Ground, about: str, says: str, *details: str) -> Reason:
    return Reason(ground=ground, about=about, says=says, details=details)


def judge(
    findings: Sequence[Finding],
    missing: Mapping[str, tuple[EvidenceNeed, ...]],
    required: Sequence[str],
    meaning: Mapping[str, str],
    doubted: Sequence[Reason] = (),
) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict from settled findings.

    A contaminated reference voids every comparison with it: the verdict is unknown.

    A failed finding that votes fails. A required audit that could not run, that found something
    unknown, or whose every finding is silent because the model never knew the answer, makes the
    verdict unknown. Only otherwise it passes.

    Args:
        findings: settled findings, see `settle`.
        missing: audits that did not run, with the evidence that they lacked.
        required: names of audits without which nothing passes.
        meaning: the meaning of each audit's failure, for people.
        doubted: see `doubts`.
    """
    if any(reason.ground is Ground.CONTAMINATED for reason in doubted):
        return Verdict.UNKNOWN, tuple(doubted)
    reasons: list[Reason] = []
    votes = [f for f in findings if f.votes]
    failed = dict.fromkeys(f.audit for f in votes if f.status is Status.FAIL)
    for audit in failed:
        failing = [f for f in votes if f.audit == audit and f.status is Status.FAIL]
        details = tuple(f.says for f in failing)
        reasons.append(
            _reason(Ground.FAILED, audit, "; ".join(details))
            if all(f.failing for f in failing)
            else _reason(Ground.FAILED, audit, meaning.get(audit, audit), *details)
        )
    if failed:
        return Verdict.FAIL, tuple(reasons)
    reasons += doubted
    for audit in dict.fromkeys([*required, *(f.audit for f in votes)]):
        if audit in missing:
            remedies = "; ".join(need.remedy for need in missing[audit]) or "it was not asked for"
            says = f"{audit} was not examined: {remedies}"
            reasons.append(_reason(Ground.NOT_EXAMINED, audit, says))
            continue
        found = {f.status for f in votes if f.audit == audit}
        if Status.UNKNOWN in found:
            says = f"{audit} could not be decided: evidence is missing"
            reasons.append(_reason(Ground.UNDECIDED, audit, says))
        elif audit in required and Status.PASS not in found:
            says = (
                f"{audit} proves nothing: the original does no better than the references, so that "
                "to do no better is no evidence"
            )
            reasons.append(_reason(Ground.SILENT, audit, says))
    return (Verdict.UNKNOWN if reasons else Verdict.PASS), tuple(reasons)
