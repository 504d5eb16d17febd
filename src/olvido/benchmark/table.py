"""From cells to rows: means over seeds, with intervals over seeds; and the comparison's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from markupsafe import Markup

from olvido.benchmark.cell import NEVER, ORIGINAL
from olvido.reporting.plane import Plane, PlanePoint, Range, draw
from olvido.reporting.render import html_of, write_html

MEASURES = {
    "recall": ("recall", "exact match", "excess"),
    "loss": ("likelihood", "loss", "ratio"),
    "kept": ("retention", "exact match", "value"),
    "neighbours": ("neighbours", "exact match", "value"),
    "general": ("general", "exact match", "value"),
}
"""Measures of a row: recall of the forget set above never-trained models, its loss as a share of
theirs, and recall of the retain set. Each is an audit, its metric, and the value to use."""


COLUMNS = {
    "method": "its name, and its options where an object was given; `original` is the model before "
    "forgetting, `never trained` are the references, each beside the others",
    "runs": "seeds; references, for `never trained`",
    "passed": "runs whose audit passed",
    "unknown": "runs whose audit could not decide",
    "recall": "exact match on the forget set, above that of models which never saw it",
    "loss": "loss on the forget set, as a share of that of models which never saw it",
    "kept": "exact match on retained records",
    "neighbours": "exact match on kept records near the forgotten ones",
    "general": "exact match on general knowledge",
    "seconds": "wall clock of the forgetting",
    "share_of_retraining": "tokens taken, as a share of those of training again",
    "peak_memory": "of the process until the forgetting ended, in bytes; the largest of all runs",
    "failed": "audits that failed, with their metrics",
    "failures": "what went wrong outright",
}
"""A description of each column. Those from `recall` to `share_of_retraining`, and those of custom
metrics after them, are means over the runs; beside each, `..._low` and `..._high` are the ends of
its 95% interval over seeds (Student's t), empty for a single run."""

MEANS = ("recall", "loss", "kept", "neighbours", "general", "seconds", "share_of_retraining")


def flat(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with a plain value in every column: see `COLUMNS`."""
    found = []
    for row in rows:
        flat_row: dict[str, Any] = {
            name: row[name] for name in ("method", "runs", "passed", "unknown")
        }
        for name, value in [*((name, row[name]) for name in MEANS), *row["metrics"].items()]:
            flat_row[name] = None if value is None else value["mean"]
            low, high = (value and value["interval"]) or (None, None)
            flat_row |= {f"{name}_low": low, f"{name}_high": high}
        flat_row["peak_memory"] = row["peak_memory"]
        found.append(flat_row | {name: "; ".join(row[name]) for name in ("failed", "failures")})
    return found


def rows_of(
    cells: Sequence[Mapping[str, Any]], training: float | None, metrics: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A row for the original, the never-trained models, and each method.

    Args:
        cells: documents of `cell.carry_out`.
        training: tokens of retraining, where known.
        metrics: names of audits whose findings have columns of their own.
    """
    own = _columns(cells, metrics)
    names = list(dict.fromkeys(cell["method"] for cell in cells))
    rows = []
    for name in (ORIGINAL, NEVER, *(n for n in names if n not in (ORIGINAL, NEVER))):
        some = [cell for cell in cells if cell["method"] == name]
        if not some:
            continue
        costs = [cell["cost"] for cell in some if cell.get("cost")]
        peaks = [c["memory"]["peak"] for c in some if c.get("memory") and c["memory"]["peak"]]
        tokens = [cost["tokens"] for cost in costs]
        failed = dict.fromkeys(a for cell in some for a in cell.get("failed", ()))
        rows.append(
            {
                "method": name,
                "runs": len(some),
                "passed": sum(cell["verdict"] == "pass" for cell in some),
                "unknown": sum(cell["verdict"] == "unknown" for cell in some),
                **{key: over_seeds(_values(some, *where)) for key, where in MEASURES.items()},
                "seconds": over_seeds([cost["seconds"] for cost in costs]),
                "share_of_retraining": over_seeds([t / training for t in tokens])
                if training
                else None,
                "metrics": {key: over_seeds(_values(some, *where)) for key, where in own.items()},
                "peak_memory": max(peaks) if peaks else None,
                "failed": list(failed),
                "failures": [cell["failure"] for cell in some if cell["failure"]],
            }
        )
    return rows


def over_seeds(values: Sequence[float]) -> dict[str, Any] | None:
    """Mean and its 95% interval (Student's t) over the runs; None for a single run, which has no
    spread.

    >>> over_seeds([1.0, 3.0])["mean"]
    2.0
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return None
    mean, interval = fmean(known), None
    if len(known) > 1:
        from scipy.stats import t

        half = float(t.ppf(0.975, len(known) - 1)) * stdev(known) / math.sqrt(len(known))
        interval = [mean - half, mean + half]
    return {"mean": mean, "interval": interval, "n": len(known)}


def _columns(
    cells: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, tuple[str, str, str]]:
    """Sources of further audits' columns: by the metric's name, or by audit and metric where two
    have the same name."""
    found = dict.fromkeys(
        (finding["audit"], finding["metric"])
        for cell in cells
        for finding in (cell.get("audit") or {"findings": ()})["findings"]
        if finding["audit"] in metrics
    )
    taken = [metric for _, metric in found]
    return {
        metric if taken.count(metric) == 1 and metric not in COLUMNS else f"{audit}: {metric}": (
            audit,
            metric,
            "value",
        )
        for audit, metric in found
    }


def _values(cells: Sequence[Mapping[str, Any]], audit: str, metric: str, what: str) -> list[float]:
    found = []
    for cell in cells:
        for f in (cell.get("audit") or {"findings": ()})["findings"]:
            if (f["audit"], f["metric"]) == (audit, metric) and f["value"] is not None:
                ratio = f["value"] / f["expected"] if what == "ratio" and f["expected"] else None
                found.append(ratio if what == "ratio" else f[what])
    return [value for value in found if value is not None]


KINDS = {ORIGINAL: "before", NEVER: "never-trained"}


def picture(document: Mapping[str, Any]) -> Markup | None:
    """Every row as a point with its intervals over seeds; None without any measurement."""
    points = [
        PlanePoint(
            row["method"],
            KINDS.get(row["method"], "other"),
            row["recall"]["mean"],
            row["kept"]["mean"],
            _range(row["recall"]),
            _range(row["kept"]),
            passed=row["passed"] == row["runs"] or row["method"] in KINDS,
        )
        for row in document["rows"]
        if row["recall"] and row["kept"]
    ]
    return draw("plane", Plane("exact match", tuple(points), (), ())) if points else None


def write_page(document: Mapping[str, Any], path: Path) -> None:
    """Write one self-contained page.

    Raises:
        MissingExtra: the package for charts is not installed.
    """
    own = list(dict.fromkeys(name for row in document["rows"] for name in row["metrics"]))
    shown = {"document": document, "picture": picture(document), "own": own}
    write_html(html_of("olvido.benchmark", "comparison.html.j2", **shown), path)


def _range(value: Mapping[str, Any]) -> Range | None:
    found = value["interval"]
    return None if found is None else (found[0], found[1])
