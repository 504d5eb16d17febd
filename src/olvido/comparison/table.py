"""From cells to rows: means over seeds, with intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from olvido.comparison.cell import NEVER, ORIGINAL

MEASURES = {
    "recall": ("recall", "exact match", "excess"),
    "loss": ("likelihood", "loss", "ratio"),
    "kept": ("collateral", "exact match", "value"),
    "neighbours": ("neighbours", "exact match", "value"),
    "general": ("general", "exact match", "value"),
}
"""What a row shows: recall of the forgotten above never trained, their loss as a share of never
trained models', and recall of what was to stay. Each is an audit, its metric, and what of it."""


def rows_of(cells: Sequence[Mapping[str, Any]], training: float | None) -> list[dict[str, Any]]:
    """A row for the original, the never-trained models, and each method.

    Args:
        cells: documents of `cell.carry_out`.
        training: tokens of training again, where it was seen.
    """
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
                "peak_memory": max(peaks) if peaks else None,
                "failed": list(failed),
                "failures": [cell["failure"] for cell in some if cell["failure"]],
            }
        )
    return rows


def over_seeds(values: Sequence[float]) -> dict[str, Any] | None:
    """Mean and 95% interval of it (Student's t) over the runs; none of one run, which tells nothing
    of the next.

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


def _values(cells: Sequence[Mapping[str, Any]], audit: str, metric: str, what: str) -> list[float]:
    found = []
    for cell in cells:
        for f in (cell.get("audit") or {"findings": ()})["findings"]:
            if (f["audit"], f["metric"]) == (audit, metric) and f["value"] is not None:
                ratio = f["value"] / f["expected"] if what == "ratio" and f["expected"] else None
                found.append(ratio if what == "ratio" else f[what])
    return [value for value in found if value is not None]
