"""Certified heads: the right minimum, bounds that bound, and nothing to tell removed from never."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import binomtest, norm
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from olvido.errors import InputError
from olvido.sklearn import CertifiedHead
from olvido.sklearn.certificate import shift, worst
from olvido.sklearn.objective import TOLERANCE, Objective, minimised, newton


def problem(n: int, d: int, classes: int, seed: int) -> tuple[Any, Any]:
    """Rows of unit norm, whose classes are drawn by a softmax."""
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = (4 * X @ draw.normal(size=(d, classes)) + draw.gumbel(size=(n, classes))).argmax(1)
    y[:classes] = np.arange(classes)
    return X, y


def objective(n: int, d: int, classes: int, seed: int, alpha: float = 0.5) -> Objective:
    X, y = problem(n, d, classes, seed)
    targets = np.eye(classes)[y][:, 1 if classes == 2 else 0 :]
    drawn = np.random.default_rng(seed + 1).normal(size=(d, targets.shape[1]))
    return Objective(X, targets, alpha, drawn)


def hessian(about: Objective, weights: Any) -> Any:
    """By brute force: an outer product for each row. [pK, pK]"""
    p, k = weights.shape
    total = about.alpha * np.eye(p * k)
    for row, chance in zip(about.rows, about.probabilities(weights), strict=True):
        total += np.kron(np.outer(row, row), np.diag(chance) - np.outer(chance, chance))
    return total


@pytest.mark.parametrize("classes", [2, 4])
def test_gradient_and_newton_step_are_those_of_the_objective(classes: int) -> None:
    about = objective(40, 3, classes, 0)
    weights = np.random.default_rng(9).normal(size=about.perturbation.shape)
    gradient = about.gradient(weights)
    numeric = approx_fprime(
        weights.ravel(), lambda flat: about.value(flat.reshape(weights.shape)), 1e-7
    )
    np.testing.assert_allclose(gradient.ravel(), numeric, atol=1e-4)
    step = newton(about, weights, gradient, 1e-9)
    exact = np.linalg.solve(hessian(about, weights), -gradient.ravel())
    np.testing.assert_allclose(step.direction.ravel(), exact, atol=1e-9)
    assert step.unsolved <= 1e-9


@pytest.mark.parametrize("classes", [2, 4])
def test_without_its_random_term_it_is_logistic_regression(classes: int) -> None:
    X, y = problem(200, 5, classes, 1)
    head = CertifiedHead(2.0, sigma=1e-4, random_state=0).fit(X, y)
    # The intercept is a feature that bears the penalty, which scikit-learn's own does not.
    peer = LogisticRegression(C=1 / 2.0, fit_intercept=False, tol=1e-8, max_iter=1000)
    peer.fit(np.column_stack([X, np.ones(200)]), y)
    np.testing.assert_allclose(
        head.predict_proba(X), peer.predict_proba(np.column_stack([X, np.ones(200)])), atol=1e-3
    )
    np.testing.assert_allclose(
        head.decision_function(X).sum(), (X @ head.coef_.T + head.intercept_).sum()
    )


@pytest.mark.parametrize("classes", [2, 5])
def test_no_loss_bends_more_than_is_said(classes: int) -> None:
    """The third derivative along unit vectors, against its bound, which two classes reach."""
    about = objective(10, 2, classes, 2)
    draw = np.random.default_rng(0)
    k = about.targets.shape[1]
    logits = draw.normal(size=(20_000, k)) * 2
    along = draw.normal(size=(20_000, k))
    if k > 1:
        # The steepest: one class against another.
        logits[:500, 2:], along[:500, 2:] = -60, 0
        along[:500, 1] = -along[:500, 0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    one = Objective(logits, np.zeros((len(logits), k)), 1.0, np.zeros((k, k)))
    chances = one.probabilities(np.eye(k))
    mean = (chances * along).sum(1, keepdims=True)
    third = (chances * (along - mean) ** 3).sum(1) + (1 - chances.sum(1)) * (-mean[:, 0]) ** 3
    assert about.bend * 0.99 < abs(third).max() <= about.bend * (1 + 1e-9)
    errors = np.linalg.norm(chances - np.eye(k)[0], axis=1)
    assert errors.max() <= about.steepest


def test_the_worst_case_is_as_bad_as_is_said() -> None:
    """Rows that are all alike, where the logistic loss bends the most."""
    n, length, alpha, moved = 50, 3.0, 0.7, np.array([[-1e-4]])
    about = Objective(np.full((n, 1), length), np.zeros((n, 1)), alpha, np.zeros((1, 1)))
    steepest = np.log(2 + math.sqrt(3)) / length
    weights = np.array([[steepest]])
    left = about.gradient(weights + moved) - about.gradient(weights)
    left -= about.curvature(weights)(moved)
    most = worst(alpha * 1e-4, 0.0, about.bend, length, n, alpha)
    assert 0.99 * most < abs(left).item() <= most


def test_a_fit_finds_its_minimum_whatever_was_drawn() -> None:
    """Weights of hundreds: the first step may halve the gradient and go past the minimum."""
    X, y = problem(30, 3, 2, 1)
    for seed in range(60):
        head = CertifiedHead(0.01, sigma=10.0, account="worst", random_state=seed).fit(X, y)
        assert head.forget([0]).refitted


def test_an_account_that_grows_beyond_all_numbers_is_endless() -> None:
    X, y = problem(30, 3, 2, 1)
    head = CertifiedHead(0.01, sigma=10.0, random_state=0).fit(X, y)
    for i in range(12):
        head.forget([i])
    stated = head.certificate_
    assert stated.residual.worst == math.inf
    assert stated.residual.measured < stated.budget
    assert (
        CertifiedHead(0.01, sigma=10.0, account="worst", random_state=0)
        .fit(X, y)
        .forget([0])
        .refitted
    )
    head.forget(head.ids_)
    assert head.certificate_.residual.worst < 1e-5


@given(
    classes=st.integers(2, 4),
    n=st.integers(8, 40),
    seed=st.integers(0, 2**16),
    alpha=st.sampled_from([0.05, 1.0, 20.0]),
    account=st.sampled_from(["measured", "data", "worst"]),
    leaving=st.lists(st.integers(0, 2**16), min_size=1, max_size=6),
    together=st.integers(1, 3),
)
@settings(max_examples=40)
def test_bounds_bound_and_the_budget_is_kept_whoever_leaves(
    classes: int, n: int, seed: int, alpha: float, account: str, leaving: list[int], together: int
) -> None:
    X, y = problem(n, 3, classes, seed)
    head = CertifiedHead(alpha, sigma=0.3, account=account, random_state=seed).fit(X, y)
    left = list(range(n))
    for start in range(0, len(leaving), together):
        forget_ids = {left[i % len(left)] for i in leaving[start : start + together]}
        left = [i for i in left if i not in forget_ids]
        refitted = head.forget(forget_ids).refitted
        stated = head.certificate_
        # Counted anew from nothing but what is published, the rest, and the random term.
        rest = Objective(
            np.column_stack([X[left], np.ones(len(left))]),
            np.eye(classes)[y[left]][:, 1 if classes == 2 else 0 :],
            alpha,
            head._objective.perturbation,
        )
        weights = np.column_stack([head.coef_, head.intercept_]).T
        true = np.linalg.norm(rest.gradient(weights))
        assert true <= stated.residual.measured + 1e-9
        assert true <= stated.residual.data + 1e-9
        assert stated.residual.data <= stated.residual.worst * (1 + 1e-9)
        assert stated.spent <= stated.budget == 0.3 * shift(1.0, 1e-5)
        assert stated.left >= 0
        assert stated.rows == len(left)
        assert (stated.removals == 0) == refitted


def test_a_removal_comes_close_to_what_a_fit_would_have_been() -> None:
    X, y = problem(300, 8, 3, 3)
    head = CertifiedHead(1.0, random_state=0).fit(X, y)
    before = head._weights
    head.forget(range(10))
    refit = minimised(head._objective, before)
    assert np.linalg.norm(head._weights - refit) < 0.02 * np.linalg.norm(before - refit)
    assert head.certificate_.refits == 0


def test_two_steps_serve_where_one_does_not() -> None:
    """As many weights as rows: one Newton step leaves more than the budget, a second does not."""
    X, y = problem(60, 50, 2, 4)
    head = CertifiedHead(0.1, sigma=0.01, random_state=0).fit(X, y)
    one = clone(head).fit(X, y)
    rest = Objective(
        one._objective.rows[3:], one._objective.targets[3:], 0.1, one._objective.perturbation
    )
    first = newton(rest, one._weights, rest.gradient(one._weights), TOLERANCE).direction
    assert np.linalg.norm(rest.gradient(one._weights + first)) > head.certificate_.budget
    assert not head.forget(range(3)).refitted
    assert head.certificate_.spent < head.certificate_.budget


def test_a_spent_budget_costs_a_fit_with_a_new_random_term() -> None:
    X, y = problem(100, 4, 2, 5)
    head = CertifiedHead(1.0, sigma=0.1, account="worst", random_state=0).fit(X, y)
    old = head._objective.perturbation
    done = head.forget([3])
    assert done.refitted
    assert head.certificate_.refits == 1
    assert head.certificate_.removals == 0
    assert (old != head._objective.perturbation).all()
    assert np.linalg.norm(head._objective.gradient(head._weights)) <= TOLERANCE


def test_a_strong_penalty_needs_no_look_at_the_rows() -> None:
    X, y = problem(100, 4, 2, 5)
    head = CertifiedHead(60.0, sigma=1.0, account="worst", random_state=0).fit(X, y)
    assert not any(head.forget([i]).refitted for i in range(50))
    assert head.certificate_.removals == 50


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-3), (1.0, 1e-5), (9.0, 1e-4)])
def test_the_budget_is_what_a_gaussian_hides(epsilon: float, delta: float) -> None:
    """By integrating what one density exceeds the other by."""
    mu = shift(epsilon, delta)
    excess = quad(
        lambda x: max(0.0, norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x)),
        epsilon / mu + mu / 2,
        epsilon / mu + mu / 2 + 12,
    )[0]
    assert excess == pytest.approx(delta, rel=1e-3)


@pytest.mark.slow
def test_what_is_removed_cannot_be_told_from_what_was_never_there() -> None:
    """An attacker who knows all rows, and which one it is about, sees weights of either kind.

    The best threshold on the best statistic, chosen on half of the draws, bounds epsilon from below
    on the other half. The same attack sees through a head that has not forgotten at all.
    """
    X, y = problem(40, 2, 2, 6)
    epsilon, delta, draws = 0.5, 0.01, 300
    X[0], y[0] = -2 * X[y == 1].mean(0), 1
    plan = CertifiedHead(0.3, epsilon=epsilon, delta=delta, sigma=0.03)
    kinds: dict[str, list[Any]] = {"removed": [], "kept": [], "never": []}
    never = clone(plan).set_params(random_state=np.random.RandomState(0)).fit(X[1:], y[1:])
    rest = Objective(never._objective.rows, never._objective.targets, 0.3, 0 * never._weights)
    for seed in range(draws):
        head = clone(plan).set_params(random_state=seed).fit(X, y)
        kinds["kept"].append(rest.gradient(head._weights))
        assert not head.forget([0]).refitted
        kinds["removed"].append(rest.gradient(head._weights))
        never = clone(plan).set_params(random_state=draws + seed).fit(X[1:], y[1:])
        kinds["never"].append(rest.gradient(never._weights))
    # Not a test of a random term so large that it hides anything.
    assert head.certificate_.spent > 0.5 * head.certificate_.budget
    found = {k: np.array(v).reshape(draws, -1) for k, v in kinds.items()}
    assert empirical(found["removed"], found["never"], delta) <= epsilon
    assert empirical(found["kept"], found["never"], delta) > 2 * epsilon


def empirical(these: Any, those: Any, delta: float) -> float:
    """A lower bound of epsilon, at 95% confidence, by Clopper and Pearson's intervals."""
    half = len(these) // 2
    way = these[:half].mean(0) - those[:half].mean(0)
    a, b = these @ way, those @ way
    best = max(
        np.concatenate([a[:half], b[:half]]),
        key=lambda at: _bound(a[:half] >= at, b[:half] >= at, delta),
    )
    return _bound(a[half:] >= best, b[half:] >= best, delta)


