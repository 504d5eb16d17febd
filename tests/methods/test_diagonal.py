"""Dampening and noise against their formulas, worked out from autograd alone."""

from itertools import product

import pytest
import torch
from tests.curvature.convex import optimum
from tests.curvature.test_gradients import one_by_one
from tests.curvature.worlds import World, softmax

from olvido.errors import InputError
from olvido.methods import METHODS, Split, forget
from olvido.methods.curved import Curved


@pytest.fixture(scope="module")
def learned() -> World:
    world = softmax(count=80)
    return World(optimum(world, world.records), world.records, world.task)


def squares(world: World, chosen: slice) -> dict[str, torch.Tensor]:
    part = World(world.model, world.records[chosen], world.task)
    return {name: rows.square().mean(0) for name, rows in one_by_one(part)[1].items()}


def moved(world: World, method: str, **options: object) -> dict[str, torch.Tensor]:
    found = forget(
        world.model,
        forget=world.records[:8],
        retain=world.records[8:],
        task=world.task,
        method=method,
        sample=200,
        **options,
    )
    return dict(found.model.named_parameters())


@pytest.mark.slow
def test_dampening_is_its_paper(learned: World) -> None:
    gone, rest = squares(learned, slice(0, 8)), squares(learned, slice(8, None))
    found = moved(learned, "ssd", alpha=1.5, dampening=0.7)
    shrunk = 0
    for name, weight in learned.model.named_parameters():
        expected = weight.detach().clone()
        for at in product(*map(range, weight.shape)):
            if gone[name][at] > 1.5 * rest[name][at]:
                expected[at] *= min(1.0, 0.7 * float(rest[name][at] / gone[name][at]))
                shrunk += 1
        torch.testing.assert_close(found[name].detach(), expected, rtol=1e-4, atol=1e-6)
    assert 0 < shrunk < sum(p.numel() for p in learned.model.parameters())


@pytest.mark.parametrize("aimed", [True, False])
def test_noise_has_the_spread_that_is_said(learned: World, aimed: bool) -> None:
    gone, rest = squares(learned, slice(0, 8)), squares(learned, slice(8, None))
    mean = torch.cat([part.flatten() for part in rest.values()]).mean()
    method = METHODS.make("fisher", {"aimed": aimed, "noise": 0.01})
    assert isinstance(method, Curved)
    split = Split(learned.records[:8], learned.records[8:])
    seen: dict[str, list[torch.Tensor]] = {}
    for seed in range(60):
        path = method.path(learned.model, split, learned.task, seed, retain_count=72)
        for name, weight in path.at(2.0).items():
            seen.setdefault(name, []).append(weight)
    for name, weight in learned.model.named_parameters():
        free = (gone[name] / rest[name]).sqrt() if aimed else (rest[name] / mean).pow(-0.25)
        expected = 0.02 * free * weight.detach().square().mean().sqrt()
        measured = (torch.stack(seen[name]) - weight.detach()).square().mean(0).sqrt()
        assert float((measured / expected).mean()) == pytest.approx(1.0, abs=0.1)


def test_options_out_of_range_are_refused(learned: World) -> None:
    for method, option in (("ssd", "alpha"), ("ssd", "dampening"), ("fisher", "noise")):
        with pytest.raises(InputError, match=f"{option}.* above 0"):
            moved(learned, method, **{option: 0.0})
