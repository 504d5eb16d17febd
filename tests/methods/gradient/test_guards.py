"""What holds the rest: each regulariser against its formula, and what projection leaves of a
gradient."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import Linear, Parameter

from olvido.errors import InputError, MissingNeed
from olvido.learners import Trained
from olvido.methods import Split, forget
from olvido.methods.gradient.answers import (
    Answers,
    FrozenReference,
    FrozenReferenceLogits,
    shared_weights_copy,
)
from olvido.methods.gradient.projection import Projection
from olvido.methods.gradient.regularisers import (
    Divergence,
    Elastic,
    HiddenStatePenalty,
    RetainLikelihood,
    RetainRegularisers,
)
from olvido.methods.gradient.sampling import asked_of_others, names_of
from olvido.methods.losses.repselect import collapsed
from olvido.models import weights_digest
from olvido.tasks import Example, Language


@pytest.fixture(scope="module")
def moved(trained: Trained, fresh: Any) -> Any:
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        for ours, other in zip(model.parameters(), fresh.parameters(), strict=True):
            ours.lerp_(other, 0.05)
    return model


def of(model: Any, task: Language, records: tuple[Example, ...]) -> Answers:
    return Answers(model, task, records, task.collate(records))


def test_ewc_weighs_each_weight_by_its_own_fisher(
    trained: Trained, moved: Any, split: Split, task: Language
) -> None:
    some = Split(split.forget, split.retain[:5], ())
    regulariser = Elastic()
    assert (
        regulariser.begin(shared_weights_copy(trained.model).eval(), some, task, 0) == some.retain
    )
    squares = [torch.zeros_like(p) for p in trained.model.parameters()]
    for record in some.retain:
        model = copy.deepcopy(trained.model)
        task.losses(model, task.collate([record])).sum().backward()
        for total, p in zip(squares, model.parameters(), strict=True):
            total += p.grad**2 / len(some.retain)
    pairs = zip(squares, moved.parameters(), trained.model.parameters(), strict=True)
    with torch.no_grad():
        expected = sum(float((f * (now - was) ** 2).sum()) / 2 for f, now, was in pairs)
    found = regulariser.losses(of(moved, task, some.retain[:3]))
    assert found.tolist() == pytest.approx([expected] * 3, rel=1e-3)
    assert found.requires_grad
    assert regulariser.spent == sum(map(task.width, some.retain))


def test_ewc_cannot_hold_weights_that_adapters_stand_in_for(
    trained: Trained, split: Split, task: Language
) -> None:
    with pytest.raises(InputError, match="use kl with lora_rank"):
        forget(
            trained,
            forget=split.forget,
            retain=split.retain[:20],
            task=task,
            regulariser="ewc",
            lora_rank=2,
        )


def test_activations_are_held_by_their_own_length(
    trained: Trained, moved: Any, split: Split, task: Language
) -> None:
    regulariser = HiddenStatePenalty(layer=1)
    regulariser.begin(trained.model, split, task, 0)
    records = split.retain[::11]
    found = regulariser.losses(of(moved, task, records)).tolist()
    for record, value in zip(records, found, strict=True):
        prompt, answer = task.encode(record)
        ids = torch.tensor([[*prompt, *answer]])
        at = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
        with torch.no_grad():
            was, now = (
                m(ids, output_hidden_states=True).hidden_states[1][0, at]
                for m in (copy.deepcopy(trained.model), copy.deepcopy(moved))
            )
        expected = float(((now - was) ** 2).sum(-1).div((was**2).sum(-1)).mean())
        assert value == pytest.approx(expected, rel=1e-3)


def test_guards_add_up(trained: Trained, moved: Any, split: Split, task: Language) -> None:
    parts = [RetainLikelihood(), Divergence()]
    for regulariser in (both := RetainRegularisers(parts), *parts):
        regulariser.begin(trained.model, split, task, 0)
    now = of(moved, task, split.retain[:4])
    torch.testing.assert_close(both.losses(now), parts[0].losses(now) + parts[1].losses(now))


def test_replay_needs_no_retained_record(trained: Trained, split: Split, task: Language) -> None:
    def call(**options: Any) -> Any:
        return forget(
            trained, forget=split.forget, task=task, target=1.0, lr=1e-3, epochs=4, **options
        )

    models = (
        trained.model,
        call(regulariser="none").model,
        call(regulariser="replay", retain_weight=20.0).model,
    )
    retain_count = task.collate(split.retain[::5])
    with torch.no_grad():
        before, plain, held = (float(task.losses(m, retain_count).mean()) for m in models)
    # Nothing was given, and less of the rest is lost.
    assert held - before < 0.8 * (plain - before)
    with pytest.raises(MissingNeed, match="retain"):
        call(regulariser="replay+nll")
    nameless = [Example(r.id, "", r.completion) for r in split.forget]
    with pytest.raises(InputError, match="no question in which a name could be swapped"):
        forget(trained.model, forget=nameless, task=task, regulariser="replay")


def test_neighbours_are_others_and_answered_by_the_model(
    trained: Trained, split: Split, task: Language
) -> None:
    found = asked_of_others(trained.model, task, split.forget, variant=0, seed=0)
    assert set(found) == {record.id for record in split.forget}
    for record in split.forget:
        other = found[record.id]
        assert other.prompt != record.prompt
        assert not names_of(record.prompt) & names_of(other.prompt)
        assert task.generate(trained.model, [other]) == [other.completion]
    again = asked_of_others(trained.model, task, split.forget[::-1], variant=0, seed=0)
    assert {i: e.prompt for i, e in again.items()} == {i: e.prompt for i, e in found.items()}
    others = asked_of_others(trained.model, task, split.forget, variant=1, seed=0)
    assert any(others[i].prompt != found[i].prompt for i in found)


@pytest.mark.parametrize("conflict", [True, False])
def test_projection_leaves_the_guards_loss_alone(conflict: bool) -> None:
    torch.manual_seed(0)
    layers = [Parameter(torch.zeros(3, 2)), Parameter(torch.zeros(4))]
    ours = [torch.randn_like(p) for p in layers]
    theirs = [g + torch.randn_like(g) for g in ours]
    if conflict:
        theirs = [-g for g in theirs]

    def dot(one: Any, two: Any) -> float:
        return sum(float((a * b).sum()) for a, b in zip(one, two, strict=True))

    assert (dot(ours, theirs) < 0) == conflict
    against = Projection(layers)
    for p, g in zip(layers, ours, strict=True):
        p.grad = g.clone()
    against.set_aside()
    assert all(p.grad is None for p in layers)
    for p, g in zip(layers, theirs, strict=True):
        p.grad = g.clone()
    against.bring_back()
    left = [p.grad - g for p, g in zip(layers, theirs, strict=True)]
    assert dot(left, theirs) == pytest.approx(0.0 if conflict else dot(ours, theirs), abs=1e-4)
    assert dot(left, ours) > 0


def test_a_projected_run_keeps_more(trained: Trained, split: Split, task: Language) -> None:
    found = forget(
        trained,
        forget=split.forget,
        retain=split.retain,
        task=task,
        project=True,
        target=2.0,
        lr=6e-4,
    )
    assert "reached" in found.stopped
    assert found.retain_loss[1] < 0.1


@pytest.mark.parametrize("components", [1, 3])
def test_leading_components_are_taken_out(components: int) -> None:
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 6))[0] for n in (9, 7))
    sizes = torch.tensor([32.0, 16.0, 8.0, 1.0, 0.5, 0.1])
    found = collapsed(left @ torch.diag(sizes) @ right.T, components)
    sizes[:components] = 0
    torch.testing.assert_close(found, left @ torch.diag(sizes) @ right.T, atol=1e-3, rtol=0)


def test_the_model_as_it_was_is_asked_once(trained: Trained, split: Split, task: Language) -> None:
    asked: list[str] = []

    def look(model: Any, batch: Any) -> Any:
        asked.extend(batch.ids)
        logits, _, rows = task.answer_logits(model, batch)
        return logits, rows

    retain_count = FrozenReference(trained.model, task, look, size=3)
    logits = FrozenReferenceLogits(trained.model, task, size=4)
    for records in (split.retain[:5], split.retain[8:2:-1]):
        with torch.no_grad():
            expected = torch.cat(
                [task.answer_logits(trained.model, task.collate([r]))[0] for r in records]
            )
        for frozen in (retain_count, logits):
            torch.testing.assert_close(frozen(records), expected, atol=1e-4, rtol=1e-4)
    assert sorted(asked) == sorted({r.id for r in (*split.retain[:5], *split.retain[8:2:-1])})
    assert retain_count.spent > 0


def test_a_mirrored_model_shares_memory_and_nothing_else(trained: Trained) -> None:
    model = trained.model
    found = shared_weights_copy(model)
    pairs = list(zip(found.parameters(), model.parameters(), strict=True))
    assert all(a.data_ptr() == b.data_ptr() and a is not b for a, b in pairs)
    assert not any(p.requires_grad for p in found.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert found.lm_head.weight is found.model.embed_tokens.weight
    layer = Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert [p.requires_grad for p in shared_weights_copy(layer, trained=True).parameters()] == [
        True,
        False,
    ]


def test_adapters_leave_the_weights_that_they_share(
    trained: Trained, split: Split, task: Language
) -> None:
    found = forget(
        trained, forget=split.forget, retain=split.retain, task=task, lora_rank=2, lr=3e-3, epochs=2
    )
    assert weights_digest(trained.model) == trained.digest != found.digest
    pairs = zip(found.model.parameters(), trained.model.parameters(), strict=True)
    assert all(ours.data_ptr() != theirs.data_ptr() for ours, theirs in pairs)


def test_doing_without_activations_changes_no_result(
    trained: Trained, split: Split, task: Language
) -> None:
    one, two = (
        forget(
            trained,
            forget=split.forget,
            retain=split.retain[:30],
            task=task,
            epochs=2,
            lr=1e-3,
            checkpointing=checkpointing,
        )
        for checkpointing in (False, True)
    )
    assert two.forget_loss[1] == pytest.approx(one.forget_loss[1], rel=1e-4)
    assert not two.model.is_gradient_checkpointing
