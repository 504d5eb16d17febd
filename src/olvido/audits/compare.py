"""From values on probes to a finding: the one place where numbers meet tolerances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from olvido.audits.scoring import Witness
from olvido.audits.statistics import clusters_of, excess_interval
from olvido.audits.tolerances import Range
from olvido.audits.types import Evidence, Finding, Status
from olvido.tasks import Example

Measure = Callable[[Witness, Sequence[Example]], Sequence[float]]
"""One value a record, from one model."""


def with_never_trained(
    evidence: Evidence,
    probes: Sequence[Example],
    measure: Measure,
    tolerated: Range,
    *,
    audit: str,
    metric: str,
    probe: str,
    known: Range | None = None,
) -> Finding:
    """Compare the suspect's mean on some probes with the never-trained models'.

    Args:
        evidence: the models.
        probes: the records to measure on.
        measure: gives one value a record.
        tolerated: range of suspect - never-trained; for a `relative` one scale it beforehand.
        audit, metric, probe: names.
        known: where given, and the model as it was lies within this range of never-trained models,
            the finding is silent: a probe that the original fails proves nothing.
    """
    value = np.array(measure(evidence.suspect, probes), dtype=float)
    others = [np.array(measure(w, probes), dtype=float) for w in evidence.references]
    spread = tuple(float(v.mean()) for v in others)
    before = None
    if evidence.before is not None:
        before = fmean(measure(evidence.before, probes))
    expected = fmean(spread)
    status = Status.PASS if tolerated.holds(float(value.mean()) - expected) else Status.FAIL
    if (
        status is Status.PASS
        and known is not None
        and before is not None
        and known.holds(before - expected)
    ):
        status = Status.SILENT
    clusters = clusters_of([example.completion for example in probes])
    return finding(
        audit=audit,
        metric=metric,
        probe=probe,
        value=float(value.mean()),
        against="never-trained",
        spread=spread,
        before=before,
        interval=None if len(others) < 2 else excess_interval(value, others, clusters),
        n=len(probes),
        clusters=len(clusters),
        tolerated=tolerated,
        status=status,
    )


def with_before(
    evidence: Evidence,
    probes: Sequence[Example],
    measure: Measure,
    tolerated: Range,
    *,
    audit: str,
    metric: str,
    probe: str,
) -> Finding:
    """Compare the suspect's mean with the model's as it was, else with never-trained models'."""
    if evidence.before is None:
        return with_never_trained(
            evidence, probes, measure, tolerated, audit=audit, metric=metric, probe=probe
        )
    value = np.array(measure(evidence.suspect, probes), dtype=float)
    was = np.array(measure(evidence.before, probes), dtype=float)
    clusters = clusters_of([example.completion for example in probes])
    excess = float(value.mean() - was.mean())
    return finding(
        audit=audit,
        metric=metric,
        probe=probe,
        value=float(value.mean()),
        against="before",
        spread=tuple(fmean(measure(w, probes)) for w in evidence.references),
        before=float(was.mean()),
        interval=excess_interval(value, [was], clusters),
        n=len(probes),
        clusters=len(clusters),
        tolerated=tolerated,
        status=Status.PASS if tolerated.holds(excess) else Status.FAIL,
    )


def finding(
    *,
    audit: str,
    metric: str,
    probe: str,
    value: float,
    against: str,
    spread: tuple[float, ...],
    before: float | None,
    interval: tuple[float, float] | None,
    n: int,
    clusters: int,
    tolerated: Range,
    status: Status,
) -> Finding:
    """A finding with its sentence."""
    expected = before if against == "before" and before is not None else fmean(spread)
    says = f"{metric} on {probe}: {value:.3f}, {against} {expected:.3f}"
    if status is Status.FAIL:
        excess = value - expected
        if tolerated.high is not None and excess > tolerated.high:
            says += " (above what is tolerated)"
        elif tolerated.low is not None and excess < tolerated.low:
            says += " (below what is tolerated)"
        else:
            says += " (not a number)"
    elif status is Status.SILENT:
        says += " (the model never knew it: proves nothing)"
    return Finding(
        audit,
        metric,
        probe,
        value,
        against,
        expected,
        spread,
        before,
        interval,
        n,
        clusters,
        tolerated.low,
        tolerated.high,
        status,
        says,
    )
