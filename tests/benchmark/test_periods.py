"""The measures of periods, by matrices made by hand."""

from __future__ import annotations

import pytest

from olvido.benchmark import Periods
from olvido.errors import InputError

MADE = Periods([[0.8, 0.3, 0.1], [0.9, 0.7, 0.4], [0.5, 0.6, 1.0]], before=[0.1, 0.2, 0.2])


def test_the_measures_of_a_matrix_made_by_hand() -> None:
    assert MADE.average == pytest.approx(2.1 / 3)
    # 0.5 - 0.8 and 0.6 - 0.7.
    assert MADE.backward == pytest.approx(-0.2)
    # The best of the first period came with the second: 0.9 - 0.5 and 0.7 - 0.6.
    assert MADE.forgetting == pytest.approx(0.25)
    # 0.3 - 0.2 and 0.4 - 0.2.
    assert MADE.forward == pytest.approx(0.15)


def test_later_training_may_help_what_was_earlier() -> None:
    found = Periods([[0.5, 0.0], [0.7, 1.0]], before=[0.0, 0.0])
    assert found.forgetting == pytest.approx(-0.2) == -found.backward


@pytest.mark.parametrize(
    ("rows", "before"),
    [
        ([[0.5]], [0.1]),
        ([[0.5, 0.5], [0.5]], [0.1, 0.1]),
        ([[0.5, 0.5], [0.5, 0.5]], [0.1]),
        ([[0.5, 50.0], [0.5, 0.5]], [0.1, 0.1]),
        ([[0.5, float("nan")], [0.5, 0.5]], [0.1, 0.1]),
    ],
)
def test_what_is_no_matrix_of_shares_is_refused(
    rows: list[list[float]], before: list[float]
) -> None:
    with pytest.raises(InputError):
        Periods(rows, before)
