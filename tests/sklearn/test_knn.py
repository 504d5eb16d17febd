"""Nearest neighbours equal scikit-learn's, fitted on the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from olvido.errors import InputError
from olvido.sklearn import KNNHead


@given(
    size=st.integers(3, 25),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**16),
    weights=st.sampled_from(["uniform", "distance"]),
    metric=st.sampled_from(["euclidean", "cosine"]),
    leaving=st.sets(st.integers(0, 24), max_size=20),
)
@settings(max_examples=25)
def test_it_equals_scikit_learn_fitted_on_the_rest(
    size: int, k: int, seed: int, weights: str, metric: str, leaving: set[int]
) -> None:
    draw = np.random.default_rng(seed)
    X, y = draw.normal(size=(size, 3)), np.arange(size) % 3
    head = KNNHead(k, weights=weights, metric=metric).fit(X, y)
    asked = draw.normal(size=(9, 3))
    for i in leaving:
        if i < size:
            head.forget([i])
    left = [i for i in range(size) if i not in leaving]
    if not left:
        np.testing.assert_array_equal(head.predict_proba(asked), np.full((9, 3), 1 / 3))
        return
    peer = KNeighborsClassifier(
        min(k, len(left)), weights=weights, metric=metric, algorithm="brute"
    ).fit(X[left], y[left])
    np.testing.assert_array_equal(
        head.predict_proba(asked)[:, peer.classes_], peer.predict_proba(asked)
    )
    np.testing.assert_array_equal(head.predict(asked), peer.predict(asked))


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(InputError, match="n_neighbors must be at least 1"):
        KNNHead(0).fit([[0.0], [1.0]], [0, 1])
