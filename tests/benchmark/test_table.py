"""Means and intervals over seeds, and never over records."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import t

from olvido.benchmark.cell import NEVER, ORIGINAL
from olvido.benchmark.table import over_seeds, rows_of


def cell(method: str, seed: int, recall: float, *, n: int = 40, verdict: str = "pass") -> Any:
    def found(audit: str, metric: str, value: float, expected: float) -> dict[str, Any]:
        told = {"audit": audit, "metric": metric, "value": value, "expected": expected}
        return told | {"excess": value - expected, "n": n, "interval": [-1.0, 1.0]}

    return {
        "method": method,
        "seed": seed,
        "verdict": verdict,
        "failed": [] if verdict == "pass" else ["recall"],
        "failure": None,
        "cost": {"tokens": 100.0 * (seed + 1), "seconds": 2.0},
        "memory": {"peak": 1000 + seed, "before": 900},
        "audit": {
            "findings": [
                found("recall", "exact match", recall, 0.1),
                found("likelihood", "loss", 3.0, 4.0),
                found("retention", "exact match", 0.9, 0.95),
            ]
        },
    }


def test_an_interval_is_that_of_the_mean_over_seeds() -> None:
    values = [0.2, 0.5, 0.3, 0.4]
    found = over_seeds(values)
    assert found is not None
    mean = sum(values) / 4
    spread = (sum((v - mean) ** 2 for v in values) / 3) ** 0.5
    expected = t.interval(0.95, 3, loc=mean, scale=spread / 2)
    assert found["interval"] == pytest.approx(list(expected))
    assert (found["mean"], found["n"]) == (pytest.approx(mean), 4)


def test_one_seed_has_no_interval_and_no_value_is_none() -> None:
    assert over_seeds([0.3]) == {"mean": 0.3, "interval": None, "n": 1}
    assert over_seeds([]) is None
    assert over_seeds([float("nan")]) is None


def test_more_records_make_no_seed_surer() -> None:
    few, many = (
        rows_of([cell("npo", seed, 0.1 * seed, n=n) for seed in range(3)], None)[0]["recall"]
        for n in (5, 5000)
    )
    assert few == many
    assert few["interval"][1] - few["interval"][0] > 0.4


def test_rows_say_what_the_cells_said() -> None:
    cells = [
        cell("npo", 0, 0.1),
        cell("npo", 1, 0.3, verdict="fail"),
        cell(NEVER, 0, 0.1),
        cell(ORIGINAL, 0, 1.0, verdict="fail"),
        {"method": "auto", "seed": 0, "verdict": "fail", "failure": "none found", "audit": None},
    ]
    rows = rows_of(cells, 1000.0)
    assert [row["method"] for row in rows] == [ORIGINAL, NEVER, "npo", "auto"]
    npo, auto = rows[2], rows[3]
    assert (npo["passed"], npo["runs"], npo["failed"]) == (1, 2, ["recall"])
    assert npo["recall"]["mean"] == pytest.approx(0.1)
    assert npo["loss"]["mean"] == pytest.approx(0.75)
    assert npo["kept"]["mean"] == pytest.approx(0.9)
    assert npo["share_of_retraining"]["mean"] == pytest.approx(0.15)
    assert npo["peak_memory"] == 1001
    assert (auto["passed"], auto["recall"], auto["failures"]) == (0, None, ["none found"])
    assert rows_of(cells, None)[2]["share_of_retraining"] is None
