"""The demo's report: one HTML page, for people first, then for engineers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from olvido.audits import AUDITS
from olvido.audits.types import Status
from olvido.demo import charts
from olvido.demo.charts import MODELS, PROBES
from olvido.ledger.facts import Guarantee
from olvido.methods.guarantee import MEANING
from olvido.reporting.drawing import drawable
from olvido.reporting.render import html_of, write_html
from olvido.reporting.words import day

KNOWN = {"as_trained": "gone", "paraphrased": "gone", "neighbours": "kept", "city": "kept"}
"""The goal of each group of questions: forgotten or retained."""


def write_report(document: Mapping[str, Any], path: Path) -> None:
    """Write one self-contained HTML page without scripts or external resources.

    The page is complete before the file is touched; a failure leaves the old file.

    Args:
        document: the demo's measurements, as in its `demo.json`.
        path: the file to write or to replace; its folder exists.
    """
    write_html(html_of("olvido.demo", "report.html.j2", **_view(document)), path)


def _view(document: Mapping[str, Any]) -> dict[str, Any]:
    """The template's values, in its order."""
    request = document["request"]
    attempts = [_attempt(attempt) for attempt in request["attempts"]]
    plan = request["plan"]
    claims = {route["guarantee"] for route in plan} | {a["guarantee"] for a in attempts} - {None}
    return {
        "document": document,
        "request": request,
        "first": attempts[0],
        "last": attempts[-1],
        "attempts": attempts,
        "models": MODELS,
        "shares": [
            {
                "should": KNOWN[probe],
                "name": name,
                "picture": charts.shares(probe, document["recall"][probe]),
            }
            for probe, name in PROBES.items()
            if probe in document["recall"]
        ],
        "answers": [_answers(name, rows) for name, rows in document["answers"].items()],
        "losses": _losses(document["losses"]),
        "cost": document["cost"],
        "cost_picture": None
        if document["cost"] is None
        else charts.cost(document["cost"]["training_seconds"], document["cost"]["seconds"]),
        "plan": plan,
        "tried": {attempt["method"] for attempt in attempts},
        "claims": {g.value: MEANING[g] for g in Guarantee if g.value in claims},
        "statuses": {status.value: status.meaning for status in Status},
        "command": _command(document),
        "date": day(document["date"]),
    }


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    """An attempt with its audit's findings by audit, and in one word how it ended."""
    outcome, audit = attempt["outcome"], attempt["audit"]
    if attempt["verdict"] == "pass":
        ending = "pass"
    else:
        undecided = audit is not None and audit["verdict"] == "unknown"
        ending = "unknown" if undecided and not attempt["failure"] else "fail"
    groups: dict[str, list[Any]] = {}
    for found in audit["findings"] if audit else ():
        groups.setdefault(found["audit"], []).append(found)
    reasons = ([attempt["failure"]] if attempt["failure"] else []) + (
        list(audit["reasons"]) if audit else []
    )
    return {
        **attempt,
        "ending": ending,
        "guarantee": outcome["guarantee"] if outcome else None,
        "reasons": reasons,
        "groups": [
            {
                "audit": name,
                "summary": AUDITS[name].summary if name in AUDITS else None,
                "findings": found,
            }
            for name, found in groups.items()
        ],
    }


def _answers(name: str, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """A group's questions with each model's answer and whether it is right."""
    shown = [model for model in MODELS if rows and model in rows[0]]
    right = [[row[model].strip() == row["truth"].strip() for model in shown] for row in rows]
    return {
        "name": name,
        "models": [MODELS[model] for model in shown],
        "rows": [
            {**row, "given": list(zip((row[model] for model in shown), marks, strict=True))}
            for row, marks in zip(rows, right, strict=True)
        ],
        "right": [sum(column) for column in zip(*right, strict=True)],
    }


def _losses(losses: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, Any]]:
    limits = charts.span(losses)
    return [
        {
            "name": name,
            "picture": charts.histogram(
                model, losses[model]["forgotten"], losses[model]["never members"], limits
            ),
            "left_out": sum(len(group) - len(drawable(group)) for group in losses[model].values()),
        }
        for model, name in MODELS.items()
        if model in losses
    ]


def _command(document: Mapping[str, Any]) -> str:
    """The command line that repeats this run."""
    first = document["request"]["attempts"][0]
    words = ["olvido", "demo", *(["--fast"] if document["fast"] else [])]
    words += ["--seed", str(document["seed"]), "--method", first["method"]]
    for name, value in first["options"].items():
        words += ["--option", f"{name}={value}"]
    words += ["--references", str(len(document["request"]["never_trained"]))]
    return shlex.join(words)
