"""What all heads have in common: who is in them, and the door to forgetting."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from olvido.held import Held
from olvido.ledger.facts import Guarantee


@dataclass(frozen=True)
class Forgotten:
    """What a head did to forget.

    Attributes:
        guarantee: what may be claimed of the head as it is now.
        rows: how many have left.
        seconds: what it took.
        refitted: whether it was fitted again on the rest, because no cheaper way would do.
    """

    guarantee: Guarantee
    rows: int
    seconds: float
    refitted: bool = False


class Deciding(ABC):
    """A classifier by scores, one for each class; of two classes one score, the second's."""

    classes_: NDArray[Any]

    @abstractmethod
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Scores. [n] or [n, C]"""

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class. [n]"""
        scores = self.decision_function(X)
        at = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        return np.asarray(self.classes_[at])


class Forgetful(ABC):
    """A head that forgets. It keeps the rows it learned from, each until its own leaves."""

    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    _held: Held

    @property
    def ids_(self) -> list[str]:
        """Ids of the rows that it holds now."""
        check_is_fitted(self, "_held")
        return self._held.ids

    def forget(
        self, ids: Iterable[Any] | None = None, *, subjects: Iterable[Any] | None = None
    ) -> Forgotten:
        """Forget rows or people, and discard their rows.

        Args:
            ids: of the rows.
            subjects: all of whose rows go, those that are about others as well included.

        Raises:
            InputError: neither or both are given, or nothing of that name is held: then nothing
                has changed.
        """
        check_is_fitted(self, "_held")
        gone = self._held.meant(ids, subjects)
        began = time.perf_counter()
        refitted = self._leave(gone)
        return Forgotten(self.guarantee, len(gone), time.perf_counter() - began, refitted)

    @abstractmethod
    def _leave(self, gone: set[str]) -> bool:
        """Go on without these rows; whether that took fitting again."""

    def _stay(self, gone: set[str]) -> NDArray[np.bool_]:
        """Which rows are left, in their order. [n]"""
        return np.array([i not in gone for i in self._held.subjects], dtype=bool)
