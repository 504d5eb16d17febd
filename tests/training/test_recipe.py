"""A recipe is checked where it is made and comes back from what it wrote down."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError, UnknownName
from olvido.learners import RECIPES, Lora, Recipe

recipes = st.builds(
    Recipe,
    epochs=st.integers(1, 9),
    batch_size=st.integers(1, 99),
    accumulate=st.integers(1, 9),
    lr=st.floats(1e-9, 10),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
    warmup=st.floats(0, 0.9),
    optimizer=st.sampled_from(["adamw", "sgd"]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    lora=st.none() | st.builds(Lora, rank=st.integers(1, 99), top_layers=st.none() | st.just(2)),
)


@given(recipes)
def test_a_recipe_comes_back_from_what_it_wrote_down(recipe: Recipe) -> None:
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_what_is_not_written_down_is_the_default() -> None:
    assert Recipe.from_dict({"epochs": 7}) == Recipe(epochs=7)


@pytest.mark.parametrize(
    ("values", "nearest"),
    [
        ({"epoch": 3}, "epochs"),
        ({"batchsize": 3}, "batch_size"),
        ({"lora": {"rnk": 3}}, "rank"),
        ({"schedule": "cosin"}, "cosine"),
        ({"optimizer": "adam"}, "adamw"),
        ({"dtype": "bfloat"}, "bfloat16"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(values: dict[str, Any], nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{nearest}'"):
        Recipe.from_dict(values)


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"accumulate": 0},
        {"lr": 0.0},
        {"lr": -1e-3},
        {"lr": math.nan},
        {"lr": math.inf},
        {"warmup": 1.0},
        {"warmup": -0.1},
        {"warmup": math.nan},
        {"beta1": 1.0},
        {"beta2": -0.1},
        {"weight_decay": -1.0},
        {"weight_decay": math.nan},
        {"clip": 0.0},
        {"clip": math.nan},
        {"lora": {"rank": 0}},
        {"lora": {"dropout": 1.0}},
    ],
)
def test_a_number_out_of_range_is_refused(values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    named = next(iter(value)) if name == "lora" else name
    with pytest.raises(InputError, match=named):
        Recipe.from_dict(values)


@given(recipes, st.integers(1, 300))
def test_rates_rise_then_never_rise_again(recipe: Recipe, total: int) -> None:
    rates = [recipe.rate(step, total) for step in range(total)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= recipe.lr * (1 + 1e-9) for rate in rates)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= math.ceil(recipe.warmup * total)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 2 / 3, 1 / 3]),
        ("cosine", [0.5, 1.0, 0.75, 0.25]),
    ],
)
def test_rates_by_hand(schedule: str, expected: list[float]) -> None:
    recipe = Recipe(lr=1.0, schedule=schedule, warmup=0.25)
    assert [recipe.rate(step, 4) for step in range(4)] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_rates_end_near_nothing(schedule: str) -> None:
    recipe = Recipe(lr=1.0, schedule=schedule, warmup=0.1)
    assert recipe.rate(999, 1000) < 2e-3


def test_recipes_by_name_belong_to_models_by_name() -> None:
    from olvido.models import MODELS
    from olvido.models.classifiers.networks import FACTORIES

    assert set(RECIPES) == {*MODELS, *FACTORIES}
