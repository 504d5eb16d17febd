"""Digests of records that are read when asked for are those of the same records in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from olvido.learners import train
from olvido.methods import forget
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples
from olvido.training.contents import digests_of
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
