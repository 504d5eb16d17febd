"""How often somebody may ask: a bucket of tokens for each caller, filled at a steady rate."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class Buckets:
    """A token bucket a caller.

    Args:
        size: asks at once.
        every: seconds until another ask is allowed.
        clock: seconds that never go back.
    """

    CALLERS = 10_000
    """Callers remembered; whoever asked the longest ago is forgotten first, with a full bucket."""

    def __init__(
        self, size: int, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.size, self.every, self._clock = size, every, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> float:
        """Take one; returns 0.0, or the seconds to wait where the bucket is empty."""
        with self._lock:
            at = self._clock()
            left, seen = self._left.pop(caller, (float(self.size), at))
            left = min(float(self.size), left + (at - seen) / self.every)
            wait = 0.0 if left >= 1 else (1 - left) * self.every
            self._left[caller] = (left - 1 if left >= 1 else left, at)
            while len(self._left) > self.CALLERS:
                self._left.popitem(last=False)
            return wait

    def give_back(self, caller: str) -> None:
        """Put one back that was taken for what turned out not to count."""
        with self._lock:
            if caller in self._left:
                left, seen = self._left[caller]
                self._left[caller] = (min(float(self.size), left + 1), seen)
