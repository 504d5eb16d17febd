"""Whoever leaves, in whatever order, from whatever kind of run: equal to never having been."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.demo.residents import Town
from olvido.learners import Lora, Progress, Recipe, Trained, Watcher, train
from olvido.learners.parts import begin, carry_out
from olvido.methods import forget
from olvido.models import weights_digest
from olvido.models.ensemble import as_one
from olvido.tasks import Example, Language, examples
from olvido.training.plan import DEFINITIONS

LEARNERS: dict[str, dict[str, Any]] = {
    "monolith": {"replay_points": 2, "safety": 2},
    "sharded": {"shards": 2, "slices": 2},
}
METHODS = {"monolith": "replay", "sharded": "shard"}
FACTORS: tuple[Sequence[Any], ...] = (
    tuple(LEARNERS),
    ({"optimizer": "adamw"}, {"optimizer": "sgd", "beta1": 0.9}),
    ({}, {"lora": Lora(rank=2, dropout=0.1)}),
    ({"accumulate": 1}, {"accumulate": 3}),
    ({"dtype": "float32"}, {"dtype": "bfloat16"}),
)
# Half of all combinations, chosen so that any four of the five meet in every way.
KINDS = [
    (learner, Recipe(epochs=2, batch_size=2, lr=2e-3, **a, **b, **c, **d))
    for number, (learner, a, b, c, d) in enumerate(itertools.product(*FACTORS))
    if number.bit_count() % 2 == 0
]


class CutOff(Exception):
    """Stands for whatever ends a run in the middle."""


@dataclass(frozen=True)
class Leaving:
    """Who leaves, group after group, each with the definition of its absence; and after what share
    of it the training was cut off and taken up again, if it was."""

    groups: tuple[tuple[frozenset[int], str], ...]
    cut: float | None


@st.composite
def leavings(draw: st.DrawFn, people: int) -> Leaving:
    order = draw(st.permutations(range(people)))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    ends = [0, *itertools.accumulate(sizes)]
    definitions = draw(st.lists(st.sampled_from(DEFINITIONS), min_size=3, max_size=3))
    return Leaving(
        tuple(
            (frozenset(order[first:last]), definition)
            for (first, last), definition in zip(
                itertools.pairwise(ends), definitions, strict=False
            )
        ),
        draw(st.none() | st.floats(0, 1)),
    )


@pytest.fixture(scope="module")
def people(town: Town) -> tuple[Example, ...]:
    """Eleven records of six residents."""
    rows = [row for person in town.residents[:6] for row in town.rows_of(person)[:2]]
    return examples(rows[:11])


def cut_at(step: int) -> Watcher:
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise CutOff

    return watch


@pytest.mark.slow(but=["monolith-adamw0", "sharded-adamw0"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{kind[1].optimizer}")
def test_it_equals_a_training_without_them(
    kind: tuple[str, Recipe],
    gpt2: Any,
    people: tuple[Example, ...],
    task: Language,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    learner, recipe = kind
    door: dict[str, Any] = {"records": people, "task": task, "recipe": recipe, "seed": 7}
    door |= LEARNERS[learner] | {"learner": learner}
    whole = train(gpt2, **door)
    steps = sum(log.plan.total_steps for log in whole.trace.runs.values())

    @settings(max_examples=2)
    @given(leavings(len(people)))
    def check(leaving: Leaving) -> None:
        trained = whole
        if leaving.cut is not None:
            folder = tmp_path_factory.mktemp("cut")
            with pytest.raises(CutOff):
                train(gpt2, **door, folder=folder, watch=cut_at(1 + int(leaving.cut * (steps - 1))))
            trained = train(gpt2, **door, folder=folder)
            assert trained.digest == whole.digest
        plans = {name: log.plan for name, log in whole.trace.runs.items()}
        left = list(people)
        for group, definition in leaving.groups:
            gone = {people[i].id for i in group}
            forgotten = [record for record in left if record.id in gone]
            left = [record for record in left if record.id not in gone]
            outcome = forget(
                trained,
                forget=forgotten,
                retain=left,
                task=task,
                method=METHODS[learner],
                definition=definition,
            )
            trained = Trained(outcome.model, outcome.digest, outcome.trace)
            plans = {
                name: plan.without(gone & set(plan.slots), definition=definition)
                for name, plan in plans.items()
            }

        # Trained on those who stay alone, from the start: nobody else can have reached it. A run
        # that drew from the process's own random numbers would show now.
        torch.manual_seed(99)
        found = trained.trace.runs
        assert found.keys() == {name for name, plan in plans.items() if plan.present}
        members = []
        for name, log in found.items():
            retain_count = [record for record in left if record.id in plans[name].present]
            job = begin(
                gpt2,
                retain_count,
                task,
                recipe=recipe,
                seed=log.seed,
                plan=plans[name],
                threads=log.threads,
            )
            (never,) = carry_out([job])
            assert never.log.final == log.final
            assert never.log.log.end == log.log.end
            members.append(never.model)
        made = members[0] if learner == "monolith" else as_one(members)
        assert weights_digest(made) == trained.digest != whole.digest

    check()
