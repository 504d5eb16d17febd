"""Members answer as their probabilities or votes say, counted by hand; and come back from disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from olvido.errors import InputError, UnknownName
from olvido.models import Ensemble, as_one, load, save, weights_digest
from olvido.models.ensemble import combine
from olvido.models.tiny import tiny_model
from olvido.tasks import Example, Labels, Language, examples

RECORDS = (
    Example("a", "Where does Marta live?", "Carrer de Mallorca 12"),
    Example("b", "Who?", "Jordi"),
    Example("c", "", "Pau works as a baker"),
)

probabilities = st.lists(
    st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda p: np.array(p) / sum(p)),
    min_size=1,
    max_size=5,
)


def as_logits(members: Sequence[Any]) -> list[torch.Tensor]:
    """Logits are known up to a constant, another one in each member."""
    return [torch.tensor(np.log(p) + 3 * i) for i, p in enumerate(members)]


@given(members=probabilities)
def test_the_mean_is_of_probabilities(members: list[Any]) -> None:
    found = combine(as_logits(members), "mean").exp().numpy()
    np.testing.assert_allclose(found, np.mean(members, axis=0), rtol=1e-9)


@given(members=probabilities)
def test_votes_are_counted_and_ties_go_to_the_larger_mean(members: list[Any]) -> None:
    votes = np.bincount([int(np.argmax(p)) for p in members], minlength=4)
    mean = np.mean(members, axis=0)
    found = combine(as_logits(members), "vote").exp().numpy()
    np.testing.assert_allclose(found, votes / len(members), atol=2e-3)
    leading = [c for c in range(4) if votes[c] == votes.max()]
    lead = sorted((mean[c] for c in leading), reverse=True)
    if len(lead) == 1 or lead[0] - lead[1] > 1e-12:
        assert int(found.argmax()) == max(leading, key=lambda c: mean[c])


def test_a_tie_is_broken_by_less_than_a_float_can_tell_of_the_votes() -> None:
    near = [torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.3, 0.6 + 2e-7, 0.1 - 2e-7])]
    assert combine([p.log() for p in near], "vote").argmax() == 1
    assert combine([p.log() for p in reversed(near)], "vote").argmax() == 1


@pytest.mark.parametrize("aggregation", ["mean", "vote"])
def test_what_nobody_expects_has_a_finite_log(aggregation: str) -> None:
    sure = torch.tensor([300.0, 0.0, -300.0])
    found = combine([sure, sure], aggregation)
    assert found.isfinite().all()
    assert found.argsort().tolist() == [2, 1, 0] or aggregation == "vote"


def test_members_of_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"member 1 gives \[2, 1\], those before it \[2, 3\]"):
        combine([torch.zeros(2, 3), torch.zeros(2, 1)], "mean")
    with pytest.raises(InputError, match="at least one member"):
        combine([], "mean")


@pytest.mark.parametrize("made", [Ensemble, as_one])
def test_an_ensemble_needs_members_and_a_known_aggregation(made: Any, fresh: Any) -> None:
    with pytest.raises(InputError, match="at least one member"):
        made([])
    for member in (nn.Linear(2, 2), fresh):
        with pytest.raises(UnknownName, match="did you mean 'mean'"):
            made([member], aggregation="men")


def test_classifiers_answer_as_one_module() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        members = [nn.Linear(3, 4) for _ in range(3)]
    one = as_one(members).eval()
    task = Labels(4)
    records = examples([{"input": [i, 1.0, -i], "label": i % 4} for i in range(6)])
    batch = task.collate(records)
    mean = torch.stack([m(batch.inputs).softmax(-1) for m in members]).mean(0)
    torch.testing.assert_close(task.logits(one, batch), mean.log())
    torch.testing.assert_close(
        task.losses(one, batch), F.nll_loss(mean.log(), batch.targets, reduction="none")
    )
    assert task.generate(one, records) == [str(i) for i in mean.argmax(-1).tolist()]


@pytest.fixture(scope="module")
def llamas(trained: Any, tokenizer: Any) -> list[Any]:
    others = [tiny_model(len(tokenizer), seed=s, width=64, layers=2).eval() for s in (5, 6)]
    return [trained.model, *others]


@pytest.fixture(params=["llama", "gpt2"])
def members(request: pytest.FixtureRequest, llamas: list[Any], gpt2: Any) -> list[Any]:
    if request.param == "llama":
        return llamas
    other = copy.deepcopy(gpt2)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for weight in other.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return [gpt2, other]


@pytest.mark.parametrize("aggregation", ["mean", "vote"])
def test_language_models_answer_as_one_to_a_task(
    members: list[Any], task: Language, aggregation: str
) -> None:
    one = as_one(members, aggregation=aggregation)
    batch = task.collate(RECORDS)
    with torch.no_grad():
        expected = combine([task.logits(m, batch) for m in members], aggregation)
        torch.testing.assert_close(task.logits(one, batch), expected)
        rows, columns = torch.nonzero(batch.targets != -100, as_tuple=True)
        logits, targets, _ = task.answer_logits(one, batch)
        torch.testing.assert_close(logits, expected[rows, columns - 1])
        wanted = F.nll_loss(expected[rows, columns - 1], targets)
        labels = batch.input_ids.where(batch.targets != -100, -100)
        out = one(batch.input_ids, attention_mask=batch.attention_mask, labels=labels)
    assert float(out.loss) == pytest.approx(float(wanted), abs=1e-5)
    with pytest.raises(InputError, match="no hidden states"):
        task.hidden(one, batch, 1)


def test_losses_of_an_ensemble_carry_gradients_to_every_member(
    llamas: list[Any], task: Language
) -> None:
    one = as_one([copy.deepcopy(member) for member in llamas])
    task.losses(one, task.collate(RECORDS)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in one.parameters())


def prompts(tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Padded on the left, as generation needs it."""
    encoded = [tokenizer(text)["input_ids"] for text in texts]
    width = max(map(len, encoded))
    ids = [[tokenizer.pad_token_id] * (width - len(e)) + e for e in encoded]
    mask = [[0] * (width - len(e)) + [1] * len(e) for e in encoded]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


