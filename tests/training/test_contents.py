"""Digests and widths of records that are read when asked for are those of the same in memory."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from olvido.errors import InputError
from olvido.learners import Trained, train
from olvido.learners.monolith import Monolith
from olvido.learners.parts import make_plan
from olvido.methods import forget
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples
from olvido.training import plan
from olvido.training.contents import Widths, digests_of, widths_of
from olvido.training.loop import Progress, Watcher
from olvido.training.recipe import Recipe
from olvido.training.records import Records
from olvido.training.traces.steps import StepLog

ROWS = [
    {"id": f"r{i}", "prompt": f"Where does number {i} live?", "completion": "Here. " * (i % 5 + 1)}
    for i in range(40)
]


class Rows:
    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows, self.ids = rows, [row["id"] for row in rows]

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self._rows[place]


@pytest.fixture
def task() -> Language:
    return Language(tiny_tokenizer())


@pytest.mark.parametrize("every", [False, True])
def test_they_are_the_same(task: Language, every: bool) -> None:
    held = digests_of(examples(ROWS), task)
    read = digests_of(Records.of(Rows(ROWS)), task, every=every)
    assert read["r7"] == held["r7"]
    assert dict(read) == held
    assert len(set(held.values())) == len(ROWS)
    with pytest.raises(KeyError):
        read["nobody"]


@pytest.mark.slow(but=["monolith"])
@pytest.mark.parametrize("learner", ["monolith", "sharded"])
def test_training_and_forgetting_give_the_same_bits(task: Language, learner: str) -> None:
    model = tiny_model(len(task.tokenizer), seed=0, width=32, layers=1)
    recipe = Recipe(epochs=2, batch_size=4, lr=1e-3)
    found = []
    for records in (examples(ROWS), Records.of(Rows(ROWS))):
        options = {"shards": 2} if learner == "sharded" else {}
        trained = train(
            model, records=records, task=task, recipe=recipe, learner=learner, **options
        )
        gone: list[Example] = [records[3], records[20]]
        retain = [r for r in records if r not in gone]
        if isinstance(records, Records):
            retain = records.where(lambda name: name not in {"r3", "r20"})  # type: ignore[assignment]
        without = forget(
            trained,
            forget=gone,
            retain=retain,
            task=task,
            method="retrain" if learner == "monolith" else "shard",
        )
        ends = [log.log.end for log in trained.trace.runs.values()]
        layouts = [log.plan.layout for log in trained.trace.runs.values()]
        after = [log.log.end for log in without.trace.runs.values()]
        assert all(isinstance(log, StepLog) for log in trained.trace.runs.values())
        found.append((trained.digest, ends, layouts, without.digest, after))
    assert found[0] == found[1]
    assert found[0][0] != found[0][3]


def test_widths_are_those_of_records_in_memory(task: Language) -> None:
    held = widths_of(examples(ROWS), task)
    read = Records(*((Rows(ROWS[at::2]), range(len(ROWS[at::2]))) for at in (0, 1)))
    order = [*range(0, len(ROWS), 2), *range(1, len(ROWS), 2)]
    kept = weakref.ref(read)
    found = widths_of(read, task)
    del read
    assert isinstance(found, Widths)
    assert found[-1] == held[-1]
    found.ask([21, 3, 3, 20])
    assert (found[3], found[20], found[21]) == tuple(held[order[at]] for at in (3, 20, 21))
    assert kept() is not None
    assert list(found) == [held[at] for at in order]
    assert kept() is None
    assert pickle.loads(pickle.dumps(found)) == tuple(found) == found


class Measured(Language):
    """Counts the records whose tokens it was asked to count."""

    def __init__(self) -> None:
        super().__init__(tiny_tokenizer())
        self.asked: list[str] = []

    def widths(self, examples: Sequence[Example]) -> list[int]:
        self.asked += [one.id for one in examples]
        return [len(one.completion) for one in examples]


def test_the_first_step_needs_the_widths_of_few_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TOGETHER", 1)
    rows = [
        {"id": f"r{i}", "prompt": "Who?", "completion": "x" * (1 + i % 37)} for i in range(4_000)
    ]
    task, recipe = Measured(), Recipe(epochs=2, batch_size=2)
    planned = make_plan(Records.of(Rows(rows)), task, recipe, 0)
    steps = planned.steps()
    first = next(steps)
    # A window of 32 records for each record that is tried until one begins a batch.
    assert 0 < len(task.asked) < 1_000
    held = make_plan(examples(rows), Measured(), recipe, 0)
    assert [first, *steps] == list(held.steps())
    # Each record once, whatever the number of epochs, and none again for the digest.
    assert sorted(task.asked) == sorted(row["id"] for row in rows)
    assert (planned.layout, planned) == (held.layout, held)
    assert len(task.asked) == len(rows)


def test_nothing_is_written_before_every_record_was_measured(
    task: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "TOGETHER", 1)
    many = [{**ROWS[i % 40], "id": f"r{i}"} for i in range(400)]
    rows = [*many, {"id": "long", "prompt": "Who?", "completion": "Ana. " * 200}]
    model = tiny_model(len(task.tokenizer), seed=0, width=32, layers=1)
    short = Language(task.tokenizer, max_tokens=100)
    done: list[int] = []
    learner = Monolith(safety=2)
    with pytest.raises(InputError, match="'long' has"):
        train(
            model,
            records=Records.of(Rows(rows)),
            task=short,
            recipe=Recipe(epochs=2, batch_size=1),
            seed=1,
            learner=learner,
            folder=tmp_path,
            watch=lambda progress: done.append(progress.step),
        )
    # The first two steps do not need it, and what would be written after them does.
    assert done == [1, 2]
    assert list(tmp_path.iterdir()) == []


class Stopped(Exception):
    pass


def test_an_interrupted_training_goes_on_with_the_same_bits(task: Language, tmp_path: Path) -> None:
    model = tiny_model(len(task.tokenizer), seed=0, width=32, layers=1)

    def trained(folder: Path | None, watch: Watcher | None = None) -> Trained:
        return train(
            model,
            records=Records.of(Rows(ROWS)),
            task=task,
            recipe=Recipe(epochs=2, batch_size=4),
            learner=Monolith(safety=3),
            folder=folder,
            watch=watch,
        )

    def stop(progress: Progress) -> None:
        if progress.step == 5:
            raise Stopped

    with pytest.raises(Stopped):
        trained(tmp_path, stop)
    steps: list[int] = []
    resumed, whole = trained(tmp_path, lambda one: steps.append(one.step)), trained(None)
    assert steps[0] == 4
    assert resumed.digest == whole.digest
    ends = [one.trace.runs["run"].log.end for one in (resumed, whole)]
    assert ends[0] == ends[1]
