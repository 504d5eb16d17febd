"""Patching beside transformers run by hand, and what it must tell apart."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from olvido.audits.attacks.patching import erased_depth, patched, regained, require_shared, shares
from olvido.errors import InputError
from olvido.tasks import Labels, examples

from .conftest import Family

APART = "share no residual space"


def loss(model: Any, records: Any, task: Any) -> Any:
    with torch.no_grad():
        return task.losses(model, task.collate(records)).numpy()


def test_taking_on_its_own_states_changes_nothing(family: Family, world: Any) -> None:
    found = patched(family.before, family.before, world.forget, world.task)
    assert found.base == pytest.approx(-loss(family.before, world.forget, world.task), abs=1e-4)
    assert found.log_p == pytest.approx(np.tile(found.base, (2, 1)), abs=1e-4)


def test_the_first_layers_by_hand(family: Family, world: Any) -> None:
    """States at answer positions swapped between the two blocks; the rest computed by hand."""
    receiver, donor = family.before, family.never
    record = world.forget[0]
    batch = world.task.collate([record])
    ids = batch.input_ids[:, : int(batch.attention_mask.sum())]
    place = torch.nonzero(batch.targets[0] != -100)[:, 0]
    with torch.no_grad():
        mine = receiver(input_ids=ids, output_hidden_states=True).hidden_states[1].clone()
        theirs = donor(input_ids=ids, output_hidden_states=True).hidden_states[1]
        mine[0, place - 1] = theirs[0, place - 1]
        body = receiver.model
        positions = torch.arange(ids.shape[1])[None]
        length = ids.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
        out = body.layers[1](
            mine,
            attention_mask=mask,
            position_ids=positions,
            position_embeddings=body.rotary_emb(mine, positions),
        )
        logits = receiver.lm_head(body.norm(out))[0, place - 1].log_softmax(-1)
    expected = logits.gather(-1, batch.targets[0, place][:, None]).mean()
    found = patched(receiver, donor, [record], world.task)
    assert found.log_p[0, 0] == pytest.approx(float(expected), abs=1e-4)
    assert found.log_p[0, 0] < found.base[0] - 0.05


def test_batches_change_no_number(family: Family, world: Any) -> None:
    whole = patched(family.before, family.never, world.forget, world.task, batch=64)
    parts = patched(family.before, family.never, world.forget, world.task, batch=3)
    assert whole.log_p == pytest.approx(parts.log_p, abs=1e-4)


@pytest.mark.parametrize("measure", [erased_depth, regained])
def test_both_ends_of_the_scale(measure: Any, family: Family, world: Any) -> None:
    ends = (family.before, family.never)
    knows = measure(family.before, *ends, world.forget, world.task)
    never = measure(family.never, *ends, world.forget, world.task)
    other = measure(family.other, *ends, world.forget, world.task)
    counts = ~np.isnan(knows.score)
    assert counts.mean() > 0.8
    assert knows.score[counts] == pytest.approx(1.0, abs=1e-3)
    assert never.score[counts] == pytest.approx(0.0, abs=1e-3)
    assert np.nanmean(other.score) < 0.35
    assert knows.layers.shape == knows.counts.shape == (2,)


@pytest.mark.parametrize("measure", [erased_depth, regained])
def test_an_answer_hidden_by_the_head_alone_is_found(
    measure: Any, family: Family, world: Any
) -> None:
    """The states still know; only their way out was bent."""
    bent = copy.deepcopy(family.before)
    bent.lm_head.weight = torch.nn.Parameter(bent.lm_head.weight.detach().clone())
    with torch.no_grad():
        for record in world.forget:
            bent.lm_head.weight[world.task.encode(record)[1][0]] *= -1
    gone = loss(bent, world.forget, world.task).mean()
    assert gone > loss(family.before, world.forget, world.task).mean() + 1
    found = measure(bent, family.before, family.never, world.forget, world.task)
    assert np.nanmean(found.score) > 0.95


def test_shares_by_hand() -> None:
    moved = np.array([[1.0, 0.0, 0.0], [4.0, -1.0, 0.0]])
    most = np.array([[2.0, 0.01, 0.0], [2.0, 4.0, 0.04]])
    found = shares(moved, most)
    assert found.score[:2] == pytest.approx([(0.5 * 2 + 1 * 2) / 4, 0.0])
    assert np.isnan(found.score[2])
    assert found.layers == pytest.approx([0.5, 0.5])
    assert found.counts.tolist() == [1, 2]


def test_models_of_other_bases_are_not_compared(family: Family, world: Any) -> None:
    require_shared(family.before, family.never)
    stranger = world.references[0]
    with pytest.raises(InputError, match=APART):
        patched(family.before, stranger, world.forget, world.task)
    with pytest.raises(InputError, match=APART):
        erased_depth(family.never, family.before, stranger, world.forget, world.task)
    with pytest.raises(InputError, match=APART):
        regained(stranger, family.before, family.never, world.forget, world.task)
    broken = copy.deepcopy(family.never)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match=APART):
        require_shared(family.before, broken)


def test_nothing_is_left_behind(world: Any, monkeypatch: Any) -> None:
    model, never = world.fresh(0).train(), world.fresh(0)
    patched(model, never, world.forget[:2], world.task)
    assert model.training
    assert not any(m._forward_hooks for m in (*model.modules(), *never.modules()))

    answer_logits, calls = world.task.answer_logits, []

    def fails(*given: Any) -> Any:
        calls.append(given)
        # The donor's pass, the receiver's own, and the first that is patched.
        if len(calls) == 3:
            raise RuntimeError("broken")
        return answer_logits(*given)

    monkeypatch.setattr(world.task, "answer_logits", fails)
    with pytest.raises(RuntimeError, match="broken"):
        patched(model, never, world.forget[:2], world.task)
    assert not any(m._forward_hooks for m in (*model.modules(), *never.modules()))


def test_bad_inputs_are_named(family: Family, world: Any) -> None:
    with pytest.raises(InputError, match="no records"):
        patched(family.before, family.never, [], world.task)
    arrays = examples([{"input": [0.0, 1.0], "label": 0}])
    with pytest.raises(InputError, match="answer's tokens"):
        patched(family.before, family.never, arrays, Labels(2))
