"""Epsilon is what Opacus' accountants say, and nothing else."""

import json
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from olvido.errors import InputError, UnknownName
from olvido.training.private.accounting import (
    Bound,
    Spent,
    epsilon_of,
    noise_for,
    noise_of_sums,
    require_delta,
)

accountants = pytest.importorskip("opacus.accountants")
SPENT = Spent(
    epsilon=0.5, delta=1e-3, unit="subject", units=100, accountant="prv", rate=0.1, noise=2.0,
    clip=1.0, steps=10, most=8,
)  # fmt: skip
RUNS = [(1.1, 0.05, 40, 1e-3), (0.8, 0.25, 12, 5e-3)]


@pytest.mark.parametrize("name", ["prv", "rdp"])
@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), RUNS)
def test_epsilon_is_that_of_the_accountant(
    name: str, noise: float, rate: float, steps: int, delta: float
) -> None:
    direct = accountants.create_accountant(name)
    for _ in range(steps):
        direct.step(noise_multiplier=noise, sample_rate=rate)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = direct.get_epsilon(delta)
    found = epsilon_of(noise, delta=delta, rate=rate, steps=steps, accountant=name)
    assert abs(found - expected) < 1e-6


def test_the_noise_for_an_epsilon_gives_it() -> None:
    about: dict[str, Any] = {"delta": 1e-3, "rate": 0.1, "steps": 30, "accountant": "rdp"}
    noise = noise_for(3.0, **about)
    found = epsilon_of(noise, **about)
    assert 2.98 < found <= 3.0


def test_without_sampling_it_is_the_gaussian_mechanism() -> None:
    """The closed form of Balle and Wang 2018 (arXiv 1805.06530): T steps of noise z are one of
    z / sqrt(T)."""

    def normal(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    noise, steps = 4.0, 5
    size = math.sqrt(steps) / noise
    epsilon = epsilon_of(noise, delta=1e-3, rate=1.0, steps=steps)
    delta = normal(size / 2 - epsilon / size) - math.exp(epsilon) * normal(
        -size / 2 - epsilon / size
    )
    # The accountant gives an upper bound, with an error of 0.01 in epsilon.
    assert 0.9e-3 < delta <= 1e-3


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.05])
def test_too_little_noise_is_no_promise(noise: float) -> None:
    with pytest.raises(InputError, match="too little"):
        epsilon_of(noise, delta=1e-3, rate=0.1, steps=100)


def test_what_cannot_be_promised() -> None:
    about: dict[str, Any] = {"delta": 1e-3, "rate": 0.1, "steps": 10}
    for epsilon in (0.0, -1.0, 1000.0, math.nan):
        with pytest.raises(InputError, match="epsilon"):
            noise_for(epsilon, **about)
    with pytest.raises(UnknownName):
        noise_for(1.0, **about, accountant="gdp")
    with pytest.raises(UnknownName):
        epsilon_of(1.0, **about, accountant="gdp")


def test_delta_is_at_most_a_tenth_of_a_unit() -> None:
    assert require_delta(None, 50) == require_delta(0.002, 50) == 0.002
    for delta in (0.0021, 0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="at most"):
            require_delta(delta, 50)


def test_two_noised_sums_cost_what_one_costs() -> None:
    """Sums of gradients and of halves together: 1 / z^2 = 1 / z_g^2 + (1/2)^2 / sigma_b^2."""
    noise, counts = 0.9, 1.7
    sums = noise_of_sums(noise, counts)
    assert sums**-2 + (0.5 / counts) ** 2 == pytest.approx(noise**-2)
    with pytest.raises(InputError, match="give them more"):
        noise_of_sums(2.0, 1.0)


def test_what_was_spent_can_be_read_back() -> None:
    about: dict[str, Any] = {
        "accountant": "prv",
        "rate": 0.1,
        "noise": 1.1,
        "clip": 0.5,
        "steps": 9,
        "most": 8,
    }
    spent = Spent(epsilon=2.0, delta=1e-3, unit="subject", units=100, **about)
    values = json.loads(json.dumps(spent.to_dict()))
    assert Spent.from_dict(values) == spent
    assert values["batch"] == spent.batch == pytest.approx(10)
    with pytest.raises(ValueError, match="relation"):
        Spent.from_dict({**values, "relation": "replace one unit"})


@pytest.mark.parametrize("false", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.2])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 8.0])
def test_the_best_test_of_the_worst_mechanism_recognises_as_many_as_are_allowed(
    epsilon: float, delta: float, false: float
) -> None:
    """Two distributions of four outcomes come as far apart as (epsilon, delta) allows: Neyman and
    Pearson's test of them is the best that anybody can do."""
    grown = math.exp(epsilon)
    often, seldom = (1 - delta) * grown / (1 + grown), (1 - delta) / (1 + grown)
    took, took_not = (delta, often, seldom, 0.0), (0.0, seldom, often, delta)
    spent, best = 0.0, 0.0
    for one, other in zip(took, took_not, strict=True):  # the likeliest outcome first
        share = 1.0 if other == 0 else min(1.0, max(0.0, (false - spent) / other))
        spent, best = spent + share * other, best + share * one
    assert Bound(1, epsilon, delta).true_positives(false) == pytest.approx(best, abs=1e-12)


def test_an_epsilon_that_no_number_holds_allows_everything() -> None:
    assert Bound(1, 1e6, 1.0).true_positives() == 1.0
    assert replace(SPENT, epsilon=90.0).of_group(50) == Bound(50, 4500.0, 1.0)


@pytest.mark.parametrize("units", [1, 2, 5])
def test_a_group_is_no_better_hidden_than_a_gaussian_that_moved_as_often_hides_it(
    units: int,
) -> None:
    """The closed form of Balle and Wang 2018 for a shift of so many sensitivities."""
    noise, epsilon = 3.0, 0.4

    def exactly(shift: float, epsilon: float) -> float:
        size = shift / noise
        both = [size / 2 - epsilon / size, -size / 2 - epsilon / size]
        first, second = (0.5 * math.erfc(-x / math.sqrt(2)) for x in both)
        return first - math.exp(epsilon) * second

    spent = replace(SPENT, epsilon=epsilon, delta=exactly(1, epsilon))
    bound = spent.of_group(units)
    assert bound.epsilon == pytest.approx(units * epsilon)
    assert exactly(units, bound.epsilon) <= bound.delta * (1 + 1e-9)
    # One unit after the other, as the theorem is proved.
    stepwise = 0.0
    for _ in range(units):
        stepwise = math.exp(epsilon) * stepwise + spent.delta
    assert bound.delta == pytest.approx(min(1.0, stepwise))
    assert replace(spent, epsilon=0.0).of_group(units).delta == pytest.approx(units * spent.delta)


def test_a_promise_is_about_some_unit() -> None:
    with pytest.raises(InputError, match="at least 1"):
        SPENT.of_group(0)
