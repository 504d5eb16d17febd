"""Adapters train in place of the weights, and nothing of them is left to take off again."""

import copy
from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from olvido.learners import Lora, Recipe, StepLog, train
from olvido.models import weights_digest
from olvido.tasks import Example, Language

pytestmark = pytest.mark.filterwarnings(
    # peft asks a model of transformers 5 by its older name.
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, small: Any, gpt2: Any) -> Any:
    return {"llama": small, "gpt2": gpt2}[request.param]


def adapted(model: Any, records: tuple[Example, ...], task: Language, lora: Lora) -> Any:
    recipe = Recipe(epochs=4, batch_size=8, lr=1e-2, lora=lora)
    return train(model, records=records, task=task, recipe=recipe)


def moved(before: Any, after: Any) -> set[str]:
    """Names of the weights that differ."""
    found = dict(after.named_parameters())
    assert set(found) == {name for name, _ in before.named_parameters()}
    return {name for name, old in before.named_parameters() if not torch.equal(old, found[name])}


def test_adapters_are_merged_into_plain_weights(
    model: Any, few: tuple[Example, ...], task: Language
) -> None:
    before = weights_digest(model)
    found = adapted(model, few, task, Lora(rank=4))
    kinds = {type(m) for m in found.model.modules()}
    assert type(found.model) is type(model)
    assert kinds == {type(m) for m in model.modules()}
    assert kinds & {torch.nn.Linear, Conv1D}
    assert weights_digest(model) == before != found.digest
    assert isinstance(found.trace, StepLog)
    first, last = found.trace.losses[0], found.trace.losses[-1]
    assert first is not None
    assert last is not None
    assert last < first - 0.1


def test_every_block_is_adapted_and_nothing_besides(
    model: Any, few: tuple[Example, ...], task: Language
) -> None:
    found = adapted(model, few, task, Lora(rank=4))
    changed = moved(model, found.model)
    blocks = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and name != "lm_head"
    ]
    assert changed == {f"{name}.weight" for name in blocks}


def test_the_update_has_the_rank_asked_for(
    small: Any, few: tuple[Example, ...], task: Language
) -> None:
    found = adapted(small, few, task, Lora(rank=2)).model
    update = found.model.layers[0].mlp.up_proj.weight - small.model.layers[0].mlp.up_proj.weight
    values = torch.linalg.svdvals(update)
    assert values[1] > 1e-4
    assert values[2] < 1e-5


def test_lower_layers_stay_bit_for_bit(
    model: Any, few: tuple[Example, ...], task: Language
) -> None:
    found = adapted(model, few, task, Lora(rank=4, top_layers=1))
    changed = moved(model, found.model)
    assert changed
    assert all(".1." in name for name in changed)


def test_adapters_are_determined_by_the_seed(
    small: Any, few: tuple[Example, ...], task: Language
) -> None:
    recipe = Recipe(epochs=1, lr=1e-2, lora=Lora(rank=2, dropout=0.1))
    state = torch.get_rng_state()

    def digest(seed: int) -> str:
        return train(small, records=few, task=task, recipe=recipe, seed=seed).digest

    first = digest(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert digest(0) == first != digest(1)


def test_a_merged_model_can_be_trained_again(
    model: Any, few: tuple[Example, ...], task: Language
) -> None:
    model = copy.deepcopy(model)
    frozen = model.get_input_embeddings().weight.requires_grad_(False)
    found = adapted(model, few, task, Lora(rank=2)).model
    again = train(found, records=few, task=task, recipe=Recipe(epochs=1, batch_size=4)).model
    assert moved(found, again) == {
        name for name, parameter in model.named_parameters() if parameter is not frozen
    }
