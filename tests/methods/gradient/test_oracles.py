"""Each loss against a plain computation, written out token by token, from the whole logits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from olvido.learners import Trained
from olvido.methods import METHODS, Split
from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.bad_teacher import random_like
from olvido.methods.gradient.descent import Descent
from olvido.tasks import Example, Language
from olvido.tasks.scoring import frozen

Answer = Callable[[Any, Example], tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def eos_is_pad(tokenizer: Any) -> Language:
    """A task whose padding is the end-of-text token, as SmolLM2-Instruct's is."""
    same = copy.deepcopy(tokenizer)
    same.pad_token = same.eos_token
    return Language(same)


@pytest.fixture(scope="module")
def moved(trained: Trained, fresh: Any) -> Any:
    """A model on its way, so that before and now differ."""
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        for ours, other in zip(model.parameters(), fresh.parameters(), strict=True):
            ours.lerp_(other, 0.2)
    return model


@pytest.fixture(scope="module")
def some(split: Split) -> Split:
    """Records of several lengths."""
    return Split(split.forget[::3], split.retain[:12], split.holdout[:4])


def plain(model: Any, task: Language, record: Example) -> tuple[Tensor, Tensor]:
    """Logits and targets of an answer, of the record alone: no padding, no batch, no mask."""
    prompt, answer = task.encode(record)
    logits = model(torch.tensor([[*prompt, *answer]])).logits[0]
    return logits[len(prompt) - 1 : len(prompt) + len(answer) - 1], torch.tensor(answer)


def log_p(model: Any, task: Language, record: Example) -> Tensor:
    logits, targets = plain(model, task, record)
    return F.log_softmax(logits, -1)[torch.arange(len(targets)), targets]


def found(
    method: Descent, before: Any, now: Any, some: Split, task: Language
) -> tuple[Tensor, list[Tensor], Answers]:
    """The method's loss of each record and its gradient."""
    alternative_targets = method.alternative_targets(before, some, task, 0)
    with torch.no_grad():
        precomputed = method.precompute(before, some, task, 0)
        seen = frozen(before, (*some.forget, *alternative_targets.values()), task, 5)
    batch = task.collate(
        [*some.forget, *(alternative_targets[r.id] for r in some.forget if alternative_targets)]
    )
    was = {i: value for i, (value, _) in seen.items()}
    model = copy.deepcopy(now).requires_grad_(True)
    answers = Answers(model, task, some.forget, batch, was, {}, precomputed)
    losses = method.forget_losses(answers)
    losses.sum().backward()
    return losses.detach(), [p.grad for p in model.parameters() if p.grad is not None], answers


def expected(now: Any, losses: Callable[[Any, Example], Tensor], records: Sequence[Example]) -> Any:
    model = copy.deepcopy(now).requires_grad_(True)
    each = torch.stack([losses(model, record) for record in records])
    each.sum().backward()
    return each.detach(), [p.grad for p in model.parameters() if p.grad is not None]


def agree(ours: tuple[Tensor, list[Tensor], Any], theirs: tuple[Tensor, list[Tensor]]) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
    scale = max(float(g.abs().max()) for g in theirs[1])
    assert scale > 1e-4
    for one, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * scale)


def made(name: str, **options: Any) -> Descent:
    method = METHODS.make(name, options)
    assert isinstance(method, Descent)
    return method


@pytest.mark.parametrize(
    ("saturation", "importance"), [(0.0, 0.0), (1.0, 0.0), (5.0, 1.0)], ids=["plain", "wga", "sat"]
)
def test_weights_of_graddiff_are_held_fixed(
    trained: Trained,
    moved: Any,
    some: Split,
    eos_is_pad: Language,
    saturation: float,
    importance: float,
) -> None:
    def loss(model: Any, record: Example) -> Tensor:
        values = log_p(model, eos_is_pad, record)
        p = values.detach().exp()
        return (p**saturation * (1 - p) ** importance * values).mean()

    method = made("graddiff", saturation=saturation, importance=importance)
    ours = found(method, trained.model, moved, some, eos_is_pad)
    agree(ours, expected(moved, loss, some.forget))


@pytest.mark.parametrize("name", ["npo", "samnpo", "repselect"])
def test_npo_sums_over_the_answer(
    trained: Trained, moved: Any, some: Split, eos_is_pad: Language, name: str
) -> None:
    def loss(model: Any, record: Example) -> Tensor:
        with torch.no_grad():
            was = log_p(trained.model, eos_is_pad, record).sum()
        ratio = log_p(model, eos_is_pad, record).sum() - was
        return 2 / 0.3 * torch.log(1 + torch.exp(0.3 * ratio))

    ours = found(made(name, beta=0.3), trained.model, moved, some, eos_is_pad)
    agree(ours, expected(moved, loss, some.forget))


