"""Influence removal on a convex loss, where retraining is the one answer there is."""

from pathlib import Path

import pytest
import torch
from tests.curvature.convex import optimum, weights
from tests.curvature.worlds import World, softmax

from olvido.curvature import find_ekfac, fit_ekfac
from olvido.errors import InputError, UnknownName
from olvido.learners import Trained
from olvido.methods import Split, forget
from olvido.methods.base import predict


@pytest.fixture(scope="module")
def world() -> World:
    return softmax(count=300)


@pytest.fixture(scope="module")
def learned(world: World) -> torch.nn.Module:
    return optimum(world, world.records)


def distance(world: World, learned: torch.nn.Module, count: int, **options: object) -> float:
    """To the retrained weights, as a share of what it was; `count` records are forgotten.

    Those whose loss is highest: so that leaving them out is a change worth undoing.
    """
    with torch.no_grad():
        losses = world.task.losses(learned, world.task.collate(world.records))
    order = losses.argsort(descending=True).tolist()
    gone = [world.records[i] for i in order[:count]]
    rest = [world.records[i] for i in order[count:]]
    goal = weights(optimum(world, rest))
    found = forget(
        learned,
        forget=gone,
        retain=rest,
        task=world.task,
        method="influence",
        **{"sample": 300} | options,
    )
    return float((weights(found.model) - goal).norm() / (weights(learned) - goal).norm())


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"inverse": "gauss-newton", "damping": 1e-4}, 0.2),
        ({"inverse": "gauss-newton", "damping": 1e-4, "steps": 3}, 0.03),
        ({"damping": 1e-4}, 0.5),
        ({"damping": 1e-4, "steps": 3}, 0.25),
    ],
    ids=str,
)
def test_the_weights_come_nearer_to_the_retrained_ones(
    world: World, learned: torch.nn.Module, options: dict[str, object], most: float
) -> None:
    assert distance(world, learned, 9, **options) < most


def test_sign_and_scale_are_right(world: World, learned: torch.nn.Module) -> None:
    exact = {"inverse": "gauss-newton", "damping": 1e-4}
    at = {s: distance(world, learned, 9, strength=s, **exact) for s in (0.5, 1.0, 1.5)}
    assert at[1.0] < at[0.5] < 1
    assert at[1.0] < at[1.5]


def test_damping_shortens_the_step(world: World, learned: torch.nn.Module) -> None:
    strong, weak = (distance(world, learned, 9, damping=d) for d in (100.0, 0.01))
    assert weak < strong < 1


def test_factors_on_the_shelf_do_as_well_and_cost_less(
    world: World, learned: torch.nn.Module, tmp_path: Path
) -> None:
    retain_count, given = {"factors": str(tmp_path)}, (learned, world.records, world.task)
    fit_ekfac(*given, folder=tmp_path)
    options = {"damping": 1e-4, **retain_count}
    shelved = distance(world, learned, 9, **options)
    assert shelved == pytest.approx(distance(world, learned, 9, damping=1e-4), abs=0.1)
    gone, rest = world.records[:9], world.records[9:]
    split = Split(gone, rest, ())
    trained = Trained.untraced(learned)
    prices = [
        predict(trained, split, world.task, method="influence", options=one).tokens
        for one in ({"sample": 300, "target": 1.0}, {**retain_count, "target": 1.0})
    ]
    assert prices[0] - prices[1] == 2 * 291 - 9


def test_the_next_removal_finds_what_is_left(
    world: World, learned: torch.nn.Module, tmp_path: Path
) -> None:
    fit_ekfac(learned, world.records, world.task, folder=tmp_path)
    model, left = learned, world.records
    for _ in range(2):
        gone, left = left[:5], left[5:]
        outcome = forget(
            model,
            forget=gone,
            retain=left,
            task=world.task,
            method="influence",
            factors=str(tmp_path),
            target=3.0,
        )
        model = outcome.model
        heir = find_ekfac(model, tmp_path)
        assert heir is not None
        assert len(heir.records) == len(left)
        # Nothing was measured on the sample.
        assert outcome.cost.tokens < 60
    measured = {one.name for one in tmp_path.iterdir()}
    forget(
        world.model,
        forget=gone,
        retain=left,
        task=world.task,
        method="influence",
        factors=str(tmp_path),
        target=3.0,
    )
    # Another model's curvature is not taken: its own is measured, and handed on.
    assert len({one.name for one in tmp_path.iterdir()} - measured) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": 0}, "steps is 1 or more"),
        ({"damping": 0.0}, "damping above 0"),
        ({"strength": 0.0}, "strength must be above 0"),
        ({"target": -1.0}, "target is a loss above 0"),
        ({"sample": 0}, "sample and batch_size"),
        ({"factors": __file__}, "is none"),
        ({"factors": "there", "inverse": "gauss-newton"}, "no use to gauss-newton"),
    ],
)
def test_options_out_of_range_are_refused(
    world: World, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        distance(world, world.model, 3, **options)
    with pytest.raises(UnknownName, match="did you mean 'ekfac'"):
        distance(world, world.model, 3, inverse="kfac")
