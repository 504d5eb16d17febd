"""Whether a report is about this model, and whether its verdict follows from its own findings.

This finds a report of another model, a verdict or a status that somebody edited, and findings that
contradict themselves. It does not find a consistent forgery: for that, audit again, or sign
reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from olvido.audits.authentication import Authentication, OriginalStatus, adjusted
from olvido.audits.tolerances import tolerated, votes
from olvido.audits.tolerances import version as current
from olvido.audits.types import AUDITS, EvidenceNeed, Finding
from olvido.audits.verdict import Report, Verdict, doubts, judge, settle
from olvido.errors import InputError

NEAR = 1e-9
"""Difference of numbers that were written and read again."""


def findings_of(document: Mapping[str, Any]) -> list[Finding]:
    """The findings of a report before its verdict, to be settled again: `ADVISORY` decides anew
    which of them vote."""
    return list(map(_first, map(Finding.read, document["findings"])))


def report_of(document: Mapping[str, Any]) -> Report:
    """The report in a document, checked to follow from its own findings.

    Raises:
        InputError: the document is no report of an audit, or contradicts itself.
    """
    report = Report.read(document)
    if reasons := reasons_against(report, report.candidate):
        raise InputError(f"this report does not hold: {'; '.join(reasons)}. Audit the model again")
    return report


def check_report(document: Mapping[str, Any], model_digest: str) -> list[str]:
    """Reasons not to believe a report about a model; none where it is consistent.

    Args:
        document: an audit's report (`Report.to_dict()`, or the content of its file).
        model_digest: digest of the weights that the report comes with.

    Raises:
        InputError: the document is no report of an audit.
    """
    try:
        report = Report.read(document)
    except InputError as error:
        raise InputError(
            f"this is no report of an audit, or not a whole one ({error}): give the document that "
            "'olvido audit --json' made"
        ) from error
    return reasons_against(report, model_digest)


def reasons_against(report: Report, model_digest: str) -> list[str]:
    """Reasons: parts of a report that do not follow from its findings, or another model's
    digest."""
    never, original, texts = report.never_trained, report.original, report.reasons
    reasons = []
    if report.candidate != model_digest:
        reasons.append(
            f"it is about another model, whose digest is {report.candidate}; this one's is "
            f"{model_digest}"
        )
    if report.tolerances != current():
        reasons.append(
            f"it was judged by other tolerances, of the digest {report.tolerances}; these are "
            f"{current()}"
        )
    if not never:
        reasons.append("it compares the model with no never-trained one")
    if original is not None and original in never:
        reasons.append("the original model, which saw the records, is among its never-trained")
    reasons += _references(report.references, never, report.candidate)
    if (original is None) != (report.original_status is OriginalStatus.NONE) or (
        original is None and any(one.control is not None for one in report.references)
    ):
        reasons.append("what it says of the original is not about the original that it names")
    settled = settle(list(map(_first, report.findings)))
    for read, found in zip(report.findings, settled, strict=True):
        reasons += _differences(read, found)
    names = (
        {found.audit for found in settled} | report.not_examined.keys() | report.not_possible.keys()
    )
    follows, why = judge(
        settled,
        report.not_examined,
        _required(names),
        {},
        doubts(report.references, report.original_status),
    )
    if follows is not report.verdict:
        because = f": {'; '.join(map(str, why))}" if why else ""
        reasons.append(
            f"its verdict is {report.verdict.value!r}, and what follows from its findings is "
            f"{follows.value!r}{because}"
        )
    elif [(r.ground, r.about) for r in why] != [(r.ground, r.about) for r in report.grounds]:
        reasons.append("its reasons are not those that follow from its findings")
    if list(texts) != [str(reason) for reason in report.grounds]:
        reasons.append("its reasons in sentences are not those that it gives apart")
    if (report.verdict is Verdict.PASS) != (not texts):
        reasons.append(
            f"its verdict is {report.verdict.value!r}, and it gives {len(texts)} reasons why it is "
            "no pass"
        )
    return reasons


def _references(
    references: Sequence[Authentication], never: Sequence[str], candidate: str
) -> Iterator[str]:
    """Statements about references that do not follow from the document's numbers."""
    if [one.digest for one in references] != list(never):
        yield "the references that it authenticates are not the never-trained models it names"
    if candidate in never or len(set(never)) < len(never):
        yield "the audited model is its own reference, or one reference is counted twice"
    least = adjusted([one.tests for one in references])
    for place, (one, p) in enumerate(zip(references, least, strict=True), 1):
        if not all(0 <= p <= 1 for p in one.tests.values()):
            yield f"reference {place}: a test has an error probability that cannot be"
        known = [] if one.knowing is None else [one.knowing]
        if len(known) != bool(one.tests) or not all(0 <= p <= 1 for p in known):
            yield f"reference {place}: what its tests could tell does not follow from them"
        if not 0 <= one.answers <= one.facts:
            yield f"reference {place} gives {one.answers} of {one.facts} answers"
        if not _same(one.adjusted, p):
            yield f"reference {place}: its adjusted error probability is {p}, not {one.adjusted}"
        if one.standing is not one.follows:
            yield (
                f"reference {place} is called {one.standing.value}, and what follows from its "
                f"tests is {one.follows.value}"
            )


def _first(read: Finding) -> Finding:
    """A finding as it was before the verdict; see `olvido.audits.compare.finding`."""
    return read.but(
        excess=read.value - read.expected,
        adjusted=None,
        votes=votes(read.audit, read.metric),
        status=read.prior,
    )


def _differences(read: Finding, found: Finding) -> list[str]:
    """Statements about a finding that do not follow from the document's numbers."""
    name = f"{found.metric!r} of the audit {found.audit!r}"
    reasons = []
    if read.votes != found.votes:
        said = "votes" if found.votes else "does not vote"
        reasons.append(f"{name} {said}, and the report says otherwise")
    allowed = tolerated(found.audit, found.metric, found.expected)
    # A custom audit does not vote, and nothing follows from it.
    if allowed is None and found.audit in AUDITS.built_in:
        reasons.append(f"{name} is no finding that is known")
    elif allowed is not None and not all(map(_same, (found.low, found.high), allowed)):
        reasons.append(
            f"{name} is held to {found.low} to {found.high}, and what is tolerated is "
            f"{allowed.low} to {allowed.high}"
        )
    if not _same(read.excess, found.excess):
        reasons.append(
            f"{name}: {found.value} less {found.expected} is not {read.excess}, as the report says"
        )
    if not _same(read.adjusted, found.adjusted):
        reasons.append(
            f"{name}: its adjusted error probability is {found.adjusted}, and the report says "
            f"{read.adjusted}"
        )
    if read.status is not found.status:
        reasons.append(
            f"{name} has the status {read.status.value!r}, and what follows from its numbers is "
            f"{found.status.value!r}"
        )
    return reasons


def _required(names: set[str]) -> Sequence[str]:
    """The audits without which nothing passes; audits of language only where any was made."""
    own = {name: AUDITS[name] for name in AUDITS.built_in}
    words = any(EvidenceNeed.LANGUAGE in own[name].needs for name in names if name in own)
    return [
        name
        for name, kind in own.items()
        if kind.required and (words or EvidenceNeed.LANGUAGE not in kind.needs)
    ]


def _same(one: float | None, other: float | None) -> bool:
    """Equal as written: null stands for a missing value and for one that is not finite."""
    unsaid = [value is None or not math.isfinite(value) for value in (one, other)]
    if any(unsaid):
        return all(unsaid)
    assert one is not None
    assert other is not None
    return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)
