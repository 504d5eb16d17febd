"""Ridge heads: right beside scikit-learn's, and equal to a refit in every bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeClassifier
from threadpoolctl import threadpool_limits

from olvido.errors import InputError
from olvido.sklearn import RidgeClassifierHead, RidgeHead
from olvido.sklearn.fixed_point import BITS, CHUNK, MOST_ROWS, FixedPoint, Statistics


def problem(n: int, d: int, seed: int) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(n, d))
    return X, np.tanh(X @ draw.normal(size=d)) + 0.1 * draw.normal(size=n)


def test_it_is_ridge_regression() -> None:
    X, y = problem(300, 12, 0)
    head, peer = RidgeHead(3.0).fit(X, y), Ridge(3.0).fit(X, y)
    np.testing.assert_allclose(head.coef_, peer.coef_, atol=1e-5)
    np.testing.assert_allclose(head.predict(X), peer.predict(X), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_ridge_classification(classes: int) -> None:
    X, y = problem(300, 12, 1)
    names = np.array(list("abcd"))[np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))]
    head, peer = RidgeClassifierHead(3.0).fit(X, names), RidgeClassifier(3.0).fit(X, names)
    np.testing.assert_allclose(head.decision_function(X), peer.decision_function(X), atol=1e-4)
    assert (head.predict(X) == peer.predict(X)).mean() > 0.99


@given(
    size=st.integers(2, 30),
    d=st.integers(1, 6),
    seed=st.integers(0, 2**16),
    leaving=st.lists(st.integers(0, 2**16), max_size=12),
    together=st.integers(1, 4),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
)
@settings(max_examples=60)
def test_any_sequence_of_leaving_ends_where_a_refit_begins(
    size: int, d: int, seed: int, leaving: list[int], together: int, scale: float
) -> None:
    X, y = problem(size, d, seed)
    X = X * scale
    head, left = RidgeHead().fit(X, y), list(range(size))
    for start in range(0, len(leaving), together):
        forget_ids = {left[n % len(left)] for n in leaving[start : start + together] if left}
        left = [i for i in left if i not in forget_ids]
        if forget_ids:
            head.forget(forget_ids)
    if left:
        refit = RidgeHead().fit(X[left], y[left], ids=left)
        assert head.coef_.tobytes() == refit.coef_.tobytes()
        assert head.intercept_ == refit.intercept_
        assert head.clipped_ == refit.clipped_
        assert head._statistics.gram.tobytes() == refit._statistics.gram.tobytes()
        assert head._statistics.cross.tobytes() == refit._statistics.cross.tobytes()
    else:
        assert not head.coef_.any()


def test_equality_holds_at_the_size_of_an_embedding() -> None:
    X, y = problem(900, 512, 2)
    head = RidgeHead(0.1).fit(X, y)
    for i in (5, 899, 17):
        head.forget([i])
    left = [i for i in range(900) if i not in (5, 17, 899)]
    order = np.random.default_rng(0).permutation(left)
    assert head.coef_.tobytes() == RidgeHead(0.1).fit(X[left], y[left]).coef_.tobytes()
    # The order of the rows is of no account either, nor how many threads summed them.
    with threadpool_limits(2, user_api="blas"):
        other = RidgeHead(0.1).fit(X[order], y[order])
    assert head.coef_.tobytes() == other.coef_.tobytes()


def test_sums_are_exact_where_numbers_are_largest() -> None:
    assert CHUNK * 2 ** (2 * BITS) <= 2**53
    assert MOST_ROWS * 2 ** (2 * BITS) < 2**63
    n = 2 * CHUNK + 3
    draw = np.random.default_rng(3)
    rows = np.where(draw.random((n, 2)) < 0.9, 1.0, -1.0) * (1 - draw.random((n, 2)) * 1e-3)
    integers = FixedPoint(1.0).integers(rows)
    found = Statistics.of(integers, integers[:, :1])
    python = [[int(v) for v in column] for column in integers.T]
    for i, a in enumerate(python):
        for j, b in enumerate(python):
            assert found.gram[i, j] == sum(x * y for x, y in zip(a, b, strict=True))
    assert found.cross[0, 0] == found.gram[0, 0]


def test_more_rows_than_fit_are_refused() -> None:
    many = np.broadcast_to(np.int32(1), (MOST_ROWS + 1, 1))
    with pytest.raises(InputError, match="expected at most 4,194,304 rows"):
        Statistics.of(many, many)


def test_what_lies_beyond_the_bound_is_clipped_and_counted() -> None:
    X, y = problem(50, 3, 4)
    wild = X.copy()
    wild[[3, 9], 0] = 1e300
    head = RidgeHead(bound=4).fit(wild, y)
    assert head.clipped_ == 2
    tame = wild.clip(-4, 4)
    assert head.coef_.tobytes() == RidgeHead(bound=4).fit(tame, y).coef_.tobytes()
    np.testing.assert_array_equal(head.predict(wild), head.predict(tame))
    head.forget([9])
    assert head.clipped_ == 1


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"alpha": 0}, "alpha must be positive"),
        ({"alpha": float("nan")}, "alpha must be positive"),
        ({"bound": -1}, "bound must be positive"),
        ({"target_bound": float("inf")}, "target_bound must be positive"),
        ({"target_bound": 0.1}, "targets are beyond target_bound=0.1"),
        ({"alpha": 1e-300}, "alpha is too small"),
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any], complaint: str) -> None:
    X, y = problem(20, 3, 5)
    with pytest.raises(InputError, match=complaint):
        RidgeHead(**wrong).fit(X[:, [0, 0, 1]], y)
