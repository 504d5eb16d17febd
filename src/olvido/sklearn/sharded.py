"""A scikit-learn classifier that forgets by retraining shards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn import Flatten, Linear, Module, ReLU, Sequential

from olvido.learners import Recipe, Trained, train
from olvido.methods import Outcome, forget
from olvido.sklearn.base import HeldRows, class_names
from olvido.tasks import Labels, examples

Factory = Callable[[tuple[int, ...], int], Module]
"""Makes a module from the shape of one input and the number of classes."""

RECIPE = Recipe(epochs=30, batch_size=32, lr=5e-3)
HIDDEN = 64
ROWS = 512
"""Rows of one forward pass of prediction."""


class ShardedClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of shards and slices (SISA) that forgets rows or people exactly.

    After `forget` it equals, bit for bit, a classifier that was trained with the same places for
    all rows and never saw the forgotten ones (Bourtoule et al. 2021, arXiv 1912.03817). It keeps
    its training rows, which retraining needs.

    Nothing is computed from the data before training. Scale X by constants: a `StandardScaler`
    earlier in a pipeline keeps the forgotten in its means. Bytes (uint8) are divided by 255.

    Args:
        shards: models that answer together; one person's rows lie in one of them.
        slices: stages in which each is trained; removing a row of a later one costs less.
        module: the module of each shard, from arrays [B, ...] to logits [B, C], which is copied, or
            a function of (shape of one input, number of classes) that makes one from the seed.
            None: one hidden layer of 64.
        recipe: of the training; None: 30 passes, batches of 32, learning rate 0.005.
        aggregation: `mean` of the shards' probabilities, or `vote`.
        classes: their names where y must not determine them. None: those found in y, and then their
            number and names are not forgotten with the rows.
        folder: for checkpoints; None: a temporary one. Without its folder a pickled copy forgets
            all the same, from the start of the affected shards.
        workers: shards trained at a time.
        seed: of the module's weights, places, order and dropout.

    Attributes:
        classes_: in the order of `predict_proba`'s columns.
        n_features_in_: columns of X.
        trained_: the model, with the trace of its training.
        ids_: ids of the current rows.

    >>> X = np.array([[i % 2 + i / 100, (i + 1) % 2] for i in range(40)])
    >>> model = ShardedClassifier(shards=2, slices=2).fit(X, ["a", "b"] * 20)
    >>> model.predict([[0.1, 0.9]]).tolist()
    ['a']
    >>> model.forget(ids=["3", "8"]).guarantee.value
    'exact'
    """

    def __init__(
        self,
        shards: int = 5,
        slices: int = 4,
        *,
        module: Module | Factory | None = None,
        recipe: Recipe | None = None,
        aggregation: str = "mean",
        classes: Sequence[Any] | None = None,
        folder: Path | None = None,
        workers: int = 1,
        seed: int = 0,
    ) -> None:
        self.shards, self.slices = shards, slices
        self.module, self.recipe, self.aggregation = module, recipe, aggregation
        self.classes, self.folder, self.workers, self.seed = classes, folder, workers, seed

    def fit(
        self,
        X: Any,
        y: Any,
        subjects: Sequence[str | Sequence[str] | None] | None = None,
        ids: Sequence[str] | None = None,
    ) -> ShardedClassifier:
        """Fit the classifier.

        Args:
            X: finite numbers. [n, ...]
            y: a class for each row. [n]
            subjects: each row's subjects: a name, several, or None. [n]
            ids: ids of the rows; None: their numbers, "0" for the first. [n]

        Raises:
            InputError: fewer than two classes, ids that repeat, more shards than there are people,
                or a module that does not fit.
            ValueError: X or y are not what scikit-learn's checks accept.
        """
        X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2)
        self.classes_ = class_names(y, self.classes)
        held = HeldRows.of(len(X), ids, subjects)
        rows = examples(
            {"id": i, "input": x, "label": label, "subjects": about}
            for (i, about), x, label in zip(
                held.subjects.items(), X, np.searchsorted(self.classes_, y), strict=True
            )
        )
        self.task_ = Labels(len(self.classes_), shape=X.shape[1:])
        self.trained_ = train(
            self._module(X.shape[1:]),
            records=rows,
            task=self.task_,
            recipe=self.recipe or RECIPE,
            seed=self.seed,
            learner="sharded",
            folder=self.folder,
            shards=self.shards,
            slices=self.slices,
            aggregation=self.aggregation,
            workers=self.workers,
        )
        self._rows = {row.id: row for row in rows}
        return self

    @property
    def ids_(self) -> list[str]:
        """Ids of the current rows."""
        check_is_fitted(self, "trained_")
        return list(self._rows)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class. [n, C]"""
        return torch.softmax(self._logits(X), dim=-1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class. [n]"""
        found = self._logits(X).argmax(-1).numpy()
        return np.asarray(self.classes_[found])

    def forget(
        self, *, ids: Iterable[str] | None = None, subjects: Iterable[str] | None = None
    ) -> Outcome:
        """Forget rows or people, exactly, and discard their rows.

        Args:
            ids: ids of the rows.
            subjects: subjects all of whose rows are forgotten, rows about others as well included.

        Returns:
            The result: its `cost` (seconds, tokens, share of retraining), `guarantee`, and more.

        Raises:
            InputError: neither or both are passed, or there is no such row: then nothing has
                changed.
        """
        check_is_fitted(self, "trained_")
        held = HeldRows({i: row.subjects or () for i, row in self._rows.items()})
        forget_ids = held.meant(ids, subjects)
        outcome = forget(
            self.trained_,
            forget=[row for i, row in self._rows.items() if i in forget_ids],
            retain=[row for i, row in self._rows.items() if i not in forget_ids],
            task=self.task_,
            method="shard",
            workers=self.workers,
        )
        self.trained_ = Trained(outcome.model, outcome.digest, outcome.trace)
        self._rows = {i: row for i, row in self._rows.items() if i not in forget_ids}
        return outcome

    @torch.no_grad()
    def _logits(self, X: Any) -> torch.Tensor:
        check_is_fitted(self, "trained_")
        X = validate_data(self, X, allow_nd=True, reset=False)
        model = self.trained_.model.eval()
        device = next(model.parameters()).device
        return torch.cat([model(part.to(device)).double().cpu() for part in self._parts(X)])

    def _parts(self, X: NDArray[Any]) -> Iterator[torch.Tensor]:
        for start in range(0, len(X), ROWS):
            yield self.task_.inputs(X[start : start + ROWS])

    def _module(self, shape: tuple[int, ...]) -> Module:
        if isinstance(self.module, Module):
            return copy.deepcopy(self.module)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return (self.module or perceptron)(shape, len(self.classes_))


def perceptron(shape: tuple[int, ...], classes: int) -> Module:
    """One hidden layer of 64, whatever the shape of an input."""
    features = int(np.prod(shape))
    return Sequential(Flatten(), Linear(features, HIDDEN), ReLU(), Linear(HIDDEN, classes))
