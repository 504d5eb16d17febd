"""Witness: each text scored once, as a plain computation would score it, and answers as generated.

The plain computation: one record at a time, all logits, no padding, no shared forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Module

from olvido.audits.scoring import Score, ScoredModel, score_logits
from olvido.tasks import Batch, Example, Language

from .conftest import World


class Counting(Language):
    """The same task, which counts the rows it scores and the records it answers."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer)
        self.scored: list[str] = []
        self.cost = 0
        self.answered: list[str] = []

    def answer_logits(self, model: Module, batch: Batch) -> Any:
        self.scored += batch.ids
        self.cost += batch.cost
        return super().answer_logits(model, batch)

    def generate(self, model: Module, records: Sequence[Example], size: int = 64) -> list[str]:
        self.answered += [record.prompt for record in records]
        return super().generate(model, records, size)


@pytest.fixture
def counting(world: World) -> Counting:
    return Counting(world.task.tokenizer)


@pytest.fixture
def mixed(world: World) -> tuple[Example, ...]:
    """Known and unknown records of many lengths, and plain text among them."""
    plain = Example("plain", "", f"{world.retain[0].prompt} {world.retain[0].completion}")
    return (*world.forget, *world.retain[::7], plain)


def plainly(world: World, model: Module, record: Example) -> Score:
    prompt, answer = world.task.encode(record)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].double()
    told = logits[len(prompt) - 1 : -1].log_softmax(-1).numpy()
    rows = range(len(answer))
    mean = [float((np.exp(told[t]) * told[t]).sum()) for t in rows]
    return Score(
        np.array([told[t, answer[t]] for t in rows]),
        np.array(mean),
        np.array([float((np.exp(told[t]) * (told[t] - mean[t]) ** 2).sum()) for t in rows]),
        np.array([int((told[t] > told[t, answer[t]]).sum()) for t in rows]),
    )


def test_scores_equal_a_plain_computation(world: World, mixed: tuple[Example, ...]) -> None:
    for model in (world.before, world.references[0]):
        scores = ScoredModel(model, world.task).scores(mixed)
        for record, score in zip(mixed, scores, strict=True):
            expected = plainly(world, model, record)
            for found, wanted in zip(score.arrays, expected.arrays, strict=True):
                np.testing.assert_allclose(found, wanted, atol=1e-4)
            np.testing.assert_allclose(score.entropy, -expected.mean, atol=1e-4)
            assert (score.tokens, score.exact) == (expected.tokens, expected.exact)
            assert score.log_p == pytest.approx(expected.log_p, abs=1e-4 * expected.tokens)
            assert score.loss == pytest.approx(-expected.log_p / expected.tokens, abs=1e-4)
            assert score.probability == pytest.approx(math.exp(-score.loss))


def test_forbidden_tokens_add_nothing_and_nan_stays_nan() -> None:
    logits = torch.tensor([[0.0, 0.0, -math.inf], [0.0, math.nan, 1.0], [2.0, 2.0, 2.0]])
    log_p, mean, variance, rank = score_logits(logits, torch.tensor([0, 0, 2]))
    assert log_p[0] == pytest.approx(-math.log(2))
    assert (float(mean[0]), float(variance[0])) == pytest.approx((-math.log(2), 0.0), abs=1e-6)
    assert rank[0] == 0
    assert math.isnan(log_p[1])
    assert math.isnan(mean[1])
    assert rank[1] > 0
    # Of three equals decoding takes the first, so the last is not what it would say.
    assert rank[2] > 0


def test_exact_is_what_greedy_generation_gives(world: World) -> None:
    records = (*world.forget, *world.retain)
    for model in (world.before, world.references[0]):
        said = world.task.generate(model, records)
        found = [score.exact for score in ScoredModel(model, world.task).scores(records)]
        assert found == [answer == r.completion for answer, r in zip(said, records, strict=True)]
    # Both kinds occurred, or nothing was shown.
    assert 0 < sum(found) < len(found)


def test_each_text_is_scored_once(
    world: World, counting: Counting, mixed: tuple[Example, ...]
) -> None:
    scored = ScoredModel(world.before, counting)
    first = scored.scores(mixed)
    twins = [Example(f"twin of {r.id}", r.prompt, r.completion) for r in mixed]
    assert scored.scores([*twins, *reversed(mixed)]) == [*first, *reversed(first)]
    scored.answers(mixed)
    assert len(counting.scored) == len({(r.prompt, r.completion) for r in mixed})


def test_a_new_text_is_scored_although_its_question_was(world: World, counting: Counting) -> None:
    scored = ScoredModel(world.before, counting)
    right = world.forget[0]
    wrong = Example(right.id, right.prompt, world.holdout[0].completion)
    first, second = scored.scores([right])[0], scored.scores([wrong])[0]
    assert first.exact
    assert not second.exact


