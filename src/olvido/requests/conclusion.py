"""What became of an attempt, in one sentence that every page, command and certificate says alike.

An exact method rests on how the model was made. Its audit can contradict that, and then nothing is
published before somebody has looked; it cannot carry it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from olvido.ledger.facts import Guarantee


def conclusion(
    guarantee: str | None, audit: Mapping[str, Any] | None, failure: str | None = None
) -> str:
    """Say what a forgetting rests on, or why it was not published.

    Args:
        guarantee: of the method; None where it made nothing.
        audit: the audit's report as plain values; None where there was none.
        failure: why the method failed outright.

    >>> conclusion("exact", None)
    'exact by construction; it was not audited, since equality leaves an audit nothing to find'
    """
    if failure is not None or guarantee is None:
        return f"not published: the method failed ({failure})"
    if guarantee == Guarantee.DESTROYED:
        return "the model was destroyed, which leaves nothing to audit"
    exact = guarantee == Guarantee.EXACT
    if audit is None:
        if exact:
            return (
                "exact by construction; it was not audited, since equality leaves an audit nothing "
                "to find"
            )
        return f"not published: forgetting that is {guarantee} needs an audit, and had none"
    verdict, why = audit["verdict"], "; ".join(audit["reasons"])
    if verdict == "pass":
        return f"{guarantee}{' by construction' if exact else ''}, and its audit passed"
    told = f" ({why})" if why else ""
    if exact and verdict == "unknown":
        return (
            "exact by construction; its audit could not decide, and speaks neither for that nor "
            f"against it{told}"
        )
    if exact:
        return (
            "not published: the method is exact by construction and its audit failed, so somebody "
            f"has to look{told}"
        )
    return f"not published: its audit {'failed' if verdict == 'fail' else 'could not decide'}{told}"


def concluded_as(attempt: Mapping[str, Any]) -> str:
    """The same of an attempt as a request's report has it."""
    outcome = attempt["outcome"]
    return conclusion(outcome and outcome["guarantee"], attempt["audit"], attempt["failure"])


def audits_of(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The audits in a request's report, the last one last, with what a page says around each."""
    return [
        {
            **attempt["audit"],
            "name": f"request {report['request']}, by {attempt['method']}",
            "guarantee": attempt["outcome"]["guarantee"],
            "cost": attempt["outcome"].get("cost"),
            "options": attempt.get("options"),
        }
        for attempt in report["attempts"]
        if attempt["audit"]
    ]
