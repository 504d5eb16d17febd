"""The diagonal Fisher is a mean of records' own squares."""

import pytest
import torch
from tests.curvature.test_gradients import one_by_one
from tests.curvature.worlds import World

from olvido.curvature import PerRecord, diagonal_fisher
from olvido.errors import InputError


def test_it_is_the_mean_of_the_records_squares(world: World) -> None:
    names, gradients = one_by_one(world)
    found = diagonal_fisher(world.model, world.records, world.task, batch_size=2)
    assert list(found) == names
    for name, value in found.items():
        assert (value >= 0).all()
        expected = gradients[name].square().mean(0)
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-7, msg=name)


def test_it_is_not_the_square_of_the_mean(worlds: dict[str, World]) -> None:
    world = worlds["softmax"]
    found = diagonal_fisher(world.model, world.records, world.task)["weight"]
    _, gradients = one_by_one(world)
    assert (found > 5 * gradients["weight"].mean(0).square()).float().mean() > 0.5


def test_drawn_targets_are_determined_by_their_seed(worlds: dict[str, World]) -> None:
    world = worlds["llama"]
    first, again, other = (
        diagonal_fisher(world.model, world.records, world.task, sampled=seed) for seed in (0, 0, 1)
    )
    name = "model.norm.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_nothing_comes_of_no_records(worlds: dict[str, World]) -> None:
    world = worlds["softmax"]
    with pytest.raises(InputError, match="no records"):
        diagonal_fisher(world.model, (), world.task)
    assert PerRecord(world.model, world.task).parameters.keys() == {"weight", "bias"}
