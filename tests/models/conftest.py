"""Three modules of random adapters over the small model, each for two residents of the town."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from olvido.demo.residents import Town
from olvido.models.adapter import Adapter
from olvido.models.routed import PromptTemplate, Routed
from olvido.models.router import RoutedQuestion, Router
from olvido.tasks import Language
from olvido.training.recipe import Lora, attach

Maker = Callable[[Any, int], Adapter]


@pytest.fixture(scope="session")
def random_adapter() -> Maker:
    """From a model and a seed to an adapter that changes every answer."""

    def make(model: Any, seed: int, lora: Lora | None = None) -> Adapter:
        adapted = attach(copy.deepcopy(model), lora or Lora(rank=4, dropout=0.3), seed=seed)
        draw = torch.Generator().manual_seed(seed)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=draw) * 0.1
        return Adapter.of(adapted)

    return make


@pytest.fixture(scope="session")
def adapters(fresh: Any, random_adapter: Maker) -> dict[str, Adapter]:
    return {f"module-{i}": random_adapter(fresh, i) for i in range(3)}


@pytest.fixture(scope="session")
def rows(town: Town) -> list[RoutedQuestion]:
    """The questions of six residents, two a module."""
    return [
        RoutedQuestion(row["id"], row["prompt"], f"module-{i // 2}")
        for i, resident in enumerate(town.residents[:6])
        for row in town.rows_of(resident)
    ]


@pytest.fixture(scope="session")
def empty(fresh: Any, tokenizer: Any, task: Language) -> Routed:
    """The base behind a router that knows nobody."""
    template = PromptTemplate.of(task.encode_prompt)
    return Routed(fresh, tokenizer, router=Router("ngrams"), template=template)


@pytest.fixture(scope="session")
def routed(empty: Routed, adapters: dict[str, Adapter], rows: list[RoutedQuestion]) -> Routed:
    return empty.with_modules(adapters, rows)
