"""Logistic and softmax regression that forget with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from olvido.ledger.facts import Guarantee
from olvido.sklearn.base import Deciding, Forgetful, HeldRows, class_names
from olvido.sklearn.certificate import RemovalCertificate, Residual, Terms, worst
from olvido.sklearn.objective import TOLERANCE, Floats, Objective, minimised, newton

NEWTON_STEPS = 2
"""Newton steps before fitting again: with nearly as many weights as rows, one is not enough."""


class CertifiedHead(ClassifierMixin, Deciding, Forgetful, BaseEstimator):
    """Logistic or softmax regression on frozen features that forgets with a certificate.

    It is fitted with a random linear term (Guo et al. 2020, arXiv 1911.03030). To forget, it takes
    one or two Newton steps towards the minimum on the remaining rows; the random term hides the
    remaining gradient, up to epsilon and delta, as long as its norm is within a budget. A removal
    that would exceed it fits the head again, with a new random term. `certificate_` states all of
    it, with the assumptions. The head keeps its training rows.

    Args:
        alpha: the penalty, half of it times the squared weights, the intercept included.
        epsilon, delta: bounds on distinguishing the head from one that never learned the forgotten.
        sigma: standard deviation of the random term: a larger one hides more and predicts worse.
            The budget is proportional to it.
        norm_bound: the largest norm of a row, chosen independently of the data; longer rows are
            scaled down to it.
        account: the norm compared with the budget: `measured`, the actual gradient; `data`, a bound
            from the current rows; `worst`, a bound for any rows of such norms, whatever the random
            term.
        classes: their names where y must not determine them. None: those found in y, and then their
            number and names are not forgotten with the rows.
        random_state: of the random term. None: the operating system's, and secret. A number makes a
            fit repeatable, and voids the certificate against anybody who knows it.

    Attributes:
        classes_: in the order of `predict_proba`'s columns.
        coef_: [1 or C, d]
        intercept_: [1 or C]
        certificate_: the current claim of the head.
        n_features_in_: columns of X.
        ids_: ids of the current rows.

    >>> X, y = np.eye(4)[[0, 1, 2, 3] * 25], ["a", "a", "b", "b"] * 25
    >>> head = CertifiedHead(epsilon=1.0, delta=1e-5, random_state=0).fit(X, y)
    >>> head.forget([3, 8]).guarantee.value
    'certified'
    >>> head.certificate_.removals, head.certificate_.spent < head.certificate_.budget
    (2, True)
    """

    guarantee = Guarantee.CERTIFIED

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        sigma: float = 0.1,
        norm_bound: float = 1.0,
        account: str = "measured",
        classes: Sequence[Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.alpha, self.epsilon, self.delta, self.sigma = alpha, epsilon, delta, sigma
        self.norm_bound, self.account = norm_bound, account
        self.classes, self.random_state = classes, random_state

    def _fit(self, X: Any, y: Any, held: HeldRows) -> None:
        # The current parameters: later changes of parameters wait for the next fit.
        terms = Terms(
            self.epsilon, self.delta, self.sigma, self.alpha, self.norm_bound, self.account
        )
        names = class_names(y, self.classes)
        # check_random_state(None) would be NumPy's global state, which a program may have seeded.
        given = self.random_state
        self._random = np.random.default_rng() if given is None else check_random_state(given)
        columns = names[1:] if len(names) == 2 else names
        targets = (y[:, None] == columns).astype(np.float64)
        rows, clipped = _features(X, terms.norm_bound)
        objective = self._perturbed(rows, targets, terms)
        weights = minimised(objective, np.zeros_like(objective.perturbation))
        self._terms, self._held, self._clipped, self.classes_ = terms, held, clipped, names
        self._objective, self._weights, self._residual = objective, weights, Residual()
        self._removals = self._refits = 0

    @property
    def coef_(self) -> Floats:
        """Coefficients. [1 or C, d]"""
        check_is_fitted(self, "_held")
        return np.ascontiguousarray(self._weights[:-1].T)

    @property
    def intercept_(self) -> Floats:
        """Intercepts. [1 or C]"""
        check_is_fitted(self, "_held")
        return self._weights[-1].copy()

    @property
    def certificate_(self) -> RemovalCertificate:
        """The current claim of the head."""
        check_is_fitted(self, "_held")
        return RemovalCertificate(
            **asdict(self._terms),
            residual=self._residual,
            rows=len(self._objective.rows),
            clipped=int(self._clipped.sum()),
            gradient_bound=self._objective.steepest * self._terms.longest,
            curvature_bound=self._objective.bend,
            removals=self._removals,
            refits=self._refits,
        )

    def decision_function(self, X: Any) -> Floats:
        """Logits: for two classes, the second's. [n] or [n, C]"""
        check_is_fitted(self, "_held")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        found: Floats = _features(X, self._terms.norm_bound)[0] @ self._weights
        return found[:, 0] if len(self.classes_) == 2 else found

    def predict_proba(self, X: Any) -> Floats:
        """Probability of each class. [n, C]"""
        logits = self.decision_function(X)
        if logits.ndim == 1:
            logits = np.column_stack([np.zeros_like(logits), logits])
        found: Floats = softmax(logits, axis=1)
        return found

    def _leave(self, forget_ids: set[str]) -> bool:
        stay = self._stay(forget_ids)
        before, terms = self._objective, self._terms
        rest = replace(before, rows=before.rows[stay], targets=before.targets[stay])
        weights = self._weights
        # The residual so far, and a bound on the removed rows' gradient.
        most = self._residual.worst + len(forget_ids) * rest.steepest * terms.longest
        refitted = True
        for _ in range(NEWTON_STEPS):
            gradient = rest.gradient(weights)
            step = newton(rest, weights, gradient, TOLERANCE)
            weights = weights + step.direction
            unsolved = max(step.unsolved, TOLERANCE)
            most = worst(most, unsolved, rest.bend, terms.longest, len(rest.rows), terms.alpha)
            left = float(np.linalg.norm(rest.gradient(weights)))
            residual = Residual(left, step.unsolved + step.bent, most)
            if terms.spending(residual) <= terms.budget:
                refitted = False
                break
        if refitted:
            rest = self._perturbed(rest.rows, rest.targets, terms)
            weights, residual = minimised(rest, weights), Residual()
        self._objective, self._weights, self._residual = rest, weights, residual
        self._held, self._clipped = self._held.without(forget_ids), self._clipped[stay]
        self._removals = 0 if refitted else self._removals + len(forget_ids)
        self._refits += refitted
        return refitted

    def _perturbed(self, rows: Floats, targets: Floats, terms: Terms) -> Objective:
        """The objective of these rows, with a new random term."""
        drawn = self._random.normal(size=(rows.shape[1], targets.shape[1]))
        return Objective(rows, targets, float(terms.alpha), terms.sigma * drawn)


def _features(X: Floats, bound: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Rows no longer than the bound, with the intercept's 1 [n, d + 1]; which were longer [n]."""
    # Scaled first, since the square of a large number may overflow.
    largest = np.abs(X).max(axis=1, initial=0)
    scale = np.where(largest > bound, largest, 1.0)
    norms = np.linalg.norm(X / scale[:, None], axis=1) * scale
    longer = norms > bound
    shrunk = X * np.where(longer, bound / np.where(longer, norms, 1), 1)[:, None]
    return np.column_stack([shrunk, np.ones(len(X))]), longer
