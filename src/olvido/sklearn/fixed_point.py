"""Sums of products in integers, where subtracting a row undoes adding it exactly.

In floating point (a + b) - b need not be a, so statistics that are downdated drift from those of a
refit, and the drift reveals removed rows. Fixed point has no such memory: the sums are functions
of the set of rows alone, whatever was added or removed before, and in which order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from threadpoolctl import ThreadpoolController

from olvido.errors import RefusedArgument

BITS = 20
"""A value is an integer of at most 2**20 in magnitude, a product of two of at most 2**40."""
CHUNK = 2 ** (53 - 2 * BITS)
"""Rows whose products float64 sums exactly: no partial sum exceeds 2**53, in any order."""
MOST_ROWS = 2 ** (62 - 2 * BITS)
"""Rows whose products an int64 is certain to hold."""
EPSILON = float(np.finfo(np.float64).eps)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FixedPoint:
    """Numbers in [-bound, bound], in steps of bound / 2**20.

    The bound is chosen independently of the data: the data's maximum would reveal the largest
    value.

    >>> FixedPoint(8.0).integers(np.array([1.0, -8.0, 99.0])).tolist()
    [131072, -1048576, 1048576]
    """

    bound: float

    @property
    def step(self) -> float:
        """The distance of neighbouring numbers."""
        return self.bound / 2**BITS

    def integers(self, values: Floats) -> NDArray[np.int32]:
        """The nearest steps, clipped to the bound, in the shape of the values."""
        return np.rint(np.clip(values, -self.bound, self.bound) / self.step).astype(np.int32)


@dataclass(frozen=True)
class Statistics:
    """X'X and X'Y in integers, of rows X [n, p] and targets Y [n, k].

    They are equal bit for bit for equal sets of rows. Neither is ever changed in place.

    Attributes:
        gram: [p, p]
        cross: [p, k]
    """

    gram: Integers
    cross: Integers

    @classmethod
    def of(cls, rows: NDArray[np.int32], targets: NDArray[np.int32]) -> Statistics:
        """The statistics of rows of `FixedPoint` integers.

        Raises:
            RefusedArgument: there are more rows than an int64 is certain to hold.
        """
        if len(rows) > MOST_ROWS:
            raise RefusedArgument(
                f"expected at most {MOST_ROWS:,} rows, whose sums fit 64 bits; got {len(rows):,}"
            )
        gram = np.zeros((rows.shape[1], rows.shape[1]), np.int64)
        cross = np.zeros((rows.shape[1], targets.shape[1]), np.int64)
        for start in range(0, len(rows), CHUNK):
            # In float64, since BLAS knows no integers: exact, see CHUNK.
            x, y = (part[start : start + CHUNK].astype(np.float64) for part in (rows, targets))
            gram += (x.T @ x).astype(np.int64)
            cross += (x.T @ y).astype(np.int64)
        return cls(gram, cross)

    def __sub__(self, other: Statistics) -> Statistics:
        return Statistics(self.gram - other.gram, self.cross - other.cross)

    def solution(self, scale: Floats, unit: float, penalty: Floats) -> Floats:
        """(S X'X S + diag(penalty))^-1 S X'Y unit, for S = diag(scale). [p, k]

        It depends on the statistics alone: it runs on one thread, since the last bits of a sum
        split over several depend on their number.

        Raises:
            RefusedArgument: the matrix is singular to 53 bits.
        """
        matrix = self.gram * scale[:, None]
        matrix *= scale
        matrix[np.diag_indices_from(matrix)] += penalty
        right = self.cross * (scale * unit)[:, None]
        with _threads().limit(limits=1, user_api="blas"):
            diagonal = matrix.diagonal().copy()
            try:
                # The matrix is symmetric: its transpose saves LAPACK a copy in columns.
                factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
                if (factor[0].diagonal() ** 2 <= len(matrix) * EPSILON * diagonal).any():
                    raise LinAlgError("a pivot is nothing but rounding")
            except LinAlgError as error:
                raise RefusedArgument(
                    "alpha is too small for these features, which depend on one another to the "
                    "last bit: give a larger alpha"
                ) from error
            found: Floats = cho_solve(factor, right, overwrite_b=True, check_finite=False)
        return found


@cache
def _threads() -> ThreadpoolController:
    """The thread pools of this process, looked up once: that takes as long as a solution."""
    return ThreadpoolController()
