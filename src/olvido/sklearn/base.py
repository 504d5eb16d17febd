"""The base of all heads: rows with their ids, subjects and classes, and how to forget them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from olvido.errors import RefusedArgument
from olvido.ledger.facts import Guarantee


@dataclass(frozen=True)
class HeldRows:
    """The rows of an estimator.

    Attributes:
        subjects: each row's subjects, by its id, in the order of the rows.
    """

    subjects: dict[str, tuple[str, ...]]

    @classmethod
    def of(
        cls,
        rows: int,
        ids: Iterable[Any] | None,
        subjects: Iterable[str | Sequence[str] | None] | None,
    ) -> HeldRows:
        """Rows by the caller's ids; without ids their numbers, "0" for the first.

        Raises:
            RefusedArgument: not every row has an id, or an id is repeated.
        """
        names = _whole("ids", map(str, range(rows) if ids is None else ids), rows)
        about = _whole("subjects", [None] * rows if subjects is None else subjects, rows)
        held = {i: _several(whom) for i, whom in zip(names, about, strict=True)}
        if twice := rows - len(held):
            raise RefusedArgument(f"ids: {twice} of {rows} rows bear one that stands twice already")
        return cls(held)

    @property
    def ids(self) -> list[str]:
        """The rows' ids, in order."""
        return list(self.subjects)

    def meant(self, ids: Iterable[Any] | None, subjects: Iterable[Any] | None) -> set[str]:
        """Ids of the rows of a request, by ids or by subjects.

        Raises:
            RefusedArgument: neither or both are passed, or there is no such row.
        """
        if (ids is None) == (subjects is None):
            raise RefusedArgument("name what to forget: give either ids=[...] or subjects=[...]")
        if isinstance(ids, str) or isinstance(subjects, str):
            raise RefusedArgument("give a list of ids or subjects, not one text")
        if ids is not None:
            asked = set(map(str, ids))
            missing = sum(i not in self.subjects for i in asked)
        else:
            asked = set(map(str, subjects or ()))
            missing = len(asked.difference(*self.subjects.values()))
        # Neither requested nor existing ids are named: a message outlives a request.
        if missing:
            raise RefusedArgument(
                f"{missing} of {len(asked)} {'ids' if ids is not None else 'subjects'} are not "
                "among what this model has learned: nothing was forgotten"
            )
        if not asked:
            raise RefusedArgument("there is nothing to forget: the list is empty")
        if ids is not None:
            return asked
        return {i for i, several in self.subjects.items() if not asked.isdisjoint(several)}

    def without(self, forget_ids: Iterable[str]) -> HeldRows:
        """The remaining rows."""
        remaining = dict(self.subjects)
        for i in forget_ids:
            del remaining[i]
        return HeldRows(remaining)


def class_names(y: NDArray[Any], given: Sequence[Any] | None) -> NDArray[Any]:
    """The classes in order: the caller's, or those in y. [C]

    Raises:
        RefusedArgument: fewer than two, or y has another one.
        ValueError: y has no class names.
    """
    check_classification_targets(y)
    names = np.unique(y if given is None else np.asarray(given))
    if unknown := sorted(set(y.tolist()) - set(names.tolist())):
        raise RefusedArgument(f"y holds {unknown[0]!r}, which is none of the classes given")
    if len(names) < 2:
        raise RefusedArgument(
            f"y holds one class, {names.tolist()[0]!r}: give rows of two classes or "
            "more, or name them all in classes="
        )
    return names


def _whole(name: str, values: Iterable[Any], expected: int) -> list[Any]:
    listed = list(values)
    if len(listed) != expected:
        raise RefusedArgument(f"{name} must name every row: expected {expected}, got {len(listed)}")
    return listed


def _several(whom: str | Sequence[str] | None) -> tuple[str, ...]:
    if whom is None:
        return ()
    return tuple(map(str, whom)) if isinstance(whom, list | tuple | set) else (str(whom),)


@dataclass(frozen=True)
class HeadOutcome:
    """The result of a head's forgetting.

    Attributes:
        guarantee: the current claim of the head.
        rows: number of removed rows.
        seconds: its time.
        refitted: whether it was fitted again on the rest, because no cheaper way sufficed.
    """

    guarantee: Guarantee
    rows: int
    seconds: float
    refitted: bool = False


class Deciding(ABC):
    """A classifier by scores, one for each class; for two classes one score, the second's."""

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
    """A head that forgets. It keeps each training row until that row is forgotten."""

    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    _checks: ClassVar[Mapping[str, Any]] = {"dtype": np.float64}
    """Requirements on X and y in scikit-learn's checks."""
    _held: HeldRows

    def fit(
        self,
        X: Any,
        y: Any,
        subjects: Sequence[str | Sequence[str] | None] | None = None,
        ids: Sequence[Any] | None = None,
    ) -> Self:
        """Fit the head.

        Args:
            X: features. [n, d]
            y: a class for each row; for a regression a number. [n]
            subjects: each row's subjects: a name, several, or None. [n]
            ids: ids of the rows; None: their numbers, "0" for the first. [n]

        Raises:
            InputError: fewer than two classes, a target beyond its bound, ids that repeat, or a
                parameter that its class does not allow.
            TrainingFailed: no minimum was found.
            ValueError: X or y are not what scikit-learn's checks accept.
        """
        X, y = validate_data(self, X, y, **self._checks)
        self._fit(X, y, HeldRows.of(len(X), ids, subjects))
        return self

    @abstractmethod
    def _fit(self, X: Any, y: Any, held: HeldRows) -> None:
        """Fit checked rows."""

    @property
    def ids_(self) -> list[str]:
        """Ids of the current rows."""
        check_is_fitted(self, "_held")
        return self._held.ids

    def forget(
        self, ids: Iterable[Any] | None = None, *, subjects: Iterable[Any] | None = None
    ) -> HeadOutcome:
        """Forget rows or people, and discard their rows.

        Args:
            ids: ids of the rows.
            subjects: subjects all of whose rows are forgotten, rows about others as well included.

        Raises:
            InputError: neither or both are passed, or there is no such row: then nothing has
                changed.
        """
        check_is_fitted(self, "_held")
        forget_ids = self._held.meant(ids, subjects)
        began = time.perf_counter()
        refitted = self._leave(forget_ids)
        return HeadOutcome(self.guarantee, len(forget_ids), time.perf_counter() - began, refitted)

    @abstractmethod
    def _leave(self, forget_ids: set[str]) -> bool:
        """Remove these rows; return whether that took fitting again."""

    def _stay(self, forget_ids: set[str]) -> NDArray[np.bool_]:
        """Which rows remain, in their order. [n]"""
        return np.array([i not in forget_ids for i in self._held.subjects], dtype=bool)
