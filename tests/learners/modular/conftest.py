"""A small base of four layers, and a town's questions in modules."""

from __future__ import annotations

from typing import Any

import pytest

from olvido.learners import Recipe, Trained, train
from olvido.methods import Split
from olvido.models.tiny import tiny_model
from olvido.tasks import Example, Language

RECIPE = Recipe(epochs=3, batch_size=8, lr=1e-2)


@pytest.fixture(scope="session")
def base(tokenizer: Any) -> Any:
    return tiny_model(len(tokenizer), seed=0, width=32, layers=4).eval()


@pytest.fixture(scope="session")
def everybody(split: Split) -> tuple[Example, ...]:
    """The leaver's records and those of five others."""
    owners = sorted({record.subjects for record in split.retain})[:5]
    return (*split.forget, *(r for r in split.retain if r.subjects in owners))


@pytest.fixture(scope="session")
def modular(base: Any, everybody: tuple[Example, ...], task: Language) -> Trained:
    return train(
        base,
        records=everybody,
        task=task,
        recipe=RECIPE,
        learner="modular",
        per_module=2,
        embedding="ngrams",
    )
