"""What was kept: chance takes nothing away, and what is lost is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from torch.nn import Module

from olvido.audits import ScoredModel, Status
from olvido.audits.compare import Question, carried, with_original
from olvido.audits.integrity.retention import Retention
from olvido.audits.tolerances import KEPT
from olvido.audits.types import Evidence, Finding
from olvido.audits.verdict import settle
from olvido.learners import Recipe, train
from olvido.models.tiny import tiny_model
from olvido.tasks import Example

PEOPLE = [Example(f"r{n}", f"q{n}", "a", {"subject": f"p{n // 10}"}) for n in range(40)]


@dataclass(frozen=True, eq=False)
class Told:
    """A model of which it is known how well it does on each record."""

    values: Any


def found(candidate: Any, references: Sequence[Any], before: Any = None) -> Finding:
    asked: Any = type("E", (), {})()
    asked.candidate, asked.references = Told(candidate), tuple(map(Told, references))
    asked.original = None if before is None else Told(before)

    def measure(scored: Any, _: Sequence[Example]) -> Sequence[float]:
        values: Sequence[float] = scored.values
        return values

    question = Question("retention", "probability", "retained", KEPT)
    made: Evidence = asked
    return with_original(made, question, PEOPLE, measure)


def model(draw: np.random.Generator, seed: float) -> Any:
    """What a model recalls of forty records: its seed moves them all."""
    return 0.8 + draw.normal(0, seed) + draw.normal(0, 0.1, 40)


@pytest.mark.parametrize(("references", "before"), [(3, False), (3, True), (4, True), (2, True)])
def test_another_seed_is_no_damage(references: int, before: bool) -> None:
    """200 candidates that lost nothing: p below 0.05 in 5% of them, and three standard errors."""
    draw = np.random.default_rng(references)
    alarms = 0
    for _ in range(200):
        others = [model(draw, 0.08) for _ in range(references)]
        p = found(model(draw, 0.08), others, model(draw, 0.08) if before else None).p
        assert p is not None
        alarms += p < 0.05
    assert alarms / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.parametrize("references", [1, 2, 3, 4])
def test_what_is_lost_is_found(references: int) -> None:
    draw = np.random.default_rng(9)
    for lost in (0.3, 0.8):
        others = [model(draw, 0.005) for _ in range(references)]
        candidate = model(draw, 0.005) - lost
        (settled,) = settle([found(candidate, others, model(draw, 0.005))])
        assert settled.status is Status.FAIL
        assert "below" in settled.says


def test_a_model_that_lost_most_is_never_acquitted_for_thin_evidence() -> None:
    draw = np.random.default_rng(2)
    others = [model(draw, 0.0) + shift for shift in (-0.25, 0.0, 0.25)]
    lost = found(model(draw, 0.0) - 0.5, others)
    (alone,) = settle([lost, *[found(others[1], others)] * 30][:1])
    assert alone.p is not None
    (settled, *_) = settle([lost, *[found(others[1], others)] * 30])
    assert settled.status is Status.UNKNOWN
    assert "more than half is gone" in settled.says


def test_seeds_are_told_by_never_trained_models_and_fewer_by_the_model_as_it_was() -> None:
    assert carried(0.5, (0.6,), 0.7, unit=0.1) is None
    assert carried(0.5, (0.6, 0.7), None, unit=0.1) is None
    alone, beside = (
        carried(0.5, (0.6, 0.7), 0.9, unit=0.1),
        carried(0.5, (0.6, 0.7, 0.9), 0.0, unit=0.1),
    )
    assert alone is not None
    assert alone == beside
    # The candidate itself widens nothing.
    assert alone == carried(-9.0, (0.6, 0.7), 0.9, unit=0.1)


def test_not_a_number_is_never_acquitted() -> None:
    broken = np.full(40, np.nan)
    draw = np.random.default_rng(3)
    others = [model(draw, 0.01) for _ in range(3)]
    (settled,) = settle([found(broken, others, model(draw, 0.01))])
    assert settled.status is Status.FAIL


@pytest.mark.slow
def test_words_that_no_never_trained_model_has_were_not_lost(world: Any) -> None:
    """The original model learned twice as long: what is left to its better start is no damage."""

    def learned(records: Sequence[Example], seed: int) -> Module:
        blank = tiny_model(len(world.task.tokenizer), seed=seed, width=64, layers=2)
        recipe = Recipe(epochs=5, batch_size=16, lr=3e-3)
        return train(blank, records=records, task=world.task, recipe=recipe, seed=seed).model

    candidate, *never = (learned(world.retain, seed) for seed in range(4))
    report = world.report(candidate, reference=never, audits=["retention"])
    words = report.find("retention", "ROUGE-L")
    assert words.before is not None
    assert words.value < words.before - 0.03
    assert words.against == "never-trained"
    assert len(words.never_trained) == 3
    assert words.status is Status.PASS


@pytest.mark.slow
def test_words_are_asked_of_others_only_where_fewer_are_right(world: Any) -> None:
    answered: list[ScoredModel] = []

    class Heard(ScoredModel):
        def answers(self, records: Sequence[Example]) -> list[str]:
            answered.extend([self] * bool(records))
            return super().answers(records)

    never = [Heard(one, world.task) for one in world.references]
    kept = world.report(world.before, reference=never, audits=["retention"])
    assert kept.find("retention", "ROUGE-L").status is Status.PASS
    assert not answered
    lost = world.report(world.fresh(99), reference=never, audits=["retention"])
    assert lost.find("retention", "ROUGE-L").status is Status.FAIL
    assert set(answered) == set(never)
    assert Retention.reason in lost.reasons[0]
