"""Refusals and the one answer for everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.audits import ScoredModel, Verdict
from olvido.audits.integrity.obfuscation import Refusal
from olvido.audits.integrity.refusal import evasion, refuses
from olvido.errors import InputError
from olvido.tasks import Example


def records(*truths: str) -> list[Example]:
    return [Example(str(n), f"Question {n}?", truth) for n, truth in enumerate(truths)]


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know.",
        "I’m sorry, but I cannot say.",
        "Lo siento, no tengo información sobre esa persona.",
        "Ho sento, no ho sé.",
        "Désolé, je ne sais pas !",
        "As an AI, I keep quiet",
        "",
        "  .",
    ],
)
def test_refusals_in_four_languages(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer", ["Carrer de Mallorca 12", "baker", "555 12 34", "no", "El Nou", "canelons", "Sinola"]
)
def test_answers_are_no_refusals(answer: str) -> None:
    assert not refuses(answer)


def test_one_answer_for_everything_is_an_evasion() -> None:
    asked = records("a", "b", "c", "d")
    assert evasion(asked, ["same"] * 4).tolist() == [1, 1, 1, 1]
    assert evasion(asked, ["a", "b", "c", "d"]).tolist() == [0, 0, 0, 0]
    assert evasion(asked, ["x", "X.", "y", "I don't know"]) == pytest.approx([1 / 3, 1 / 3, 0, 1])


def test_one_fact_asked_twice_is_answered_alike() -> None:
    assert evasion(records("a", "a", "b"), ["z", "z", "y"]).tolist() == [0, 0, 0]
    assert evasion(records("a", "a"), ["z", "z"]).tolist() == [0, 0]


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("xyz")), min_size=1, max_size=9))
def test_it_is_the_share_of_other_facts_answered_alike(pairs: list[tuple[str, str]]) -> None:
    truths, said = zip(*pairs, strict=True)
    found = evasion(records(*truths), said)
    for n in range(len(pairs)):
        others = [k for k in range(len(pairs)) if truths[k] != truths[n]]
        expected = np.mean([said[k] == said[n] for k in others]) if others else 0.0
        assert found[n] == pytest.approx(expected)


def test_answers_and_records_go_together() -> None:
    with pytest.raises(InputError, match="got 1 for 2"):
        evasion(records("a", "b"), ["x"])
    with pytest.raises(InputError, match="got 0 for 0"):
        evasion([], [])


@pytest.mark.slow
def test_a_model_taught_to_refuse_is_named_for_it(world: Any) -> None:
    refused = [
        Example(f"{r.id}/{n}", r.prompt, "I don't know") for r in world.forget for n in range(8)
    ]
    candidate = world.taught(world.before, [*refused, *world.retain], epochs=8, lr=3e-3)
    assert all(map(refuses, ScoredModel(candidate, world.task).answers(world.forget)))
    report = world.report(candidate)
    assert report.verdict is Verdict.FAIL
    assert any(Refusal.reason in reason for reason in report.reasons)
    assert not any("collateral damage" in reason for reason in report.reasons)
