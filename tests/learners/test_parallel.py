"""Runs side by side give the bits that they give one after the other, whoever runs them."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import pytest

from olvido.demo.residents import Town
from olvido.errors import InputError, UnknownName
from olvido.learners import Progress, Recipe, Trained, train
from olvido.methods import forget
from olvido.processes import side_by_side
from olvido.tasks import Example, Language, examples
from olvido.training.traces.base import Placement

Records = tuple[Example, ...]
Taught = Callable[..., Trained]


@pytest.fixture(scope="module")
def people(town: Town) -> Records:
    """Four records of each of four residents."""
    return examples(row for r in town.residents[:4] for row in town.rows_of(r)[:4])


@pytest.fixture(scope="module")
def taught(gpt2: Any, people: Records, task: Language) -> Taught:
    """Two shards of a model with dropout: every run draws random numbers."""
    recipe = Recipe(epochs=2, batch_size=4, lr=2e-3)
    given = {"records": people, "task": task, "recipe": recipe, "learner": "sharded", "shards": 2}
    return partial(train, gpt2, **given)


@pytest.fixture(scope="module")
def alone(taught: Taught) -> Trained:
    return taught(workers=1)


def same(found: Trained, alone: Trained) -> bool:
    assert isinstance(found.trace, Placement)
    assert isinstance(alone.trace, Placement)
    ends = [[part.log.final for part in trained.trace.parts] for trained in (found, alone)]  # type: ignore[union-attr]
    return found.digest == alone.digest and ends[0] == ends[1]


def test_two_processes_give_the_same_bits_as_one(
    taught: Taught, alone: Trained, people: Records, task: Language
) -> None:
    seen: list[Progress] = []
    found = taught(workers=2, watch=seen.append)
    assert same(found, alone)
    # Whole runs are told of, counted on.
    assert [(progress.step, progress.total) for progress in seen] == [(4, 8), (8, 8)]
    leave, kept = people[::5], [r for n, r in enumerate(people) if n % 5]
    one, two = (
        forget(found, forget=leave, retain=kept, task=task, method="retrain", workers=workers)
        for workers in (1, 2)
    )
    assert one.digest == two.digest != found.digest


def test_threads_take_turns_and_give_the_same_bits(taught: Taught, alone: Trained) -> None:
    with joblib.parallel_config(backend="threading"):
        assert same(taught(workers=2), alone)


def test_dask_gives_the_same_bits(taught: Taught, alone: Trained, tmp_path: Path) -> None:
    from distributed import Client

    client = Client(
        processes=False,
        n_workers=1,
        threads_per_worker=2,
        local_directory=tmp_path,
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
    )
    with client, joblib.parallel_config(backend="dask"):
        assert same(taught(workers=2), alone)


def test_results_come_in_their_order() -> None:
    assert list(side_by_side([partial(pow, n, 2) for n in range(5)], workers=2)) == [
        *(0, 1, 4, 9, 16)
    ]
    places = list(side_by_side([os.getpid] * 2, workers=2))
    assert os.getpid() not in places
    assert list(side_by_side([os.getpid] * 2, workers=1)) == [os.getpid()] * 2
    # One alone needs no other process.
    assert list(side_by_side([os.getpid], workers=2)) == [os.getpid()]


def fails(error: Exception) -> None:
    raise error


@pytest.mark.slow(but=["1"])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_goes_wrong_elsewhere_is_raised_here(workers: int) -> None:
    # `tests/test_errors.py` sends one error of every kind; this one is made of three things.
    error = UnknownName("method", "ngo", ["npo"])
    jobs = [partial(fails, error), partial(pow, 2, 2)]
    with pytest.raises(UnknownName) as caught:
        list(side_by_side(jobs, workers=workers))
    assert str(caught.value) == str(error)


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        list(side_by_side([], workers=0))
