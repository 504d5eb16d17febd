"""Ridge regression that forgets exactly, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from olvido.errors import RefusedArgument
from olvido.sklearn.base import Deciding, Forgetful, HeldRows, class_names
from olvido.sklearn.fixed_point import FixedPoint, Floats, Statistics

Ints = NDArray[np.int32]


class _Ridge(Forgetful, BaseEstimator):
    """Least squares with a penalty on fixed-point features, for any kind of target."""

    alpha: float
    bound: float

    def _learn(self, X: Floats, targets: Ints, unit: float, held: HeldRows) -> None:
        for name in ("alpha", "bound"):
            if not 0 < getattr(self, name) < np.inf:
                raise RefusedArgument(
                    f"{name} must be positive and finite, got {getattr(self, name)!r}"
                )
        # The current parameter: later changes of parameters wait for the next fit.
        point, penalty = FixedPoint(float(self.bound)), float(self.alpha)
        rows = np.column_stack([point.integers(X), np.ones(len(X), np.int32)])
        statistics = Statistics.of(rows, targets)
        self._point, self._penalty, self._unit = point, penalty, unit
        # Each row is separate, so that one can be removed without a copy of the others.
        self._rows = {
            i: (row.copy(), target.copy())
            for i, row, target in zip(held.subjects, rows, targets, strict=True)
        }
        far, ids = np.flatnonzero((abs(X) > point.bound).any(axis=1)), held.ids
        self._clipped = {ids[at] for at in far}
        self._solve(statistics)
        self._statistics, self._held = statistics, held

    @property
    def clipped_(self) -> int:
        """The number of current rows with a feature beyond the bound."""
        check_is_fitted(self, "_held")
        return len(self._clipped)

    def _leave(self, forget_ids: set[str]) -> bool:
        rows, targets = zip(*(self._rows[i] for i in forget_ids), strict=True)
        statistics = self._statistics - Statistics.of(np.stack(rows), np.stack(targets))
        remaining = self._held.without(forget_ids)
        self._solve(statistics)
        self._statistics, self._held = statistics, remaining
        self._clipped = self._clipped - forget_ids
        for i in forget_ids:
            del self._rows[i]
        return False

    def _solve(self, statistics: Statistics) -> None:
        size, outputs = statistics.cross.shape
        if statistics.gram[-1, -1]:
            scale = np.append(np.full(size - 1, self._point.step), 1.0)
            penalty = np.append(np.full(size - 1, self._penalty), 0.0)
            weights = statistics.solution(scale, self._unit, penalty)
        else:
            # Without rows the penalty alone decides.
            weights = np.zeros((size, outputs))
        self.coef_, self.intercept_ = np.ascontiguousarray(weights[:-1].T), weights[-1].copy()

    def _outputs(self, X: Any) -> Floats:
        """Outputs for features clipped and rounded like the training features. [n, k]"""
        check_is_fitted(self, "_held")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        rounded = self._point.integers(X) * self._point.step
        found: Floats = rounded @ self.coef_.T + self.intercept_
        return found


class RidgeHead(RegressorMixin, _Ridge):
    """Ridge regression on frozen features that forgets rows or people exactly.

    After `forget` its statistics and solution equal, bit for bit, those of a head that was fitted
    on the rest, in whatever order rows were added and removed. Features and targets are rounded to
    fixed point and X'X and X'y summed in integers, so that subtracting a row undoes adding it; the
    solution is computed anew from the sums. The head keeps its training rows.

    Args:
        alpha: the penalty on the coefficients, as in scikit-learn's `Ridge`; the intercept has
            none.
        bound: the largest magnitude of a feature, chosen independently of the data; larger ones are
            clipped. Features are rounded to bound / 2**20.
        target_bound: the same for y, but a target beyond it is refused.

    Attributes:
        coef_: coefficients. [d]
        intercept_: a number.
        n_features_in_: columns of X.
        ids_: ids of the current rows.
        clipped_: number of them with a feature beyond the bound.

    >>> X = np.array([[0.0], [1.0], [2.0], [7.0]])
    >>> head = RidgeHead(alpha=1e-6).fit(X, [0.0, 1.0, 2.0, -3.0], ids=["a", "b", "c", "odd"])
    >>> head.forget(["odd"]).guarantee.value
    'exact'
    >>> head.predict([[3.0]]).round(3).tolist()
    [3.0]
    """

    def __init__(
        self, alpha: float = 1.0, *, bound: float = 8.0, target_bound: float = 8.0
    ) -> None:
        self.alpha, self.bound, self.target_bound = alpha, bound, target_bound

    _checks: ClassVar[Mapping[str, Any]] = {"dtype": np.float64, "y_numeric": True}

    def _fit(self, X: Any, y: Any, held: HeldRows) -> None:
        if not 0 < self.target_bound < np.inf:
            raise RefusedArgument(
                f"target_bound must be positive and finite, got {self.target_bound!r}"
            )
        if far := int((abs(y) > self.target_bound).sum()):
            raise RefusedArgument(
                f"{far} of {len(y)} targets are beyond target_bound={self.target_bound:g}: give a "
                "larger one, chosen without looking at the data"
            )
        point = FixedPoint(float(self.target_bound))
        targets = point.integers(np.asarray(y, np.float64)[:, None])
        self._learn(X, targets, point.step, held)

    def _solve(self, statistics: Statistics) -> None:
        super()._solve(statistics)
        self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])

    def predict(self, X: Any) -> Floats:
        """A number for each row. [n]"""
        return self._outputs(X)


class RidgeClassifierHead(ClassifierMixin, Deciding, _Ridge):
    """One-vs-rest ridge classification on frozen features that forgets rows or people exactly.

    It works as `RidgeHead`, with targets of -1 and 1 as in scikit-learn's `RidgeClassifier`.

    Args:
        alpha: the penalty on the coefficients; the intercepts have none.
        bound: the largest magnitude of a feature, chosen independently of the data; larger ones are
            clipped. Features are rounded to bound / 2**20.
        classes: their names where y must not determine them. None: those found in y, and then their
            number and names are not forgotten with the rows.

    Attributes:
        classes_: in the order of `decision_function`'s columns.
        coef_: [1 or C, d]
        intercept_: [1 or C]
        n_features_in_: columns of X.
        ids_: ids of the current rows.
        clipped_: number of them with a feature beyond the bound.

    >>> head = RidgeClassifierHead().fit([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"])
    >>> head.predict([[0.1], [2.9]]).tolist()
    ['a', 'b']
    >>> head.forget([0, 3]).rows
    2
    """

    def __init__(
        self, alpha: float = 1.0, *, bound: float = 8.0, classes: Sequence[Any] | None = None
    ) -> None:
        self.alpha, self.bound, self.classes = alpha, bound, classes

    def _fit(self, X: Any, y: Any, held: HeldRows) -> None:
        names = class_names(y, self.classes)
        columns = names[1:] if len(names) == 2 else names
        targets = np.where(y[:, None] == columns, 1, -1).astype(np.int32)
        self._learn(X, targets, 1.0, held)
        self.classes_ = names

    def decision_function(self, X: Any) -> Floats:
        """Scores, positive where a class is the likelier; for two, the second's. [n] or [n, C]"""
        found = self._outputs(X)
        return found[:, 0] if len(self.classes_) == 2 else found
