"""What an estimator holds: its rows' ids, whom each is about, and the names of its classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from olvido.errors import RefusedArgument


@dataclass(frozen=True)
class Held:
    """The rows that an estimator holds.

    Attributes:
        subjects: whom each row is about, by its id, in the order of the rows.
    """

    subjects: dict[str, tuple[str, ...]]

    @classmethod
    def of(
        cls,
        rows: int,
        ids: Iterable[Any] | None,
        subjects: Iterable[str | Sequence[str] | None] | None,
    ) -> Held:
        """Rows as a caller named them; without ids their numbers, "0" for the first.

        Raises:
            RefusedArgument: not every row is named, or an id stands twice.
        """
        names = _whole("ids", map(str, range(rows) if ids is None else ids), rows)
        about = _whole("subjects", [None] * rows if subjects is None else subjects, rows)
        held = {i: _several(whom) for i, whom in zip(names, about, strict=True)}
        if twice := rows - len(held):
            raise RefusedArgument(f"ids: {twice} of {rows} rows bear one that stands twice already")
        return cls(held)

    @property
    def ids(self) -> list[str]:
        """Their ids, in the order of the rows."""
        return list(self.subjects)

    def meant(self, ids: Iterable[Any] | None, subjects: Iterable[Any] | None) -> set[str]:
        """Ids of the rows that a request means, by ids or by subjects.

        Raises:
            RefusedArgument: neither or both are given, or nothing of that name is held.
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
        # Neither those asked for nor those held are named: a message outlives a request.
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

    def without(self, gone: Iterable[str]) -> Held:
        """The rows that are left."""
        left = dict(self.subjects)
        for i in gone:
            del left[i]
        return Held(left)


def class_names(y: NDArray[Any], given: Sequence[Any] | None) -> NDArray[Any]:
    """The classes in order: those given, or those found in y. [C]

    Raises:
        RefusedArgument: fewer than two, or y holds another one.
        ValueError: y is nothing that names classes.
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