def _bound(hits: Any, alarms: Any, delta: float) -> float:
    low = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95).low
    high = binomtest(int(alarms.sum()), len(alarms)).proportion_ci(0.95).high
    return math.log((low - delta) / high) if low > delta else -math.inf


def test_the_random_term_is_secret_unless_asked_otherwise() -> None:
    X, y = problem(50, 3, 2, 7)
    np.random.seed(0)  # noqa: NPY002 - a program that has seeded NumPy's global state
    one = CertifiedHead().fit(X, y)
    np.random.seed(0)  # noqa: NPY002
    other = CertifiedHead().fit(X, y)
    assert (one.coef_ != other.coef_).all()
    fixed = [CertifiedHead(random_state=3).fit(X, y).coef_.tobytes() for _ in range(2)]
    assert fixed[0] == fixed[1]


def test_long_rows_are_scaled_down_and_counted() -> None:
    X, y = problem(50, 3, 2, 8)
    long = X * 0.9
    long[[4, 8]] *= [[7.0], [1e200]]
    head = CertifiedHead(random_state=0, norm_bound=0.95).fit(long, y)
    assert head.certificate_.clipped == 2
    assert np.linalg.norm(head._objective.rows[:, :-1], axis=1).max() <= 0.95 * (1 + 1e-12)
    head.forget([8])
    assert head.certificate_.clipped == 1


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"alpha": 0}, "alpha must be positive"),
        ({"epsilon": -1}, "epsilon must be positive"),
        ({"delta": 0}, "delta must be positive"),
        ({"delta": 1.5}, "delta must be below 1"),
        ({"sigma": float("nan")}, "sigma must be positive"),
        ({"sigma": 1e-9}, "give a larger sigma"),
        ({"norm_bound": float("inf")}, "norm_bound must be positive"),
        ({"account": "measure"}, "did you mean 'measured'"),
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        CertifiedHead(**wrong).fit(*problem(20, 3, 2, 9))
