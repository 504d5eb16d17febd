"""Whether a report is about this model, and whether its verdict follows from its own findings.

This finds a report of another model, a verdict or a status that somebody edited, and findings that
do not agree with themselves. It does not find whoever rewrites all of it consistently: for that,
audit again, or sign what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from olvido.audits.authentication import Authentication, Original, adjusted
from olvido.audits.tolerances import tolerated, votes
from olvido.audits.tolerances import version as current
from olvido.audits.types import AUDITS, Finding, Need, Status
from olvido.audits.verdict import Ground, Reason, Report, Verdict, doubts, judge, settle
from olvido.errors import InputError

NEAR = 1e-9
"""Difference of numbers that were written and read again."""


def findings_of(document: Mapping[str, Any]) -> list[Finding]:
    """The findings of a report as they were before its verdict, to be settled again: which of them
    vote is what `ADVISORY` says now."""
    return [_Read(found).first for found in document["findings"]]


def report_of(document: Mapping[str, Any]) -> Report:
    """The report that a document holds, once it is known to follow from its own findings.

    Raises:
        InputError: the document is no report of an audit, or contradicts itself.
    """
    if reasons := check_report(document, document.get("suspect", "")):
        raise InputError(f"this report does not hold: {'; '.join(reasons)}. Audit the model again")
    findings = [
        replace(
            settled,
            interval=_interval(said["interval"]),
            says=str(said["says"]),
            exhibit=said["exhibit"],
        )
        for settled, said in zip(settle(findings_of(document)), document["findings"], strict=True)
    ]
    return Report(
        Verdict(document["verdict"]),
        tuple(map(_reason, document["grounds"])),
        tuple(findings),
        {name: tuple(map(Need, needs)) for name, needs in document["not_examined"].items()},
        str(document["suspect"]),
        document["before"],
        tuple(document["never_trained"]),
        str(document["level"]),
        dict(document["records"]),
        dict(document["not_possible"]),
        tuple(map(Authentication.from_dict, document["references"])),
        Original(document["original"]),
        _number(document["seconds"]),
    )


def check_report(document: Mapping[str, Any], model_digest: str) -> list[str]:
    """Reasons not to believe a report about a model; none where it holds.

    Args:
        document: an audit's report (`Report.to_dict()`, or what was read from its file).
        model_digest: of the weights it is shown with.

    Raises:
        InputError: the document is no report of an audit.
    """
    try:
        findings = [_Read(found) for found in document["findings"]]
        missing = {
            str(audit): tuple(Need(need) for need in needs)
            for audit, needs in document["not_examined"].items()
        }
        unexamined = set(document["not_possible"])
        verdict = Verdict(document["verdict"])
        told = list(document["reasons"])
        grounds = [_reason(reason) for reason in document["grounds"]]
        version = str(document["tolerances"])
        suspect, before = document["suspect"], document["before"]
        never = list(document["never_trained"])
        references = [Authentication.from_dict(one) for one in document["references"]]
        original = Original(document["original"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"this is no report of an audit, or not a whole one ({type(error).__name__}: {error}): "
            "give the document that 'olvido audit --json' made"
        ) from error
    reasons = []
    if suspect != model_digest:
        reasons.append(
            f"it is about another model, whose digest is {suspect}; this one's is {model_digest}"
        )
    if version != current():
        reasons.append(
            f"it was judged by other tolerances, of the digest {version}; these are {current()}"
        )
    if not never:
        reasons.append("it compares the model with no never-trained one")
    if before is not None and before in never:
        reasons.append("the model as it was, which saw the records, is among its never-trained")
    reasons += _references(references, never, suspect)
    if (before is None) != (original is Original.NONE) or (
        before is None and any(one.control is not None for one in references)
    ):
        reasons.append("what it says of the original is not about the original that it names")
    settled = settle([found.first for found in findings])
    for read, found in zip(findings, settled, strict=True):
        reasons += _differences(read, found)
    names = {found.audit for found in settled} | missing.keys() | unexamined
    follows, why = judge(settled, missing, _required(names), {}, doubts(references, original))
    if follows is not verdict:
        because = f": {'; '.join(map(str, why))}" if why else ""
        reasons.append(
            f"its verdict is {verdict.value!r}, and what follows from its findings is "
            f"{follows.value!r}{because}"
        )
    elif [(r.ground, r.about) for r in why] != [(r.ground, r.about) for r in grounds]:
        reasons.append("its reasons are not those that follow from its findings")
    if told != [str(reason) for reason in grounds]:
        reasons.append("its reasons in sentences are not those that it gives apart")
    if (verdict is Verdict.PASS) != (not told):
        reasons.append(
            f"its verdict is {verdict.value!r}, and it gives {len(told)} reasons why it is no pass"
        )
    return reasons


def _references(
    references: Sequence[Authentication], never: Sequence[str], suspect: str
) -> Iterator[str]:
    """What the document says of its references and does not follow from its numbers."""
    if [one.digest for one in references] != list(never):
        yield "the references that it authenticates are not the never-trained models it names"
    if suspect in never or len(set(never)) < len(never):
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


class _Read:
    """A finding as it stands in a document.

    Attributes:
        status, excess, adjusted, votes: what the document says of it.
        first: the finding as it was before the verdict; see `olvido.audits.compare.finding`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        low, high = values["tolerance"]
        self.status = Status(values["status"])
        self.excess, self.adjusted = _number(values["excess"]), _optional(values["adjusted"])
        self.votes = bool(values["votes"])
        audit, metric = str(values["audit"]), str(values["metric"])
        prior = Status(values["prior"])
        self.first = Finding(
            audit=audit,
            metric=metric,
            probe=str(values["probe"]),
            value=_number(values["value"]),
            against=str(values["against"]),
            expected=_number(values["expected"]),
            spread=tuple(map(_number, values["never_trained"])),
            before=_optional(values["before"]),
            interval=None,
            p=_optional(values["p"]),
            n=int(values["n"]),
            clusters=int(values["clusters"]),
            low=_optional(low),
            high=_optional(high),
            votes=votes(audit, metric),
            prior=prior,
            status=prior,
            says=str(values["says"]),
        )


