"""The bisection: a monotone response is found, whatever lies where."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.methods.auto import CLOSE, STEP, Bracket


@given(
    start=st.floats(1e-6, 1e-1),
    aim=st.floats(-6.0, 6.0),
    width=st.floats(1.3, 4.0),
)
def test_a_band_of_rates_is_found_by_halving(start: float, aim: float, width: float) -> None:
    low = start * STEP**aim
    bracket, tried = Bracket(start), []
    while (rate := bracket.next) is not None and not low <= rate <= low * width:
        tried.append(rate)
        bracket.observe(rate, too_much=rate > low)
    assert rate is not None
    # Steps to the other side of the aim, and then halves of one step's logarithm.
    assert len(tried) <= abs(aim) + 2 + math.ceil(math.log2(math.log(STEP) / math.log(CLOSE)))
    assert len(set(tried)) == len(tried)


@pytest.mark.parametrize("above", [True, False])
def test_nothing_is_left_where_the_response_was_not_monotone(above: bool) -> None:
    bracket = Bracket(1e-4)
    bracket.observe(1e-4, too_much=above)
    other = bracket.next
    assert other is not None
    bracket.observe(other, too_much=not above)
    while (rate := bracket.next) is not None:
        # Both sides claim it.
        bracket.observe(rate, too_much=True)
        bracket.observe(rate, too_much=False)
    assert bracket.next is None
