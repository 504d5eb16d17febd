"""The bound of one run: brute force, another library, and a mechanism whose epsilon is known."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from olvido.audits.promise.bound import at_least, ceiling, p_value
from olvido.errors import InputError


@pytest.mark.parametrize(("guesses", "right"), [(1, 1), (7, 5), (10, 10), (12, 3)])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0])
def test_without_delta_it_is_a_binomial(guesses: int, right: int, epsilon: float) -> None:
    """Counted over all ways in which guesses that are right with one chance come out."""
    chance = math.exp(epsilon) / (1 + math.exp(epsilon))
    total = sum(
        math.prod(chance if one else 1 - chance for one in ways)
        for ways in product([0, 1], repeat=guesses)
        if sum(ways) >= right
    )
    assert p_value(right, guesses, 40, epsilon, 0.0) == pytest.approx(total)


@pytest.mark.parametrize(("guesses", "right"), [(50, 50), (100, 90), (1000, 700)])
def test_the_lower_bound_is_that_of_an_exact_interval(guesses: int, right: int) -> None:
    """Clopper and Pearson's, one-sided, as scipy finds it."""
    test = binomtest(right, guesses, alternative="greater")
    low = test.proportion_ci(0.95, method="exact").low
    expected = math.log(low / (1 - low))
    assert at_least(right, guesses, guesses, 0.0) == pytest.approx(expected, abs=1e-6)


def test_known_figures() -> None:
    found = [round(ceiling(r, r, 0.0), 2) for r in (50, 100, 1000)]
    assert found == [2.78, 3.49, 5.81]


def test_delta_is_the_worst_of_all_shares() -> None:
    """The formula, written out."""
    m, r, v, epsilon, delta = 60, 20, 17, 1.0, 1e-2
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    chances = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    alpha = max(sum(chances[v - i : v]) / i for i in range(1, v + 1))
    assert p_value(v, r, m, epsilon, delta) == pytest.approx(
        sum(chances[v:]) + 2 * m * delta * alpha
    )
    assert at_least(v, r, m, delta) < at_least(v, r, m, 0.0)


def test_more_right_guesses_show_more_and_none_nothing() -> None:
    shown = [at_least(right, 100, 200, 1e-3) for right in range(101)]
    assert shown == sorted(shown)
    assert shown[50] == 0.0
    assert shown[100] == ceiling(100, 200, 1e-3)
    p = [p_value(90, 100, 200, epsilon, 1e-3) for epsilon in np.linspace(0, 8, 81)]
    assert p == sorted(p)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_a_mechanism_of_known_epsilon_is_hardly_ever_refuted(epsilon: float) -> None:
    """Randomised response is as bad as its promise allows: of 200 audits 5% may exceed it."""
    draw = np.random.default_rng(0)
    said = draw.random((200, 300)) < 1 / (1 + math.exp(-epsilon))
    known = {int(right): at_least(int(right), 300, 300, 0.0) for right in set(said.sum(1))}
    shown = [known[int(right)] for right in said.sum(1)]
    # A binomial of 200 audits of 5% each: 18 or more have a chance of 1%.
    assert sum(one > epsilon for one in shown) < 18
    # And it comes near: the audit is no formality.
    assert np.mean(shown) > epsilon - 0.35


@pytest.mark.parametrize(("right", "guesses", "canaries"), [(3, 2, 9), (1, 9, 4), (-1, 2, 4)])
def test_impossible_counts_are_refused(right: int, guesses: int, canaries: int) -> None:
    with pytest.raises(InputError, match="right guesses <= guesses <= canaries"):
        p_value(right, guesses, canaries, 1.0, 0.0)
