"""A run short enough to be done again and again, and for each method a model it applies to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from tests.sharing import Shared

from olvido.demo.residents import make_town
from olvido.learners import Lora, Recipe, Trained, train
from olvido.methods import Split
from olvido.tasks import Example, Language

WHOLE = Recipe(epochs=16, batch_size=16, lr=4e-3)
BRIEF = Recipe(epochs=10, batch_size=15, lr=6e-3)
ADAPTED = Recipe(epochs=16, batch_size=8, lr=1e-2, lora=Lora(rank=32, alpha=64))
KEPT: dict[str, dict[str, Any]] = {
    "replay": {"replay_points": 2},
    "shard": {"learner": "sharded", "shards": 2, "slices": 2},
    "module": {"learner": "modular", "embedding": "ngrams", "per_module": 4},
    "drop": {"learner": "modular", "embedding": "ngrams", "by": "source"},
}
"""How a model is trained so that the method applies; the others need no more than its step log."""


@pytest.fixture(scope="session")
def part(split: Split) -> Split:
    """The leaver's records and thirty of the others'."""
    return Split(split.forget, split.retain[:30], split.holdout[:30])


@pytest.fixture(scope="session")
def brief(shared: Shared, fresh: Any, part: Split, task: Language) -> Trained:
    """A model that was taught `part`."""
    records = (*part.forget, *part.retain)
    return shared.value(lambda: train(fresh, records=records, task=task, recipe=BRIEF))


@pytest.fixture(scope="session")
def speaking(shared: Shared, fresh: Any, task: Language) -> Any:
    """A model of another town: modules go on a base that has the language and knows nobody."""
    town = make_town(seed=1, residents=12, outsiders=0, wordings=3)
    rows = [row for resident in town.residents for row in town.rows_of(resident)]
    recipe = replace(WHOLE, epochs=8)
    return shared.value(lambda: train(fresh, records=rows, task=task, recipe=recipe).model)


@pytest.fixture(scope="session")
def taught_for(
    fresh: Any, speaking: Any, split: Split, task: Language
) -> Callable[[str, tuple[Example, ...], Recipe], Trained]:
    """Trains a model of the kind that a method needs."""
    leaving = {record.id for record in split.forget}

    def taught(method: str, records: tuple[Example, ...], recipe: Recipe) -> Trained:
        retain_count = KEPT[method]
        if retain_count.get("learner") != "modular":
            return train(fresh, records=records, task=task, recipe=recipe, **retain_count)
        # A module of its own for who leaves, where modules are kept by source.
        sources = [str(record.id in leaving) for record in records]
        marked = [
            replace(record, fields={**record.fields, "source": source})
            for record, source in zip(records, sources, strict=True)
        ]
        return train(speaking, records=marked, task=task, recipe=ADAPTED, **retain_count)

    return taught


@pytest.fixture(scope="session")
def trained_for(
    trained: Trained, learned: tuple[Example, ...], taught_for: Callable[..., Trained]
) -> Callable[[str], Trained]:
    """The model that knows every resident, of the kind that a method needs."""

    @cache
    def made(method: str) -> Trained:
        return taught_for(method, learned, WHOLE)

    return lambda method: made(method) if method in KEPT else trained


@pytest.fixture(scope="session")
def brief_for(
    brief: Trained, part: Split, taught_for: Callable[..., Trained]
) -> Callable[[str], Trained]:
    """The model that was taught `part`, of the kind that a method needs."""

    @cache
    def made(method: str) -> Trained:
        return taught_for(method, (*part.forget, *part.retain), BRIEF)

    return lambda method: made(method) if method in KEPT else brief
