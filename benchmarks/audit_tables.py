"""What the parts of the audit of the audit come to: areas with their intervals, and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import harness
from olvido.audits import AUDITS, EvidenceNeed, Status
from olvido.audits.check import findings_of
from olvido.audits.tolerances import ADVISORY, CONDUCT
from olvido.audits.verdict import judge, settle
from olvido.files import read_document
from olvido.statistics import auc

RESAMPLES = 1000
STATES = ("plain", "int4", "tuned")
LEAST = "taught least"
LESS_IS_KNOWN = ("likelihood: loss", "truth: forget quality")
"""Metrics that are lower where more is known."""


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """What a row's findings come to by the rules as they are now; the findings themselves are left
    out. Rows that are no audit's come as they are."""
    if "report" not in row:
        return row
    document = row["report"]
    settled = settle(findings_of(document))
    required = [name for name, kind in AUDITS.items() if kind.required]
    missing = {
        name: tuple(map(EvidenceNeed, needs)) for name, needs in document["not_examined"].items()
    }
    meaning = {name: kind.reason for name, kind in AUDITS.items()}
    verdict, grounds = judge(settled, missing, required, meaning)
    reasons = tuple(map(str, grounds))
    if verdict.value == document["verdict"]:
        reasons = tuple(document["reasons"])
    failed = dict.fromkeys(f.audit for f in settled if f.votes and f.status is Status.FAIL)
    found = {**row, "verdict": verdict.value, "failed": list(failed), "reasons": list(reasons)}
    del found["report"]
    if "expected" in row:
        words = any(row.get("words", "") in reason for reason in reasons)
        found["named"] = words and bool(set(row["expected"]) & failed.keys())
    return found


def table(rows: list[dict[str, Any]], least: str) -> list[dict[str, Any]]:
    """For each metric: AUC of telling who knows from who does not, plain and after changes.

    Intervals are a bootstrap over the models that others were made from: a model and its exposed
    copy are drawn together.

    Args:
        rows: of every model in every state.
        least: how the names of the models begin that were taught least.
    """
    found = []
    for metric in rows[0]["values"]:
        made: dict[str, Any] = {"metric": metric}
        for state in STATES:
            some = [r for r in rows if r["state"] == state and metric in r["values"]]
            made[state] = _area(metric, some) if some else None
            if state == "plain":
                lightly = [r for r in some if not r["knows"] or r["name"].startswith(least)]
                made[LEAST] = _area(metric, lightly)
        found.append(made)
    return sorted(found, key=lambda row: -row["plain"][0])


def _area(metric: str, rows: list[dict[str, Any]]) -> list[float]:
    """Area, and the limits of its 95% interval."""
    sign = -1.0 if metric in LESS_IS_KNOWN else 1.0
    values = np.array([np.nan if (v := r["values"][metric]) is None else sign * v for r in rows])
    knows = np.array([r["knows"] for r in rows])
    starts = np.array([r["start"] for r in rows])
    places = [np.flatnonzero(starts == start) for start in dict.fromkeys(starts.tolist())]
    draw = np.random.default_rng(0)
    areas = []
    while len(areas) < RESAMPLES:
        chosen = draw.integers(len(places), size=len(places))
        at = np.concatenate([places[i] for i in chosen])
        # A resample of one kind alone has no area.
        if 0 < knows[at].sum() < len(at):
            areas.append(auc(values[at][knows[at]], values[at][~knows[at]]))
    low, high = np.quantile(areas, [0.025, 0.975])
    return [auc(values[knows], values[~knows]), float(low), float(high)]


def summary(out: Path) -> dict[str, Any]:
    """All parts in one document, with their tables for people printed on the way."""
    parts = {n: read_document(out / f"{n}.json") for n in ("innocent", "fakes", "metrics", "forms")}
    counts: dict[tuple[str, str, int], list[bool]] = {}
    for row in parts["innocent"]["rows"]:
        kind = "exactly forgotten" if row["name"].startswith("exactly") else "never trained"
        key = (kind, row["level"], row["references"])
        counts.setdefault(key, []).append(row["verdict"] == "pass")
    alarms: list[tuple[object, ...]] = []
    for key, passed in counts.items():
        wrong = len(passed) - sum(passed)
        low, high = harness.share(wrong, len(passed))["interval"]
        alarms.append((*key, sum(passed), wrong, f"{low:.1%} to {high:.1%}"))
    columns = ["suspects", "level", "references", "pass", "not pass"]
    innocent = harness.table([*columns, "95% interval of false alarms"], alarms)
    named = [
        [
            *(row["name"], row["verdict"]),
            ", ".join(row["expected"]) + ("" if row["named"] else " (NOT NAMED)"),
            ", ".join(row["failed"]),
        ]
        for row in parts["fakes"]["rows"]
    ]
    columns = ["pretender", "verdict", "reason that had to be named", "all that failed"]
    fakes = harness.table(columns, named)
    states = [s for s in STATES if any(row[s] for row in parts["metrics"]["metrics"])]
    heads = [
        {"plain": "all", "int4": "after int4", "tuned": "after 10 other steps"}[s] for s in states
    ]
    areas: list[list[str]] = []
    for row in (*parts["metrics"]["metrics"], *parts["forms"]["metrics"]):
        audit_name, _, metric = row["metric"].partition(": ")
        votes = "no" if (audit_name, metric) in ADVISORY else "yes"
        if audit_name in CONDUCT:
            votes += " (conduct)"
        areas.append([row["metric"], *(_shown(row[kind]) for kind in (*states, LEAST)), votes])
    harness.show(innocent, fakes, harness.table(["metric", *heads, LEAST, "votes"], areas))
    return parts


def _shown(area: list[float] | None) -> str:
    return "" if area is None else "{:.3f} ({:.2f} to {:.2f})".format(*area)
