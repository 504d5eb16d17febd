"""A model smaller still, and a handful of records: enough to compare bits."""

from __future__ import annotations

from typing import Any

import pytest

from olvido.demo.residents import Town
from olvido.learners import Recipe
from olvido.models.tiny import tiny_model
from olvido.tasks import Example, examples


@pytest.fixture(scope="session")
def small(tokenizer: Any) -> Any:
    return tiny_model(len(tokenizer), seed=0, width=32, layers=2).eval()


@pytest.fixture(scope="session")
def few(town: Town) -> tuple[Example, ...]:
    """Fifteen records of one resident."""
    return examples(town.rows_of(town.leaver))


@pytest.fixture(scope="session")
def short() -> Recipe:
    """Twelve steps with every part of the schedule in them."""
    return Recipe(epochs=3, batch_size=4, lr=2e-3)
