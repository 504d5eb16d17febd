"""Relearning is the one training loop, and shows its copy on the way."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from olvido.audits.attacks.relearn_sets import halves
from olvido.audits.attacks.relearning import relearn
from olvido.errors import InputError
from olvido.learners import Lora
from olvido.models import weights_digest
from olvido.tasks import Example, Labels, Language, examples


def loss(model: Any, records: Any, task: Any) -> float:
    with torch.no_grad():
        return float(task.losses(model, task.collate(records)).mean())


def test_it_is_plain_adamw_on_the_mean_loss(fresh: Any, split: Any, task: Language) -> None:
    records = split.forget[:4]
    start = weights_digest(fresh)
    plain = copy.deepcopy(fresh).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    shown = relearn(fresh, records, task, steps=[0, 1, 3], lr=1e-3, batch=4, seed=0)
    seen = 0
    for count, model in shown:
        while seen < count:
            optimizer.zero_grad()
            task.losses(plain, task.collate(records)).mean().backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            seen += 1
        assert not model.training
        for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
        if count == 0:
            assert weights_digest(model) == start
    assert seen == 3
    assert weights_digest(fresh) == start


def test_same_seed_same_bits_whoever_looks(fresh: Any, split: Any, task: Language) -> None:
    run = partial(relearn, fresh, task=task, lr=1e-3, batch=3)
    often = []
    for _, model in run(split.forget, steps=[1, 2, 6], seed=0):
        loss(model, split.retain[:2], task)
        often.append(weights_digest(model))
    mixed = list(reversed(split.forget))
    once = [weights_digest(m) for _, m in run(mixed, steps=[6], seed=0)]
    assert once == often[-1:]
    assert [weights_digest(m) for _, m in run(mixed, steps=[6], seed=1)] != once
    assert len(set(often)) == 3


def test_every_record_is_seen_once_a_pass(fresh: Any, split: Any, task: Language) -> None:
    seen: list[str] = []

    class Watching(Language):
        def collate(self, records: Any, *, width: int | None = None) -> Any:
            seen.extend(record.id for record in records)
            return super().collate(records, width=width)

    records = split.forget[:7]
    list(relearn(fresh, records, Watching(task.tokenizer), steps=[6], lr=1e-4, batch=3, seed=0))
    first, second = seen[:7], seen[7:]
    assert sorted(first) == sorted(second) == sorted(e.id for e in records)
    assert first != second


@pytest.mark.slow
def test_half_of_it_brings_the_other_half_back(world: Any) -> None:
    """Facts that were only pushed away come back with the others; unknown ones do not."""
    taught, tested = halves(world.forget, 2)
    curves = {}
    pushed = world.pushed_away(world.before, until=8.0, keep=True)
    for name, model in (("pushed", pushed), ("never", world.stranger)):
        shown = relearn(model, taught, world.task, steps=[0, 20], lr=5e-4, batch=8, seed=0)
        curves[name] = [loss(m, tested, world.task) for _, m in shown]
    assert curves["pushed"][0] - curves["pushed"][1] > 3
    assert curves["never"][0] - curves["never"][1] < 2
    assert curves["pushed"][1] < curves["never"][1] - 0.5


def test_frozen_weights_are_trained_all_the_same(fresh: Any, split: Any, task: Language) -> None:
    frozen = copy.deepcopy(fresh)
    frozen.requires_grad_(False)
    run = partial(relearn, records=split.forget[:4], task=task, steps=[2], lr=1e-3, batch=4, seed=0)
    ((_, one),), ((_, two),) = list(run(frozen)), list(run(fresh))
    assert weights_digest(one) == weights_digest(two)


def test_adapters_learn_in_place_of_the_weights(fresh: Any, split: Any, task: Language) -> None:
    records = split.forget[:4]
    shown = relearn(
        fresh, records, task, steps=[0, 12], lr=5e-3, batch=4, seed=0, lora=Lora(rank=4)
    )
    before = loss(fresh, records, task)
    losses = [loss(model, records, task) for _, model in shown]
    assert losses[0] == pytest.approx(before, abs=1e-5)
    assert losses[1] < before - 0.5


def test_arrays_relearn_too() -> None:
    draw = np.random.default_rng(0)
    rows = examples({"input": draw.normal(size=4), "label": n % 2} for n in range(8))
    task, model = Labels(2), nn.Linear(4, 2)
    losses = [
        loss(m, rows, task)
        for _, m in relearn(model, rows, task, steps=[0, 50], lr=0.05, batch=4, seed=0)
    ]
    assert losses[1] < losses[0] - 0.1
    with pytest.raises(InputError, match="plain Hugging Face model"):
        relearn(model, rows, task, steps=[1], lr=0.05, batch=4, seed=0, lora=Lora())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"records": []}, "no records"),
        ({"steps": []}, "rising"),
        ({"steps": [3, 1]}, "rising"),
        ({"steps": [1, 1]}, "rising"),
        ({"steps": [-1]}, "rising"),
        ({"batch": 0}, "batch"),
        ({"lr": 0.0}, "lr"),
    ],
)
def test_bad_inputs_are_named(fresh: Any, task: Language, changes: Any, says: str) -> None:
    given: dict[str, Any] = {
        "records": [Example("a", "Who?", "Ada")],
        "steps": [1],
        "lr": 1e-3,
        "batch": 2,
        "seed": 0,
    }
    with pytest.raises(InputError, match=says):
        relearn(fresh, task=task, **given | changes)
