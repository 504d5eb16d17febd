"""What comes back when an adapter is taken off."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model, inject_adapter_in_model
from torch import nn

from olvido.audits.integrity.wrapping import detached
from olvido.models import weights_digest

from . import fakes


def loss(model: Any, world: Any) -> float:
    with torch.no_grad():
        return float(world.task.losses(model, world.task.collate(world.forget)).mean())


@pytest.fixture(scope="module")
def fake(world: Any) -> Any:
    return fakes.detachable(world.before, world.task, world.forget)


def test_what_an_adapter_hid_is_back(fake: Any, world: Any) -> None:
    assert loss(fake, world) > loss(world.before, world) + 2
    found = detached(fake)
    assert found is not None
    assert weights_digest(found) == weights_digest(world.before)
    assert loss(found, world) == pytest.approx(loss(world.before, world), abs=1e-5)
    assert not hasattr(found, "peft_config")
    assert detached(found) is None


def test_the_adapter_stays_where_it_was(fake: Any, world: Any) -> None:
    before = weights_digest(fake)
    hidden = loss(fake, world)
    found = detached(fake)
    assert weights_digest(fake) == before
    assert loss(fake, world) == hidden
    assert found is not None
    shared = {p.data_ptr() for p in fake.parameters()}
    assert all(p.data_ptr() in shared for p in found.parameters())


def test_a_merge_that_can_be_undone_is_undone(fake: Any, world: Any) -> None:
    merged = copy.deepcopy(fake)
    merged.merge_adapter()
    hidden = loss(merged, world)
    assert hidden > loss(world.before, world) + 2
    found = detached(merged)
    assert found is not None
    assert loss(found, world) == pytest.approx(loss(world.before, world), abs=1e-3)
    assert loss(merged, world) == hidden


def test_a_wrapper_hides_no_adapter(fake: Any, world: Any) -> None:
    around = fakes.Around(world.before)
    around.inner = fake
    found = detached(around)
    assert isinstance(found, fakes.Around)
    assert loss(found, world) == pytest.approx(loss(world.before, world), abs=1e-5)


def test_adapters_of_other_kinds_come_off_too(world: Any) -> None:
    injected = inject_adapter_in_model(
        LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False),
        copy.deepcopy(world.before),
    )
    whole = get_peft_model(
        copy.deepcopy(world.before),
        LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm"]),
    )
    with torch.no_grad():
        whole.base_model.model.model.norm.modules_to_save["default"].weight.fill_(0.1)
    prompted = get_peft_model(
        copy.deepcopy(world.before),
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    )
    for model in (injected, whole, prompted):
        found = detached(model)
        assert found is not None
        assert weights_digest(found) == weights_digest(world.before)


def test_where_nothing_comes_off(world: Any) -> None:
    assert detached(world.before) is None
    assert detached(nn.Linear(2, 2)) is None
    assert detached(fakes.Around(world.before)) is None
