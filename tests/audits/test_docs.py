"""`docs/reference/audits.md` tells every audit as the code has it, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from olvido.audits import AUDITS, tolerances
from olvido.audits.report.blocks import MEMBERS

DOCS = (Path(__file__).parents[2] / "docs" / "reference" / "audits.md").read_text("utf-8")
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in DOCS.splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def test_the_table_lists_exactly_the_audits_in_their_order() -> None:
    assert list(ROWS) == list(AUDITS)


@pytest.mark.parametrize("name", AUDITS)
def test_a_row_tells_what_the_audit_declares(name: str) -> None:
    asks, _source, level, needs, required, tolerated = ROWS[name]
    kind = AUDITS[name]
    assert asks
    assert level == kind.level.name.lower()
    assert needs == ", ".join(sorted(need.value for need in kind.needs))
    assert (required == "yes") is kind.required
    names = re.findall(r"`([A-Z_]+)`", tolerated)
    assert names
    assert all(isinstance(getattr(tolerances, word), tolerances.Range) for word in names)


def test_every_audit_has_its_place_on_the_page() -> None:
    assert sorted(name for names in MEMBERS.values() for name in names) == sorted(AUDITS)
