"""Each loss against its paper's formula, worked out by itself."""

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from olvido.learners import Progress, Trained
from olvido.methods import METHODS, Divergence, RetainLikelihood, Split, forget
from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.descent import Descent
from olvido.tasks import Example, Language

nats = st.floats(-60.0, -0.01)


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def loss_of(method: str, log_p: float, count: int, before: float, **options: Any) -> float:
    """What a method descends on one record."""
    made = METHODS.make(method, options)
    assert isinstance(made, Descent)
    names = ("log_p", "count", "original_log_p")
    values = (torch.tensor([value], dtype=torch.float64) for value in (log_p, count, before))
    now: Any = SimpleNamespace(**dict(zip(names, values, strict=True)))
    return float(made.forget_losses(now))


@given(nats, st.integers(1, 20), nats)
def test_ascent_climbs_the_mean_loss(log_p: float, count: int, before: float) -> None:
    for method in ("ascent", "graddiff"):
        assert loss_of(method, log_p, count, before) == pytest.approx(log_p / count)


@given(nats, st.integers(1, 20), nats, st.floats(0.01, 5))
def test_npo_is_its_paper(log_p: float, count: int, before: float, beta: float) -> None:
    # Zhang et al. 2024, equation 3: (2 / beta) log(1 + (p / p_before) ** beta).
    expected = 2 / beta * softplus(beta * (log_p - before))
    assert loss_of("npo", log_p, count, before, beta=beta) == pytest.approx(expected)


@given(nats, st.integers(1, 20), nats, st.floats(0.01, 5), st.floats(-2, 2))
def test_simnpo_is_its_paper(
    log_p: float, count: int, before: float, beta: float, gamma: float
) -> None:
    # Fan et al. 2024, equation 4: the mean log p in place of the ratio, less a margin.
    expected = 2 / beta * softplus(beta * log_p / count + gamma)
    found = loss_of("simnpo", log_p, count, before, beta=beta, gamma=gamma)
    assert found == pytest.approx(expected)


@pytest.fixture(scope="module")
def some(split: Split) -> Split:
    return Split(split.forget[:4], split.retain[:6], split.holdout[:4])


def gradient(model: Any, task: Language, records: Any, method: str, **options: Any) -> Any:
    """Of a method's loss, summed over records under a model that has not moved yet."""
    made = METHODS.make(method, options)
    assert isinstance(made, Descent)
    learning = copy.deepcopy(model)
    batch = task.collate(records)
    log_p, _ = task.log_probs(learning, batch)
    was = dict(zip(batch.ids, (log_p.detach() + 0.7).tolist(), strict=True))
    made.forget_losses(Answers(learning, task, records, batch, was)).sum().backward()
    return torch.cat([p.grad.flatten() for p in learning.parameters()])


def test_npo_becomes_ascent_as_beta_goes_to_nothing(
    trained: Trained, some: Split, task: Language
) -> None:
    # A single record: ascent divides by the answer's length, which is no direction.
    record = some.forget[:1]
    climb = gradient(trained.model, task, record, "ascent")
    likeness = [
        float(F.cosine_similarity(gradient(trained.model, task, record, "npo", beta=b), climb, 0))
        for b in (1e-4, 0.1)
    ]
    assert likeness == pytest.approx([1.0, 1.0], abs=1e-4)
    count = len(task.encode(record[0])[1])
    limit = gradient(trained.model, task, record, "npo", beta=1e-4)
    torch.testing.assert_close(limit, climb * count, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["ascent", "graddiff", "npo", "simnpo"])
@pytest.mark.parametrize("regulariser", ["nll", "kl", "none"])
def test_the_first_step_descends_what_the_method_says(
    trained: Trained, some: Split, task: Language, method: str, regulariser: str
) -> None:
    target, weight = 3.0, 2.0
    steps: list[Progress] = []
    forget(
        trained,
        forget=some.forget,
        retain=some.retain,
        task=task,
        method=method,
        regulariser=regulariser,
        target=target,
        retain_weight=weight,
        lr=1e-3,
        epochs=8,
        watch=steps.append,
    )

    expected = 0.0
    for record in some.forget:
        log_p, count = log_prob_by_hand(trained.model, task, record)
        push = (target + log_p / count) / target
        expected += push * loss_of(method, log_p, count, log_p) / len(some.forget)
    if regulariser == "nll":
        pairs = [log_prob_by_hand(trained.model, task, record) for record in some.retain]
        expected += weight * sum(-log_p / count for log_p, count in pairs) / len(pairs)
    assert steps[0].loss == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def log_prob_by_hand(model: Any, task: Language, record: Example) -> tuple[float, int]:
    prompt, answer = task.encode(record)
    log_p = F.log_softmax(model(torch.tensor([[*prompt, *answer]])).logits[0].double(), dim=-1)
    at = range(len(prompt), len(prompt) + len(answer))
    return float(sum(log_p[i - 1, token] for i, token in zip(at, answer, strict=True))), len(answer)


def test_the_divergence_is_from_the_model_as_it_was(
    trained: Trained, fresh: Any, split: Split, task: Language
) -> None:
    before, now = trained.model, copy.deepcopy(trained.model)
    with torch.no_grad():
        for old, new in zip(fresh.parameters(), now.parameters(), strict=True):
            new.lerp_(old, 0.1)
    records = split.retain[::9]
    regulariser = Divergence()
    regulariser.begin(before, split, task, 0)
    # In another order and other batches than they were first asked for.
    regulariser.losses(Answers(now, task, records[:3], task.collate(records[:3])))
    drawn = records[::-2]
    found = regulariser.losses(Answers(now, task, drawn, task.collate(drawn)))
    assert found.requires_grad
    for record, value in zip(drawn, found.tolist(), strict=True):
        prompt, answer = task.encode(record)
        ids = torch.tensor([[*prompt, *answer]])
        at = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
        with torch.no_grad():
            was = F.softmax(before(ids).logits[0, at].double(), dim=-1)
            is_ = F.softmax(now(ids).logits[0, at].double(), dim=-1)
        assert value == pytest.approx(float((was * (was / is_).log()).sum(-1).mean()), rel=1e-3)
    assert (found > 1e-3).all()


def test_the_divergence_of_a_model_from_itself_is_nothing(
    trained: Trained, split: Split, task: Language
) -> None:
    regulariser = Divergence()
    regulariser.begin(trained.model, split, task, 0)
    some = split.retain[:5]
    found = regulariser.losses(Answers(trained.model, task, some, task.collate(some)))
    assert found.tolist() == pytest.approx([0.0] * 5, abs=1e-5)


def test_the_likelihood_guard_is_the_training_loss(
    trained: Trained, split: Split, task: Language
) -> None:
    some = split.retain[:5]
    batch = task.collate(some)
    regulariser = RetainLikelihood()
    assert regulariser.begin(trained.model, split, task, 0) == split.retain
    found = regulariser.losses(Answers(trained.model, task, some, batch))
    torch.testing.assert_close(found, task.losses(trained.model, batch))
