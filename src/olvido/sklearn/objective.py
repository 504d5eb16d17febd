"""The objective of a certified head: logistic or softmax loss, a penalty, a random linear term.

    L(W) = sum over i of loss(W'x_i, y_i) + alpha/2 |W|^2 + <B, W>         W, B [p, K]

K is 1 for two classes, whose first has logit 0, else C. It is alpha-strongly convex, so every B has
one minimiser, and every W is the minimiser for one B.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import logsumexp

from olvido.errors import TrainingFailed

Floats = NDArray[np.float64]

TOLERANCE = 1e-6
"""Tolerance of the gradient's norm after a fit, and of a Newton step's solver."""
STEPS = 100
"""Newton steps of a fit, at the most: ten are common, so many mean divergence."""
HALVINGS = 30
COARSE = 1e-10
"""Share of the objective by which rounding may change it."""


@dataclass(frozen=True)
class Objective:
    """The objective L for some rows.

    Attributes:
        rows: X. [n, p]
        targets: one where a row is of the class, else zero. [n, K]
        alpha: the strong convexity.
        perturbation: B. [p, K]
    """

    rows: Floats
    targets: Floats
    alpha: float
    perturbation: Floats

    @property
    def steepest(self) -> float:
        """The largest gradient of one row's loss, in units of the row's norm.

        |p - e_y|: 1 for two classes with one logit, the square root of 2 for more.
        """
        return 1.0 if self.targets.shape[1] == 1 else math.sqrt(2)

    @property
    def bend(self) -> float:
        """A Lipschitz constant of the loss's second derivative by the logits.

        The third derivative along a unit vector a is the third central moment of a's entries under
        the classes' probabilities. Entries that lie within D of each other have one of at most
        D^3 / (6 sqrt(3)), and D is at most 1 for one logit (beside the 0), sqrt(2) for several; a
        symmetric form's norm is what it is along one vector (Banach 1938).
        """
        width = 1.0 if self.targets.shape[1] == 1 else math.sqrt(2)
        return width**3 / (6 * math.sqrt(3))

    def probabilities(self, weights: Floats) -> Floats:
        """Probabilities of the classes with a logit. [n, K]"""
        logits = self.rows @ weights
        found: Floats = np.exp(logits - _partition(logits))
        return found

    def value(self, weights: Floats) -> float:
        """The objective, L(W)."""
        logits = self.rows @ weights
        losses = _partition(logits)[:, 0] - (logits * self.targets).sum(axis=1)
        rest = self.alpha / 2 * weights + self.perturbation
        return float(losses.sum() + (rest * weights).sum())

    def gradient(self, weights: Floats) -> Floats:
        """The gradient. [p, K]"""
        errors = self.probabilities(weights) - self.targets
        found: Floats = self.rows.T @ errors + self.alpha * weights + self.perturbation
        return found

    def curvature(self, weights: Floats) -> Callable[[Floats], Floats]:
        """The Hessian at these weights, as a function of a direction. [p, K] to [p, K]"""
        chances = self.probabilities(weights)

        def along(direction: Floats) -> Floats:
            moved = self.rows @ direction
            moved -= (chances * moved).sum(axis=1, keepdims=True)
            moved *= chances
            found: Floats = self.rows.T @ moved + self.alpha * direction
            return found

        return along

    def spectrum(self) -> tuple[Floats, Floats]:
        """Eigenvalues [p] and eigenvectors [p, p] of X'X."""
        values, vectors = eigh(self.rows.T @ self.rows, check_finite=False)
        return values.clip(0), vectors


def _partition(logits: Floats) -> Floats:
    """Logarithm of the sum of exponentials; a single logit is joined by a 0. [n, 1]"""
    if logits.shape[1] == 1:
        return np.logaddexp(0, logits)
    found: Floats = logsumexp(logits, axis=1, keepdims=True)
    return found


@dataclass(frozen=True)
class NewtonStep:
    """A Newton step.

    Attributes:
        direction: the change of the weights. [p, K]
        unsolved: norm of the solver's residual: gradient plus Hessian times direction.
        bent: a bound on the gradient from the Hessian's change along the step, on these rows:
            corollary 1 of Guo et al. 2020, for softmax too, half of it, since the Hessian's change
            grows from zero along the step, and with the squares of the rows' own moves where they
            multiply the moves' norm by the step's.
    """

    direction: Floats
    unsolved: float
    bent: float


def newton(objective: Objective, weights: Floats, gradient: Floats, tolerance: float) -> NewtonStep:
    """The step at which the gradient's linear model vanishes, to a tolerance in norm.

    It uses conjugate gradients, preconditioned with X'X between the classes' mean curvatures.
    """
    along = objective.curvature(weights)
    values, vectors = objective.spectrum()
    chances = objective.probabilities(weights)
    mean = (chances * (1 - chances)).mean(axis=0) if len(chances) else 0.0
    scale = values[:, None] * mean + objective.alpha
    direction = np.zeros_like(gradient)
    left = -gradient
    found = vectors @ ((vectors.T @ left) / scale)
    search, power = found, float((left * found).sum())
    # Rounding bounds the reachable accuracy; the reached one is measured at the end.
    for _ in range(10 * gradient.size + 100):
        if np.linalg.norm(left) <= tolerance / 2:
            break
        image = along(search)
        stride = power / float((search * image).sum())
        direction = direction + stride * search
        left = left - stride * image
        found = vectors @ ((vectors.T @ left) / scale)
        before, power = power, float((left * found).sum())
        search = found + power / before * search
    moved = np.linalg.norm(objective.rows @ direction, axis=1)
    return NewtonStep(
        direction,
        float(np.linalg.norm(gradient + along(direction))),
        objective.bend / 2 * math.sqrt(values[-1]) * float(np.linalg.norm(moved**2)),
    )


def minimised(objective: Objective, weights: Floats) -> Floats:
    """The minimiser, from these weights: the gradient's norm is at most `TOLERANCE`.

    Raises:
        TrainingFailed: it was not found.
    """
    gradient = objective.gradient(weights)
    for _ in range(STEPS):
        size = float(np.linalg.norm(gradient))
        if size <= TOLERANCE:
            return weights
        step = newton(objective, weights, gradient, max(size / 100, TOLERANCE / 2)).direction
        value, slope = objective.value(weights), float((gradient * step).sum())
        for halvings in range(HALVINGS):
            share = 0.5**halvings
            further = weights + share * step
            ahead = objective.gradient(further)
            # Near the end the value is too coarse to compare, and the gradient is not. Further away
            # the gradient must not decide: a step that halves it and raises the value would be
            # undone
            # by the next one, without end.
            rise = objective.value(further) - value
            nearer = float(np.linalg.norm(ahead)) <= size / 2
            if rise <= 1e-4 * share * slope or (nearer and rise <= COARSE * (1 + abs(value))):
                break
        weights, gradient = further, ahead
    raise TrainingFailed(
        f"no minimum after {STEPS} Newton steps: the gradient's norm is still {size:.2g}, "
        f"expected {TOLERANCE:g}. Give a larger alpha or a smaller norm_bound"
    )
