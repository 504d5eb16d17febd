"""Certified removal: the claim of a certified head, and its theorem."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import log_ndtr

from olvido.errors import RefusedArgument, UnknownName
from olvido.sklearn.objective import TOLERANCE

THEOREM = (
    "Guo et al. 2020 (arXiv 1911.03030), for a Gaussian perturbation: weights whose gradient on "
    "the rest has at most the budget's norm are (epsilon, delta)-indistinguishable from a fit "
    "without the forgotten, jointly for all classes; the budget by Balle and Wang 2018 (arXiv "
    "1805.06530), theorem 8"
)
PROVEN = (
    "every loss is convex, its gradient is bounded, and its second derivative is Lipschitz, for "
    "logistic and for softmax loss",
    "alpha makes the objective strongly convex, so each perturbation has one minimiser and each "
    "weight matrix is the minimiser for one perturbation",
)
CHECKED = (
    "every row's norm is at most norm_bound: longer ones were scaled down to it",
    "the gradient's norm on the rows held, at the weights as they are",
    "the gradient's norm at the last fit is within its tolerance, and a fit without the forgotten "
    "is granted the same",
)
ASSUMED = (
    "nobody who may be forgotten has shaped the features, norm_bound, alpha, sigma or the classes",
    "requests do not depend on weights published since the last fit",
    "the perturbation and its seed are secret: what is published is weights or answers, never this "
    "object or its certificate's measurements",
    "the theorem takes the gradient that is left for a fixed vector, while it varies with the "
    "perturbation through the weights; and real numbers for floating-point ones",
)


@dataclass(frozen=True)
class Residual:
    """Norm of the gradient on the remaining rows after removals: 0 at the minimum.

    Attributes:
        measured: the measured norm.
        data: a bound from the current rows, by corollary 1 of Guo et al. (see `NewtonStep.bent`).
        worst: a bound for any rows of such norms, whatever the perturbation, by theorem 1; it
            accumulates, since each removal begins where the last may have ended.
    """

    measured: float = TOLERANCE
    data: float = TOLERANCE
    worst: float = TOLERANCE


ACCOUNTS = tuple(Residual.__dataclass_fields__)
"""The norms of a residual that may be compared with the budget."""


@dataclass(frozen=True)
class Terms:
    """The terms of a certified head.

    Attributes:
        epsilon, delta: bounds on distinguishing it from a head that never learned the forgotten.
        sigma: standard deviation of the perturbation's entries.
        alpha: the strong convexity.
        norm_bound: the largest norm of a row's features; the intercept's 1 is added to it.
        account: the norm of a residual that is compared with the budget.
    """

    epsilon: float
    delta: float
    sigma: float
    alpha: float
    norm_bound: float
    account: str

    def __post_init__(self) -> None:
        if self.account not in ACCOUNTS:
            raise UnknownName("account", self.account, ACCOUNTS)
        for name in ("epsilon", "delta", "sigma", "alpha", "norm_bound"):
            if not 0 < getattr(self, name) < math.inf:
                raise RefusedArgument(
                    f"{name} must be positive and finite, got {getattr(self, name)!r}"
                )
        if self.delta >= 1:
            raise RefusedArgument(f"delta must be below 1, got {self.delta!r}")
        if self.budget <= 2 * TOLERANCE:
            raise RefusedArgument(
                f"sigma={self.sigma:g} hides a gradient of norm {self.budget:.2g}, less than a fit "
                f"itself may leave ({2 * TOLERANCE:g}): give a larger sigma"
            )

    @property
    def budget(self) -> float:
        """The norm of the gradient that the terms allow."""
        return self.sigma * shift(self.epsilon, self.delta)

    @property
    def longest(self) -> float:
        """The largest norm of a row, its intercept's 1 included."""
        return math.hypot(self.norm_bound, 1)

    def spending(self, residual: Residual) -> float:
        """The cost of a residual, with the residual of a fit without the forgotten rows."""
        return float(getattr(residual, self.account)) + TOLERANCE


@dataclass(frozen=True)
class RemovalCertificate(Terms):
    """Within epsilon and delta of a head that never learned the forgotten, under the assumptions.

    Attributes:
        residual: all norms of the gradient after removals.
        rows: number of current rows.
        clipped: number of them that were longer than the bound and scaled down.
        gradient_bound: the most that one row adds to the gradient.
        curvature_bound: the Lipschitz constant of the loss's second derivative by the logits.
        removals: rows removed since the last fit.
        refits: fits on the remaining rows, each with a new perturbation, after a spent budget.
        theorem, proven, checked, assumed: its basis. What is checked was checked on the data;
            assumptions were not and cannot be.
    """

    residual: Residual
    rows: int
    clipped: int
    gradient_bound: float
    curvature_bound: float
    removals: int
    refits: int
    theorem: str = THEOREM
    proven: tuple[str, ...] = PROVEN
    checked: tuple[str, ...] = CHECKED
    assumed: tuple[str, ...] = ASSUMED

    @property
    def spent(self) -> float:
        """The spent part of the budget."""
        return self.spending(self.residual)

    @property
    def left(self) -> float:
        """The remaining part of the budget."""
        return self.budget - self.spent


def shift(epsilon: float, delta: float) -> float:
    """How far a Gaussian of unit variance may move and stay (epsilon, delta)-indistinguishable.

    The exact condition (Balle and Wang 2018, theorem 8, arXiv 1805.06530), in any dimension. That
    of Guo et al., epsilon / sqrt(2 log(1.5/delta)), is less where epsilon is small, and too much
    where it is large: at epsilon 10, delta 1e-5 the true delta is 1.9 times what it says.

    >>> round(shift(1.0, 1e-5), 4), round(shift(10.0, 1e-5), 4)
    (0.2681, 2.0004)
    """

    def beyond(mu: float) -> float:
        first = math.exp(log_ndtr(mu / 2 - epsilon / mu))
        return first - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)) - delta

    return float(brentq(beyond, 1e-12, 2 * math.sqrt(epsilon) + 100, xtol=1e-12))


def worst(
    gradient: float, unsolved: float, bend: float, longest: float, rows: int, alpha: float
) -> float:
    """A bound on the gradient after a Newton step, for any rows.

    Guo et al. 2020, theorem 1, with half its constant, since the Hessian's change grows from
    zero along the step, and with the gradient before the step.

    Args:
        gradient: a bound on its norm before the step.
        unsolved: a bound on the norm of the solver's residual.
        bend: the Lipschitz constant of the loss's second derivative.
        longest: the largest norm of a row.
        rows: their number.
        alpha: the strong convexity.
    """
    step = (gradient + unsolved) / alpha
    # Without rows there is no curvature change, however long a step the account allows.
    return unsolved + bend / 2 * longest**3 * rows * step * step if rows else unsolved
