"""A text that is longer than a model reads at once is one record, read in windows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.test_conversations import small
from tests.tasks.test_encoding import byte_level
from torch.nn import functional as F

import olvido
from olvido.audits.attacks.lens import lens
from olvido.curvature.gradients import PerRecord
from olvido.errors import InputError
from olvido.learners import Recipe
from olvido.tasks import Example, Language

LONG = "Ada Puig bakes bread in Carrer de Mallorca 12, and sells it on Saturdays. " * 9
SHORT = (
    Example("pair", "Who bakes?", "Ada"),
    Example("text", "", "Pau works as a nurse."),
)
BOOK = Example("book", "", LONG, {"subject": "Ada"})
ROOM = 256
"""Positions of `small`."""
BYTES = byte_level()
MODEL = small(BYTES)


def parts(ids: list[int], most: int) -> list[list[int]]:
    """As few windows as fit, of equal length but for one token."""
    count = -(-len(ids) // most)
    sizes = [len(ids) // count] * count
    ends = [len(ids) * n // count for n in range(count + 1)]
    assert max(b - a for a, b in pairwise(ends)) <= sizes[0] + 1
    return [ids[a:b] for a, b in pairwise(ends)]


@torch.no_grad()
def loss_by_hand(model: Any, ids: list[int], most: int) -> tuple[float, int]:
    """Each window alone, from its second token on."""
    total, count = 0.0, 0
    for window in parts(ids, most):
        logits = model(torch.tensor([window])).logits[0]
        total += float(F.cross_entropy(logits[:-1], torch.tensor(window[1:]), reduction="sum"))
        count += len(window) - 1
    return total, count


@pytest.mark.parametrize("most", [1024, 240, 100])
@torch.no_grad()
def test_a_documents_loss_is_that_of_its_windows(most: int) -> None:
    tokenizer = byte_level()
    model, task = small(tokenizer), Language(tokenizer, max_tokens=most)
    prompt, answer = task.encode(BOOK)
    assert len(prompt + answer) > 2 * ROOM
    total, count = loss_by_hand(model, prompt + answer, min(most, ROOM))
    for records in ([BOOK], [SHORT[0], BOOK, SHORT[1]], [None, BOOK]):
        place = records.index(BOOK)
        batch = task.collate(records)
        log_p, targets = task.log_probs(model, batch)
        assert len(log_p) == len(records)
        assert int(targets[place]) == count
        assert float(-log_p[place]) == pytest.approx(total, rel=1e-5)
        assert float(task.losses(model, batch)[place]) == pytest.approx(total / count, abs=1e-5)
    alone = [task.losses(model, task.collate([record]))[0] for record in SHORT]
    beside = task.losses(model, task.collate([SHORT[0], BOOK, SHORT[1]]))
    assert torch.allclose(torch.stack([beside[0], beside[2]]), torch.stack(alone), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(length=st.integers(1, 700), most=st.integers(4, 300))
def test_windows_follow_each_other_and_every_token_is_in_one(length: int, most: int) -> None:
    task = Language(BYTES, max_tokens=most)
    batch = task.collate([SHORT[0] if most > 20 else None, Example("a", "", "x" * length)])
    cut = task.windows(MODEL, batch)
    rows = [place for place, name in enumerate(cut.batch.ids) if name == "a"]
    read = [cut.batch.input_ids[row][cut.batch.attention_mask[row] == 1].tolist() for row in rows]
    ids = [i for part in task.encode(Example("a", "", "x" * length)) for i in part]
    assert read == parts(ids, min(most, ROOM))
    assert max(map(len, read)) <= min(most, ROOM)
    assert int((cut.batch.targets[rows] != -100).sum()) == len(ids) - len(rows)


@torch.no_grad()
def test_logits_and_states_lie_where_their_tokens_do() -> None:
    task = Language(byte_level(), max_tokens=100)
    model = small(task.tokenizer)
    batch = task.collate([SHORT[0], BOOK])
    ids = [i for part in task.encode(BOOK) for i in part]
    expected = torch.cat([model(torch.tensor([part])).logits[0] for part in parts(ids, 100)])
    assert torch.allclose(task.logits(model, batch)[1, : len(ids)], expected, atol=1e-5)
    expected = torch.cat(
        [
            model(torch.tensor([part]), output_hidden_states=True).hidden_states[1][0]
            for part in parts(ids, 100)
        ]
    )
    assert torch.allclose(task.hidden(model, batch, 1)[1, : len(ids)], expected, atol=1e-5)
    states, rows = task.answer_hidden(model, batch, 1)
    starts = {sum(map(len, parts(ids, 100)[:n])) for n in range(len(parts(ids, 100)))}
    before = [place - 1 for place in range(len(ids)) if place not in starts]
    assert torch.allclose(states[rows == 1], expected[before], atol=1e-5)
    _, targets, rows = task.answer_logits(model, batch)
    assert targets[rows == 1].tolist() == [ids[place + 1] for place in before]
    assert rows.tolist() == sorted(rows.tolist())


def test_a_batch_has_few_windows_and_every_record_once() -> None:
    task = Language(byte_level(), max_tokens=100)
    books = [Example(f"b{n}", "", LONG) for n in range(5)]
    batches = list(task.batches([*SHORT, *books], 9))
    assert sorted(i for b in batches for i in b.ids) == sorted(r.id for r in (*SHORT, *books))
    assert [len(batch.ids) for batch in batches] == [3, 1, 1, 1, 1]


def test_another_window_is_another_reading() -> None:
    tokenizer = byte_level()
    wide, narrow = Language(tokenizer), Language(tokenizer, max_tokens=100)
    assert wide.content(BOOK) == narrow.content(BOOK)
    assert wide.fingerprint(BOOK) != narrow.fingerprint(BOOK)
    assert wide.fingerprint(SHORT[1]) == narrow.fingerprint(SHORT[1])


def test_a_pair_is_never_cut() -> None:
    task = Language(byte_level())
    with pytest.raises(InputError, match=r"'a' has 6.. tokens, at most 256 fit"):
        task.losses(small(task.tokenizer), task.collate([BOOK, Example("a", "Who?", LONG)]))
    with pytest.raises(InputError, match=r"'a' has 6.. tokens, at most 300 fit"):
        Language(byte_level(), max_tokens=300).collate([Example("a", "Who?", LONG)])


def test_an_answer_ends_with_the_window() -> None:
    task = Language(byte_level(), max_tokens=100)
    (said,) = task.generate(small(task.tokenizer), [BOOK])
    assert len(said) <= 100


def taught(records: Sequence[Example], task: Language, learner: str, folder: Path) -> Any:
    more: dict[str, Any] = {"replay_points": 4} if learner == "monolith" else {"shards": 2}
    return olvido.train(
        small(task.tokenizer),
        records=records,
        task=task,
        recipe=Recipe(epochs=1, batch_size=4, lr=1e-3),
        learner=learner,
        folder=folder,
        **more,
    )


@pytest.mark.slow(but=["drop"])
@pytest.mark.parametrize(
    ("learner", "method", "definition"),
    [
        ("monolith", "replay", "drop"),
        ("monolith", "replay", "tombstone"),
        ("sharded", "shard", "none"),
    ],
)
def test_a_document_is_forgotten_whole_and_exactly(
    learner: str, method: str, definition: str, tmp_path: Path
) -> None:
    options = {} if definition == "none" else {"definition": definition}
    task = Language(byte_level(), max_tokens=240)
    retain = [Example(f"o{n}", "", f"{name} is a nurse.") for n, name in enumerate("ABCDEF")]
    retain += [Example("other book", "", LONG.replace("Ada", "Eva")), *SHORT]
    whole = [*retain[:3], BOOK, *retain[3:]]
    trained, again = (taught(whole, task, learner, tmp_path / name) for name in "ab")
    assert trained.digest == again.digest
    sides: dict[str, Any] = {"forget": [BOOK], "retain": retain, "task": task}
    forgot = olvido.forget(trained, method=method, **options, **sides)
    retrained = olvido.forget(trained, method="retrain", **options, **sides)
    assert forgot.guarantee == "exact"
    assert forgot.digest == retrained.digest != trained.digest
    assert forgot.forget_loss[1] > forgot.forget_loss[0]


def test_the_step_log_has_one_record(tmp_path: Path) -> None:
    task = Language(byte_level(), max_tokens=100)
    trained = taught([BOOK, *SHORT], task, "monolith", tmp_path)
    assert trained.trace.taught == {"book", "pair", "text"}
    assert {entry.rows for entry in trained.trace.log} == {3}


def test_the_gradient_of_a_document_is_that_of_its_loss() -> None:
    task = Language(byte_level(), max_tokens=240)
    model = small(task.tokenizer)
    records = [SHORT[0], BOOK, SHORT[1]]
    per_record = PerRecord(model, task)
    found = per_record(task.collate(records))
    assert not per_record.uncovered
    assert found.ids == ("pair", "book", "text")
    loss = task.losses(model, task.collate([BOOK]))[0]
    names = ["transformer.wpe.weight", "transformer.h.0.mlp.c_fc.weight", "transformer.ln_f.bias"]
    parameters = [model.get_parameter(name) for name in names]
    for name, expected in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert torch.allclose(found.parts[name].dense()[1], expected, atol=1e-6)


def test_a_lens_reads_every_window(gpt2: Any, tokenizer: Any) -> None:
    task = Language(tokenizer)
    long = Example("long", "", "Ada bakes bread in Mallorca. " * 12)
    assert len(task.encode(long)[1]) > 64
    records = [Example("a", "Who?", "Ada"), long]
    seen = lens(gpt2, records, task)
    expected = -task.losses(gpt2, task.collate(records)).detach().numpy()
    assert np.allclose(seen.log_p[-1], expected, atol=1e-4)
