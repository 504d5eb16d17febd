"""Who votes follows from what was measured: the published table and `ADVISORY` agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from olvido.audits import AUDITS
from olvido.audits.tolerances import ADVISORY, CONDUCT, tolerated
from olvido.audits.tolerances import table as held_to

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOR_OTHER_REASONS = {
    ("truth", "forget quality"),
    ("difference", "AUC of the loss gained"),
    ("fluency", "names said"),
}
"""They do not vote whatever is measured, as `ADVISORY` says."""


@pytest.fixture(scope="module")
def table() -> list[dict[str, Any]]:
    results = json.loads((RESULTS / "audit_of_audits.json").read_text())
    return [*results["metrics"]["metrics"], *results["forms"]["metrics"]]


def named(row: dict[str, Any]) -> tuple[str, str]:
    audit, _, metric = row["metric"].partition(": ")
    return audit, metric


def test_a_metric_votes_where_its_interval_lies_above_a_half_and_only_there(
    table: list[dict[str, Any]],
) -> None:
    measured = {named(row): row["plain"] for row in table if named(row)[0] not in CONDUCT}
    assert len(measured) > 25
    blind = {one for one, (_, low, _) in measured.items() if not low > 0.5}
    assert blind | FOR_OTHER_REASONS == ADVISORY
    assert all(low <= area <= high for area, low, high in measured.values())


def test_every_audit_and_every_measured_metric_has_its_tolerance(
    table: list[dict[str, Any]],
) -> None:
    assert list(held_to()) == list(AUDITS.built_in)
    for row in table:
        assert tolerated(*named(row), 1.0) is not None, row["metric"]
    assert tolerated("recall", "exactness", 1.0) is None
    assert tolerated("likelihood", "loss", 4.0) == (-1.0, 1.0)


def test_what_is_exempt_is_about_conduct_and_still_convicts(table: list[dict[str, Any]]) -> None:
    """An audit that no area can speak for has to have named a pretender that nothing else did."""
    fakes = json.loads((RESULTS / "audit_of_audits.json").read_text())["fakes"]["rows"]
    for name in CONDUCT:
        assert name in AUDITS
        assert any(name in row["expected"] and row["named"] for row in fakes)


def test_the_page_shows_every_measured_metric(table: list[dict[str, Any]]) -> None:
    page = (RESULTS / "audit_of_audits.md").read_text()
    for row in table:
        line = next(line for line in page.splitlines() if line.startswith(f"| {row['metric']} |"))
        assert "{:.3f} ({:.2f} to {:.2f})".format(*row["plain"]) in line
        votes = "no" if named(row) in ADVISORY else "yes"
        assert line.rsplit("|", 2)[1].strip().partition(" ")[0] == votes
