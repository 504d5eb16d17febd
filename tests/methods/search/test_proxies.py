"""What a trial is judged by: both sides of never learned, and what else changed."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
import torch

from olvido.learners import Recipe, Trained, train
from olvido.methods import Side, Split
from olvido.methods.proxies import BANDS, FORGETTING, Yardstick, membership_auc, observe
from olvido.tasks import Language


@pytest.fixture(scope="module")
def yardstick(trained: Trained, split: Split, task: Language) -> Yardstick:
    return Yardstick(trained.model, split, task)


@pytest.fixture(scope="module")
def never(fresh: Any, split: Split, task: Language) -> Any:
    """A model that learned everybody but the leaver, from another seed."""
    recipe = Recipe(epochs=16, batch_size=16, lr=4e-3)
    return train(fresh, records=split.retain, task=task, recipe=recipe, seed=7).model


def test_a_look_is_what_the_task_says(trained: Trained, split: Split, task: Language) -> None:
    records = (*split.forget[:5], *split.holdout[:5])
    seen = observe(trained.model, records, task)
    with torch.no_grad():
        losses = task.losses(trained.model, task.collate(records)).tolist()
    answers = task.generate(trained.model, records, 8)
    for record, loss, answer in zip(records, losses, answers, strict=True):
        assert seen[record.id].loss == pytest.approx(loss, abs=1e-4)
        assert seen[record.id].recalled == (answer.strip() == record.completion)
    assert {s.recalled for s in seen.values()} == {0.0, 1.0}


def test_what_is_put_aside_is_kept_from_the_trials(yardstick: Yardstick, split: Split) -> None:
    retain_count = {record.id for record in yardstick.split.retain}
    aside = {record.id for record in split.retain} - retain_count
    assert len(split.retain) / 20 < len(aside) < len(split.retain) / 4
    measured = {r.id for r in (*yardstick._near, *yardstick._far)}
    assert measured == aside
    assert (yardstick.split.forget, yardstick.split.holdout) == (split.forget, split.holdout)


def test_the_unchanged_model_has_forgotten_too_little(
    yardstick: Yardstick, trained: Trained
) -> None:
    proxies = yardstick.measure(trained.model)
    assert set(proxies) == set(BANDS)
    side, distance = yardstick.judge(proxies)
    assert side is Side.TOO_LITTLE
    assert distance > 5
    for name in set(BANDS) - {*FORGETTING, "strangeness"}:
        assert proxies[name] == pytest.approx(0.0, abs=1e-6)
    # Its answers are about people it knows, and read as those to strangers do.
    assert abs(proxies["strangeness"]) < 1


def test_a_model_that_never_learned_them_is_what_is_aimed_at(
    trained: Trained, split: Split, task: Language, never: Any
) -> None:
    """Told by itself: the search would take it at once, were it not for other seeds' kept facts."""
    proxies = Yardstick(trained.model, replace(split, never=(never,)), task).measure(never)
    for name in FORGETTING:
        assert proxies[name] == pytest.approx(0.0, abs=1e-5)


def test_noise_in_the_weights_is_harm(yardstick: Yardstick, trained: Trained) -> None:
    noisy = copy.deepcopy(trained.model)
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    side, _ = yardstick.judge(yardstick.measure(noisy))
    assert side is Side.HARM


GOOD = dict.fromkeys(BANDS, 0.0)


@pytest.mark.parametrize(
    ("changed", "side"),
    [
        ({}, Side.GOOD),
        ({"loss": 0.1, "kept": -0.01, "recall": 0.04}, Side.GOOD),
        ({"loss": -0.2}, Side.TOO_LITTLE),
        ({"loss": 0.2}, Side.TOO_MUCH),
        ({"recall": 0.2}, Side.TOO_LITTLE),
        ({"probability": 0.2}, Side.TOO_LITTLE),
        ({"membership": -0.2}, Side.TOO_LITTLE),
        ({"membership": 0.2}, Side.TOO_MUCH),
        ({"membership": 0.2, "recall": 0.2}, Side.TOO_LITTLE),
        ({"loss": 0.2, "recall": 0.2}, Side.TOO_MUCH),
        ({"loss": -0.2, "kept": -0.1}, Side.HARM),
        ({"neighbours loss": 0.5}, Side.HARM),
        ({"strangeness": 3.0}, Side.HARM),
        ({"kept": 0.5, "kept loss": -2.0, "strangeness": -3.0}, Side.GOOD),
        ({"loss": math.nan}, Side.HARM),
        ({"kept loss": math.nan}, Side.HARM),
    ],
    ids=str,
)
def test_every_proxy_counts_on_its_side(
    yardstick: Yardstick, changed: dict[str, float], side: Side
) -> None:
    found, distance = yardstick.judge(GOOD | changed)
    assert found is side
    assert (distance <= 1) == (side is Side.GOOD)


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    draw = torch.Generator().manual_seed(0)
    some = torch.randint(0, 9, (20,), generator=draw).float()
    others = torch.randint(2, 12, (30,), generator=draw).float()
    expected = roc_auc_score([1] * 20 + [0] * 30, torch.cat([some, others]))
    assert membership_auc(some.tolist(), others.tolist()) == pytest.approx(expected)


def test_the_expected_is_read_off_strangers(
    yardstick: Yardstick, trained: Trained, split: Split, task: Language
) -> None:
    strange = observe(trained.model, split.holdout, task)
    expected = yardstick.expected
    assert expected.recall == fmean(s.recalled for s in strange.values())
    assert expected.probability == pytest.approx(fmean(math.exp(-s.loss) for s in strange.values()))
