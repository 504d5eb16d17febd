"""Which learning rate to try next: the response is monotone, so its logarithm is bisected."""

from __future__ import annotations

import math

STEP = 2.0
"""Factor between two rates as long as one side of the aim has not been seen."""
CLOSE = 1.2
"""Factor between a rate that does too little and one that does too much, under which no rate
between them is worth a trial."""


class Bracket:
    """The rates known to do too little and too much, and what lies between.

    A higher rate forgets more and harms more, so that every trial shuts out half of what is left: a
    sampler such as Optuna's does not know this.

    Args:
        start: the first rate to try.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._low: float | None = None
        self._high: float | None = None

    def told(self, rate: float, *, too_much: bool) -> None:
        """This rate did too much, as higher ones would, or too little, as lower ones would."""
        if too_much:
            self._high = rate if self._high is None else min(self._high, rate)
        else:
            self._low = rate if self._low is None else max(self._low, rate)

    @property
    def next(self) -> float | None:
        """The rate to try; None where nothing is left between.

        >>> bracket = Bracket(1e-4)
        >>> bracket.told(bracket.next, too_much=True)
        >>> bracket.next
        5e-05
        """
        if self._low is None and self._high is None:
            return self._start
        if self._high is None:
            assert self._low is not None
            return self._low * STEP
        if self._low is None:
            return self._high / STEP
        # Where they cross, the response was not monotone, and nothing tells where to look.
        return math.sqrt(self._low * self._high) if self._high > CLOSE * self._low else None
