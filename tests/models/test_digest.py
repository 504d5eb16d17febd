"""Same numbers, same digest; any other number, another one."""

import copy
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from olvido.models import weights_digest


def test_the_digest_is_a_sha256(fresh: Any) -> None:
    algorithm, _, digits = weights_digest(fresh).partition(":")
    assert algorithm == "sha256"
    assert len(bytes.fromhex(digits)) == 32


def test_a_copy_has_the_same_digest_wherever_it_lies(fresh: Any) -> None:
    other = copy.deepcopy(fresh).train()
    for parameter in other.parameters():
        # Another layout in memory of the same numbers.
        parameter.data = parameter.data.T.contiguous().T if parameter.dim() == 2 else parameter.data
        parameter.requires_grad_(False)
    assert weights_digest(other) == weights_digest(fresh)


def nudge(model: Any) -> None:
    weight = model.model.layers[1].mlp.up_proj.weight
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(1e9))


def swap(model: Any) -> None:
    first, second = model.model.layers
    first.mlp.up_proj, second.mlp.up_proj = second.mlp.up_proj, first.mlp.up_proj


def halve(model: Any) -> None:
    model.to(torch.bfloat16)


def flatten(model: Any) -> None:
    weight = model.model.layers[0].mlp.up_proj.weight
    weight.data = weight.data.reshape(weight.shape[::-1])


@pytest.mark.parametrize("change", [nudge, swap, halve, flatten])
def test_whatever_changes_the_weights_changes_the_digest(
    fresh: Any, change: Callable[[Any], None]
) -> None:
    other = copy.deepcopy(fresh)
    with torch.no_grad():
        change(other)
    assert weights_digest(other) != weights_digest(fresh)


def test_the_same_numbers_under_another_name_are_another_model() -> None:
    def made(name: str) -> torch.nn.Module:
        module = torch.nn.Module()
        module.register_parameter(name, torch.nn.Parameter(torch.ones(2)))
        return module

    assert weights_digest(made("a")) == weights_digest(made("a")) != weights_digest(made("b"))


def test_persistent_buffers_count_and_others_do_not() -> None:
    def made(persistent: bool, value: float) -> torch.nn.Module:
        module = torch.nn.Linear(1, 1)
        torch.nn.init.ones_(module.weight)
        torch.nn.init.ones_(module.bias)
        module.register_buffer("extra", torch.tensor(value), persistent=persistent)
        return module

    assert weights_digest(made(True, 0.0)) != weights_digest(made(True, 1.0))
    assert weights_digest(made(False, 0.0)) == weights_digest(made(False, 1.0))


def test_the_digest_makes_no_copy_of_a_tensor() -> None:
    model = torch.nn.Linear(1000, 1000)
    tracemalloc.start()
    try:
        weights_digest(model)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < model.weight.nbytes / 10