def _differences(read: _Read, found: Finding) -> list[str]:
    """What the document says of a finding and does not follow from its numbers."""
    name = f"{found.metric!r} of the audit {found.audit!r}"
    reasons = []
    if read.votes != found.votes:
        said = "votes" if found.votes else "does not vote"
        reasons.append(f"{name} {said}, and the report says otherwise")
    allowed = tolerated(found.audit, found.metric, found.expected)
    # Somebody's own audit does not vote, and nothing follows from it.
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


def _reason(values: Mapping[str, Any]) -> Reason:
    details = tuple(map(str, values["details"]))
    return Reason(Ground(values["ground"]), str(values["about"]), str(values["says"]), details)


def _required(names: set[str]) -> Sequence[str]:
    """The audits without which nothing passes; those about words only where any was made."""
    own = {name: AUDITS[name] for name in AUDITS.built_in}
    words = any(Need.LANGUAGE in own[name].needs for name in names if name in own)
    return [
        name
        for name, kind in own.items()
        if kind.required and (words or Need.LANGUAGE not in kind.needs)
    ]


def _number(value: Any) -> float:
    """A number; what JSON could not say was not finite."""
    return math.nan if value is None else float(value)


def _interval(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = map(_number, value)
    return low, high


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _same(one: float | None, other: float | None) -> bool:
    """Equal as written: null stands for nothing and for what is not finite."""
    unsaid = [value is None or not math.isfinite(value) for value in (one, other)]
    if any(unsaid):
        return all(unsaid)
    assert one is not None
    assert other is not None
    return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)
