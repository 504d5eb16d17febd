"""Ranks of one pass tell what generating from every prefix would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from olvido.audits.knowledge.extraction import exact_memorisation, extraction_strength, strength
from olvido.audits.scoring import Score, ScoredModel
from olvido.tasks import Example


@pytest.fixture(scope="module")
def asked(world: Any) -> list[Example]:
    """Known, known to others only, plain text, one word, and nothing anybody was taught."""
    return [
        *world.forget[::6],
        *world.holdout[:3],
        Example("plain", "", "Jordi Esteve lives at Carrer de Mallorca 85"),
        Example("word", "", "nurse"),
        Example("odd", "Who?", "Marta works as a nurse and lives at Carrer de Mallorca 85"),
    ]


@torch.no_grad()
def shortest_prefix(model: Any, given_ids: list[int], answer: list[int]) -> int:
    """How many tokens of the answer must be given: each number tried, decoding greedily alone."""
    for start in range(len(answer)):
        ids = given_ids + answer[:start]
        while len(ids) < len(given_ids) + len(answer):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids == given_ids + answer:
            return start
    return len(answer)


def test_strength_is_what_generating_from_every_prefix_finds(
    world: Any, asked: list[Example]
) -> None:
    found = extraction_strength(ScoredModel(world.before, world.task), asked)
    for record, value in zip(asked, found, strict=True):
        prompt, answer = world.task.encode(record)
        answer = answer[:-1] or answer
        shortest = shortest_prefix(world.before, prompt, answer)
        assert value == pytest.approx(1 - shortest / len(answer)), record.id
    # The oracle has told all, some and nothing apart.
    assert {0.0, 1.0} < set(found)


@torch.no_grad()
def test_memorised_are_the_tokens_that_would_be_said_next(world: Any, asked: list[Example]) -> None:
    found = exact_memorisation(ScoredModel(world.before, world.task), asked)
    for record, value in zip(asked, found, strict=True):
        prompt, answer = world.task.encode(record)
        answer = answer[:-1] or answer
        ids = prompt + answer
        right = [
            int(world.before(torch.tensor([ids[:at]])).logits[0, -1].argmax()) == ids[at]
            for at in range(len(prompt), len(ids))
        ]
        assert value == pytest.approx(np.mean(right)), record.id


@pytest.mark.parametrize(
    ("ranks", "value"),
    [([0, 0, 0, 0], 1), ([1, 0, 0, 0], 3 / 4), ([0, 0, 5, 0], 1 / 4), ([0, 0, 0, 1], 0), ([2], 0)],
)
def test_strength_on_paper(ranks: list[int], value: float) -> None:
    assert strength(ranks) == pytest.approx(value)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_one_more_recalled_token_never_weakens(ranks: list[int], data: st.DataObject) -> None:
    better = list(ranks)
    better[data.draw(st.integers(0, len(ranks) - 1))] = 0
    assert 0 <= strength(ranks) <= strength(better) <= 1
    assert strength(ranks) <= np.mean(np.array(ranks) == 0) + 1e-12


def test_a_class_has_no_end_of_text_to_leave_aside() -> None:
    class OfClasses:
        def scores(self, records: Any) -> list[Score]:
            zero = np.zeros(1, dtype=np.float32)
            return [Score(zero, zero, zero, np.array([rank], dtype=np.int32)) for rank in records]

    scored: Any = OfClasses()
    assert extraction_strength(scored, [0, 3]) == [1, 0]  # type: ignore[list-item]
    assert exact_memorisation(scored, [0, 3]) == [1, 0]  # type: ignore[list-item]