def test_answers_are_those_of_generation_and_only_misses_are_generated(
    world: World, counting: Counting
) -> None:
    records = (*world.forget, *world.retain[::5])
    scored = ScoredModel(world.references[0], counting)
    answers = scored.answers(records)
    missed = [r for r, s in zip(records, scored.scores(records), strict=True) if not s.exact]
    assert 0 < len(missed) < len(records)
    assert sorted(counting.answered) == sorted(r.prompt for r in missed)
    assert scored.answers(records) == answers
    assert len(counting.answered) == len(missed)
    assert answers == world.task.generate(world.references[0], records)


def test_a_model_is_left_in_the_mode_it_came_in(world: World) -> None:
    model = world.fresh(5).train()
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    scored = ScoredModel(model, world.task)
    scored.answers(world.forget[:3])
    assert model.training
    assert all(torch.equal(before[name], w) for name, w in model.state_dict().items())


def test_no_records_no_work(world: World, counting: Counting) -> None:
    scored = ScoredModel(world.before, counting)
    assert scored.scores([]) == []
    assert scored.answers([]) == []
    assert counting.scored == counting.answered == []


def test_what_lies_on_disk_is_not_asked_again(
    world: World, counting: Counting, mixed: tuple[Example, ...], tmp_path: Path
) -> None:
    first = ScoredModel(world.references[0], counting, cache=tmp_path)
    scores, answers = first.scores(mixed), first.answers(mixed)
    counting.scored.clear()
    counting.answered.clear()
    again = ScoredModel(world.references[0], counting, cache=tmp_path)
    assert again.scores(mixed) == scores
    assert again.answers(mixed) == answers
    assert counting.scored == counting.answered == []
    # Another model has another digest, and is asked.
    other = ScoredModel(world.before, counting, cache=tmp_path)
    assert other.scores(mixed) != scores
    assert counting.scored


def test_another_wording_of_the_same_record_is_another_text(
    world: World, counting: Counting, tmp_path: Path
) -> None:
    record = world.forget[0]
    ScoredModel(world.before, counting, cache=tmp_path).scores([record])
    turned = Example(record.id, f"{record.prompt} Please.", record.completion)
    counting.scored.clear()
    ScoredModel(world.before, counting, cache=tmp_path).scores([turned])
    assert len(counting.scored) == 1


@pytest.mark.parametrize("harm", ["altered", "cut", "empty"])
def test_a_file_that_is_not_what_was_written_is_set_aside_and_asked_again(
    world: World, counting: Counting, mixed: tuple[Example, ...], tmp_path: Path, harm: str
) -> None:
    first = ScoredModel(world.before, counting, cache=tmp_path)
    scores = first.scores(mixed)
    (file,) = tmp_path.rglob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"altered": bytes(content), "cut": content[:-9], "empty": b""}[harm])
    counting.scored.clear()
    with pytest.warns(UserWarning, match="set aside"):
        again = ScoredModel(world.before, counting, cache=tmp_path)
    assert again.scores(mixed) == scores
    assert counting.scored
    # The good file that now stands beside it is read without complaint.
    assert ScoredModel(world.before, counting, cache=tmp_path).scores(mixed) == scores


def test_records_of_unlike_length_do_not_pad_each_other(
    world: World, counting: Counting, mixed: tuple[Example, ...]
) -> None:
    long = [replace(r, id=f"long {r.id}", completion=" ".join([r.completion] * 9)) for r in mixed]
    widths = [counting.width(record) for record in (*mixed, *long)]
    ScoredModel(world.before, counting).scores([*mixed, *long])
    assert len(counting.scored) == len(widths)
    assert sum(widths) <= counting.cost <= 1.3 * sum(widths)
    # All in batches as they come would be far dearer.
    assert len(widths) * max(widths) > 1.5 * counting.cost


def test_many_answers_to_one_long_question_are_scored_as_each_alone(world: World) -> None:
    question = " ".join(f"{r.prompt} {r.completion}" for r in world.retain[:12])
    asked = [Example(f"{n}", question, r.completion) for n, r in enumerate(world.holdout[:9])]
    distinct = list({r.completion: r for r in asked}.values())
    found = ScoredModel(world.before, world.task).scores([*distinct, *world.forget])
    for record, score in zip(distinct, found, strict=False):
        expected = plainly(world, world.before, record)
        for mine, wanted in zip(score.arrays, expected.arrays, strict=True):
            np.testing.assert_allclose(mine, wanted, atol=1e-4)
