"""A run short enough to be done again and again."""

from __future__ import annotations

from typing import Any

import pytest

from olvido.forgetting import Split
from olvido.learners import Recipe, Trained, train
from olvido.tasks import Language


@pytest.fixture(scope="session")
def part(split: Split) -> Split:
    """The leaver's records and thirty of the others'."""
    return Split(split.forget, split.retain[:30], split.holdout[:30])


@pytest.fixture(scope="session")
def brief(fresh: Any, part: Split, task: Language) -> Trained:
    """A model that was taught `part`."""
    recipe = Recipe(epochs=10, batch_size=15, lr=6e-3)
    return train(fresh, records=(*part.forget, *part.retain), task=task, recipe=recipe)