@pytest.mark.parametrize("name", ["altpo", "idkdpo"])
def test_preferences_compare_two_answers(
    trained: Trained, moved: Any, some: Split, eos_is_pad: Language, name: str
) -> None:
    method = made(name, beta=0.3)
    instead = method.alternative_targets(trained.model, some, eos_is_pad, 0)
    assert all(instead[r.id].prompt == r.prompt for r in some.forget)
    assert all(instead[r.id].completion != r.completion for r in some.forget)

    def loss(model: Any, record: Example) -> Tensor:
        other = instead[record.id]
        with torch.no_grad():
            was = log_p(trained.model, eos_is_pad, record).sum()
            other_was = log_p(trained.model, eos_is_pad, other).sum()
        own = log_p(model, eos_is_pad, record).sum() - was
        gained = log_p(model, eos_is_pad, other).sum() - other_was
        return 2 / 0.3 * torch.log(1 + torch.exp(-0.3 * (gained - own)))

    agree(found(method, trained.model, moved, some, eos_is_pad), expected(moved, loss, some.forget))


@pytest.mark.parametrize("name", ["idknll", "random_label"])
def test_other_answers_are_learned(
    trained: Trained, moved: Any, some: Split, eos_is_pad: Language, name: str
) -> None:
    method = made(name)
    instead = method.alternative_targets(trained.model, some, eos_is_pad, 0)

    def loss(model: Any, record: Example) -> Tensor:
        return -log_p(model, eos_is_pad, instead[record.id]).mean()

    agree(found(method, trained.model, moved, some, eos_is_pad), expected(moved, loss, some.forget))


def test_undial_lowers_the_memorised_token_only(
    trained: Trained, moved: Any, some: Split, eos_is_pad: Language
) -> None:
    def loss(model: Any, record: Example) -> Tensor:
        with torch.no_grad():
            teacher, targets = plain(trained.model, eos_is_pad, record)
            teacher[torch.arange(len(targets)), targets] -= 4.0
        now = F.log_softmax(plain(model, eos_is_pad, record)[0], -1)
        return -(F.softmax(teacher, -1) * now).sum(-1).mean()

    ours = found(made("undial", strength=4.0), trained.model, moved, some, eos_is_pad)
    agree(ours, expected(moved, loss, some.forget))


@pytest.mark.parametrize("name", ["scrub", "bad_teacher"])
def test_teachers_are_followed_or_fled(
    trained: Trained, moved: Any, some: Split, eos_is_pad: Language, name: str
) -> None:
    fled = name == "scrub"
    teacher = trained.model if fled else random_like(trained.model, 0)

    def loss(model: Any, record: Example) -> Tensor:
        with torch.no_grad():
            was = F.softmax(plain(teacher, eos_is_pad, record)[0], -1)
        now = F.log_softmax(plain(model, eos_is_pad, record)[0], -1)
        apart = (was * (was.log() - now)).sum(-1).mean()
        return -apart if fled else apart

    ours = found(made(name), trained.model, moved, some, eos_is_pad)
    agree(ours, expected(moved, loss, some.forget))


def test_pdu_flattens_the_logits(
    trained: Trained, moved: Any, some: Split, eos_is_pad: Language
) -> None:
    def loss(model: Any, record: Example) -> Tensor:
        logits, _ = plain(model, eos_is_pad, record)
        return ((logits.max(-1).values - logits.mean(-1)) ** 2).mean()

    ours = found(made("pdu"), trained.model, moved, some, eos_is_pad)
    agree(ours, expected(moved, loss, some.forget))


def test_rmu_steers_one_layer_and_runs_no_further(
    trained: Trained, moved: Any, some: Split, eos_is_pad: Language
) -> None:
    def states(model: Any, record: Example) -> Tensor:
        prompt, answer = eos_is_pad.encode(record)
        out = model(torch.tensor([[*prompt, *answer]]), output_hidden_states=True).hidden_states[1]
        return out[0, len(prompt) - 1 : len(prompt) + len(answer) - 1]

    method = made("rmu", layer=1, steer=3.0)
    with torch.no_grad():
        norms = [states(trained.model, record).norm(dim=-1) for record in some.forget]
        aim = method.precompute(trained.model, some, eos_is_pad, 0)
    assert float(aim.vector.norm()) == pytest.approx(3 * float(torch.cat(norms).mean()), rel=1e-4)

    def loss(model: Any, record: Example) -> Tensor:
        apart = (states(model, record) - aim.vector) ** 2
        return (apart.sum(-1) / (aim.vector**2).sum()).mean()

    ours = found(method, trained.model, moved, some, eos_is_pad)
    agree(ours, expected(moved, loss, some.forget))
    assert not ours[2].answered
    # Of the layers above and of the head, nothing was asked.
    assert len(ours[1]) < len(list(moved.parameters()))
