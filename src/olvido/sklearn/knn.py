"""Nearest neighbours, which forget a row by removing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.validation import check_is_fitted, validate_data

from olvido.errors import RefusedArgument
from olvido.sklearn.base import Forgetful, HeldRows, class_names


class KNNHead(ClassifierMixin, Forgetful, BaseEstimator):
    """Nearest neighbours on frozen features that forget rows or people exactly.

    After `forget` it has the remaining rows, in order, and nothing else: it equals scikit-learn's
    `KNeighborsClassifier` fitted on them.

    Args:
        n_neighbors: rows that answer together; all of them where there are fewer.
        weights: `uniform`, or `distance` for the nearer to count more.
        metric: as in scikit-learn, `euclidean` or `cosine` for instance.
        classes: their names where y must not determine them. None: those found in y, and then their
            number and names are not forgotten with the rows.

    Attributes:
        classes_: in the order of `predict_proba`'s columns.
        n_features_in_: columns of X.
        ids_: ids of the current rows.

    >>> X, y = [[0.0], [1.0], [9.0], [10.0]], ["a", "a", "b", "b"]
    >>> head = KNNHead(1).fit(X, y, subjects=["ada", "ben", "ada", "cid"])
    >>> head.forget(subjects=["ada"]).rows, head.predict([[0.0]]).tolist()
    (2, ['a'])
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: str = "uniform",
        metric: str = "euclidean",
        classes: Sequence[Any] | None = None,
    ) -> None:
        self.n_neighbors, self.weights, self.metric = n_neighbors, weights, metric
        self.classes = classes

    _checks: ClassVar[Mapping[str, Any]] = {"dtype": [np.float64, np.float32]}

    def _fit(self, X: Any, y: Any, held: HeldRows) -> None:
        if not self.n_neighbors >= 1:
            raise RefusedArgument(f"n_neighbors must be at least 1, got {self.n_neighbors!r}")
        names = class_names(y, self.classes)
        # The current parameters: later changes of parameters wait for the next fit.
        self._most = int(self.n_neighbors)
        self._how = {"weights": self.weights, "metric": self.metric, "algorithm": "brute"}
        self._keep(X, np.searchsorted(names, y), held)
        self.classes_ = names

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class; all equal without rows. [n, C]"""
        check_is_fitted(self, "_held")
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        if self._index is None:
            return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))
        found = np.zeros((len(X), len(self.classes_)))
        found[:, self._index.classes_] = self._index.predict_proba(X)
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class, the first of those that are equally likely. [n]"""
        found = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[found])

    def _leave(self, forget_ids: set[str]) -> bool:
        stay = self._stay(forget_ids)
        self._keep(self._rows[stay], self._labels[stay], self._held.without(forget_ids))
        return False

    def _keep(self, rows: NDArray[Any], labels: NDArray[np.intp], held: HeldRows) -> None:
        index = None
        if len(rows):
            index = KNeighborsClassifier(min(self._most, len(rows)), **self._how)
            index.fit(rows, labels)
        self._rows, self._labels, self._held, self._index = rows, labels, held, index