@pytest.mark.parametrize("aggregation", ["mean", "vote"])
def test_generation_takes_the_ensemble_s_likeliest_token(
    members: list[Any], tokenizer: Any, aggregation: str
) -> None:
    one = as_one(members, aggregation=aggregation)
    given = prompts(tokenizer, ["Where does Marta live?", "Who?"])
    found = one.generate(**given, max_new_tokens=8, min_new_tokens=8, do_sample=False)
    for row, ids in enumerate(given["input_ids"]):
        # One prompt alone, without padding or cache, one token after the other.
        alone = ids[given["attention_mask"][row] == 1]
        with torch.no_grad():
            for _ in range(8):
                scores = combine([m(alone[None]).logits[0, -1] for m in members], aggregation)
                # min_new_tokens forbids the end.
                scores[tokenizer.eos_token_id] = -torch.inf
                alone = torch.cat([alone, scores.argmax()[None]])
        assert found[row, -8:].tolist() == alone[-8:].tolist()


@pytest.mark.parametrize(
    "habit",
    [{"do_sample": True, "temperature": 1.3}, {"num_beams": 3}, {"do_sample": True, "top_k": 5}],
    ids=str,
)
def test_the_caches_change_no_token(
    members: list[Any], tokenizer: Any, habit: dict[str, Any]
) -> None:
    one = as_one(members)
    given = prompts(tokenizer, ["Where does Marta live?", "Who?", "Pau works as"])

    def told(use_cache: bool) -> list[list[int]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            out = one.generate(**given, max_new_tokens=10, use_cache=use_cache, **habit)
        return out.tolist()  # type: ignore[no-any-return]

    assert told(True) == told(False)


def test_a_cache_stands_for_what_was_read(members: list[Any]) -> None:
    one, ids = as_one(members), torch.tensor([[2, 5, 9, 11, 4]])
    with torch.no_grad():
        held = one(ids[:, :4], use_cache=True).past_key_values
        assert held.get_seq_length() == 4
        found = one(ids[:, 4:], past_key_values=held, use_cache=True).logits
        torch.testing.assert_close(found, one(ids).logits[:, 4:])
        torch.testing.assert_close(found, one(ids, logits_to_keep=1).logits)


def test_another_model_s_cache_is_refused(llamas: list[Any]) -> None:
    ids = torch.tensor([[2, 5, 9]])
    held = llamas[0](ids, use_cache=True).past_key_values
    with pytest.raises(InputError, match="what another model saw"):
        as_one(llamas)(ids, past_key_values=held, use_cache=True)


def test_members_share_a_vocabulary(llamas: list[Any]) -> None:
    with pytest.raises(InputError, match="share a tokenizer"):
        as_one([llamas[0], tiny_model(50, seed=0, width=32, layers=1)])


@pytest.mark.parametrize("aggregation", ["mean", "vote"])
def test_a_saved_ensemble_comes_back_the_same(
    llamas: list[Any], tokenizer: Any, task: Language, tmp_path: Path, aggregation: str
) -> None:
    # The first member twice: weights that are shared in memory are not shared on disk.
    one = as_one([llamas[0], llamas[1], llamas[0]], aggregation=aggregation)
    save(one, tokenizer, tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    assert loaded.digest == weights_digest(one)
    assert not loaded.model.training
    batch = task.collate(RECORDS)
    with torch.no_grad():
        assert torch.equal(task.logits(loaded.model, batch), task.logits(one, batch))
    assert task.generate(loaded.model, RECORDS[:2]) == task.generate(one, RECORDS[:2])


def test_the_digest_tells_every_member_and_their_order(llamas: list[Any]) -> None:
    changed = copy.deepcopy(llamas[2])
    with torch.no_grad():
        next(changed.parameters())[0, 0] += 1e-3
    made = [llamas, llamas[:2], llamas[::-1], [*llamas[:2], changed], [*llamas, llamas[0]]]
    assert len({weights_digest(as_one(members)) for members in made}) == 5


@pytest.fixture
def broken(llamas: list[Any], tokenizer: Any, tmp_path: Path) -> Path:
    save(as_one(llamas[:2]), tokenizer, tmp_path / "broken")
    return tmp_path / "broken"


@pytest.mark.parametrize(
    "change",
    [
        {"format": "olvido-ensemble/9"},
        {"aggregation": "median"},
        {"members": ["../elsewhere"]},
        {"members": 2},
        {"members": []},
        {"members": ["member-000", "member-009"]},
    ],
    ids=str,
)
def test_an_ensemble_that_cannot_be_read_is_refused(broken: Path, change: dict[str, Any]) -> None:
    path = broken / "ensemble.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError) as caught:
        load(broken)
    assert "\n" not in str(caught.value)
    path.write_text("[1]")
    with pytest.raises(InputError, match="no ensemble that this version reads"):
        load(broken)
    path.write_text("{")
    with pytest.raises(InputError, match="no ensemble can be read"):
        load(broken)
