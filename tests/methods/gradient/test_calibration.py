"""Where never learned lies is read off records that never were."""

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch

from olvido.learners import Trained
from olvido.methods import Split
from olvido.methods.gradient.calibration import SHORTFALL, reached, targets
from olvido.tasks import Example, Language
from olvido.tasks.scoring import frozen


@torch.no_grad()
def loss(model: Any, task: Language, record: Example) -> float:
    return float(task.losses(model, task.collate([record])))


def test_a_target_is_the_mean_of_its_topic(trained: Trained, split: Split, task: Language) -> None:
    found = targets(trained.model, split, task, 7)
    assert set(found) == {record.id for record in split.forget}
    for record in split.forget:
        alike = [r for r in split.holdout if r.fields["topic"] == record.fields["topic"]]
        assert len(alike) == 18
        expected = fmean(loss(trained.model, task, r) for r in alike)
        assert found[record.id] == pytest.approx(expected, abs=1e-4)
    assert len(set(found.values())) == 5


def test_a_topic_that_no_holdout_record_has_takes_the_mean_of_all(
    trained: Trained, split: Split, task: Language
) -> None:
    jobs = tuple(r for r in split.holdout if r.fields["topic"] in ("job", "phone"))
    found = targets(trained.model, Split(split.forget, (), jobs), task, 32)
    overall = fmean(loss(trained.model, task, r) for r in jobs)
    for record in split.forget:
        if record.fields["topic"] not in ("job", "phone"):
            assert found[record.id] == pytest.approx(overall, abs=1e-4)
        else:
            assert found[record.id] != pytest.approx(overall, abs=1e-4)


def test_what_is_asked_of_the_model_as_it_was(
    trained: Trained, split: Split, task: Language
) -> None:
    found = frozen(trained.model, split.forget, task, 4)
    assert set(found) == {record.id for record in split.forget}
    for record in split.forget:
        log_p, count = found[record.id]
        assert count == len(task.encode(record)[1])
        assert -log_p / count == pytest.approx(loss(trained.model, task, record), abs=1e-5)


@pytest.mark.parametrize(
    ("losses", "goals", "expected"),
    [
        ({"a": 2.0, "b": 4.0}, {"a": 2.0, "b": 4.0}, True),
        ({"a": 2.0}, {"a": 2.0, "b": 4.0}, False),
        ({"a": 9.0, "b": 0.0}, {"a": 2.0, "b": 4.0}, False),
        ({"a": 2.0, "b": 4.0 - 5.9 * SHORTFALL}, {"a": 2.0, "b": 4.0}, True),
        ({"a": 2.0, "b": 4.0 - 6.1 * SHORTFALL}, {"a": 2.0, "b": 4.0}, False),
        ({"a": 9.0}, {"a": math.inf}, False),
        ({"a": 9.0, "b": 9.0}, {"a": math.inf, "b": 1.0}, False),
        ({"a": math.nan}, {"a": 1.0}, False),
    ],
)
def test_arrived_when_every_record_was_seen_and_little_is_short(
    losses: dict[str, float], goals: dict[str, float], expected: bool
) -> None:
    assert reached(losses, goals) is expected


@pytest.fixture
def topicless() -> Callable[[Example], Example]:
    return lambda record: Example(record.id, record.prompt, record.completion)


def test_records_without_a_topic_are_of_one_kind(
    trained: Trained, split: Split, task: Language, topicless: Callable[[Example], Example]
) -> None:
    plain = Split(tuple(map(topicless, split.forget)), (), tuple(map(topicless, split.holdout)))
    found = targets(trained.model, plain, task, 32)
    overall = fmean(loss(trained.model, task, record) for record in split.holdout)
    assert list(found.values()) == pytest.approx([overall] * len(found), abs=1e-4)
