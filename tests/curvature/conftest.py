from typing import Any

import pytest
from tests.curvature.worlds import World, convolutions, languages, softmax, unruly

from olvido.methods import Split

NAMES = ["llama", "gpt2", "lora", "convolutions", "unruly", "softmax"]


@pytest.fixture(scope="session")
def worlds(tokenizer: Any, split: Split, gpt2: Any) -> dict[str, World]:
    made = {"convolutions": convolutions, "unruly": unruly, "softmax": softmax}
    made |= languages(tokenizer, split.forget, gpt2)
    return {name: make() for name, make in made.items()}


@pytest.fixture(params=NAMES)
def world(request: pytest.FixtureRequest, worlds: dict[str, World]) -> World:
    return worlds[request.param]
