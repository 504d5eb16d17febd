"""No cell of a table is a formula, and every cell says what it said."""

from __future__ import annotations

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from olvido.requests.workflow.lists import COLUMNS, as_csv, exported, harmless_cell

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@given(st.sampled_from(FORMULAS), TEXTS)
@example("=", "HYPERLINK(1)")
@example("-", "2+3+cmd|' /C calc'!A0")
def test_what_begins_as_a_formula_is_told_to_be_text(begins: str, rest: str) -> None:
    for before in (
        "",
        "  ",
        "\u00a0",
        "\ufeff",
        "\u3000",
        "\x0b",
        "\0",
        "\u200b",
        "\x1b ",
        "\u2028",
    ):
        text = f"{before}{begins}{rest}"
        assert harmless_cell(text) == f"'{text}"


@given(TEXTS, st.none() | st.integers(-99, 99))
def test_a_table_read_again_says_the_same(text: str, left: int | None) -> None:
    row = dict.fromkeys(COLUMNS) | {"id": "req-0001", "law": text, "days_left": left}
    (read,) = csv.DictReader(io.StringIO(as_csv([row | {"subject": "x", "scope": {}}])))
    assert read["law"].removeprefix("'") == text.removeprefix("'")
    assert read["days_left"] == ("" if left is None else str(left))
    assert list(read) == list(COLUMNS) == list(exported([row])[0])
