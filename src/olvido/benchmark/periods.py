"""Accuracies of a model that is trained on one period after another: what is kept and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from olvido.errors import InputError


@dataclass(frozen=True)
class Periods:
    """The accuracies of each period after each training.

    Lopez-Paz & Ranzato 2017 (arXiv 1706.08840, section 2) and Chaudhry et al. 2018 (arXiv
    1801.10112, section 4), for T periods and with a[t][i] the accuracy on period i after training
    on period t.

    >>> found = Periods([[0.9, 0.1], [0.6, 0.8]], before=[0.2, 0.2])
    >>> f"{found.average:.2f} {found.backward:.2f} {found.forward:.2f} {found.forgetting:.2f}"
    '0.70 -0.30 -0.10 0.30'

    Args:
        accuracies: [T, T], shares between 0 and 1, a row for each training in time; two at least.
        before: [T], those of the model before any training.

    Raises:
        InputError: the shapes do not fit, or a number is no share.
    """

    accuracies: Sequence[Sequence[float]]
    before: Sequence[float]

    def __post_init__(self) -> None:
        """Check the shapes and the shares."""
        rows, count = [*self.accuracies, self.before], len(self.accuracies)
        if count < 2 or any(len(row) != count for row in rows):
            raise InputError(
                "expected as many accuracies in every row and before training as there are "
                f"trainings, two at least; got {count} trainings and rows of "
                f"{[len(row) for row in rows]}"
            )
        if wrong := [value for row in rows for value in row if not 0 <= value <= 1]:
            raise InputError(f"an accuracy is a share between 0 and 1, got {wrong[0]}")

    @property
    def _all(self) -> NDArray[np.float64]:
        return np.array(self.accuracies, dtype=np.float64)

    @property
    def average(self) -> float:
        """Average accuracy at the end: the mean over i of a[T][i]."""
        return float(self._all[-1].mean())

    @property
    def backward(self) -> float:
        """Backward transfer: the mean over i < T of a[T][i] - a[i][i]; below 0 is forgetting."""
        return float((self._all[-1] - self._all.diagonal())[:-1].mean())

    @property
    def forward(self) -> float:
        """Forward transfer: the mean over i > 1 of a[i-1][i] less that before any training."""
        return float((self._all.diagonal(1) - np.array(self.before[1:])).mean())

    @property
    def forgetting(self) -> float:
        """The mean over i < T of the best a[t][i] of all t < T, less a[T][i]; 0 is none."""
        return float((self._all[:-1].max(axis=0) - self._all[-1])[:-1].mean())
