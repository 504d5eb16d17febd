"""A step of the learner is what the proof is about, and each planted fraud is not."""

import copy
from typing import Any

import pytest
import torch
from tests.training.private.frauds import FRAUDS, Fraud
from torch import nn

from olvido.audits.promise.step import FRESH, NOISE, SIZE, SUM, examined
from olvido.models import weights_digest
from olvido.tasks import Labels, Language
from olvido.training.private.accounting import Spent
from olvido.training.private.canaries import canaries

BREAKS = {
    "no_noise": NOISE,
    "clipped_after_averaging": SUM,
    "without_the_tied_part": SUM,
    "divided_by_the_realised_size": SIZE,
    "one_seed_for_all_steps": FRESH,
    "accumulation_clipped_once": SUM,
}
SPENT = Spent(
    epsilon=1.0, delta=1e-3, unit="subject", units=100, accountant="rdp", rate=0.1, noise=2.0,
    clip=1.0, steps=10, most=8,
)  # fmt: skip


def broken(model: Any, task: Any) -> set[str]:
    made = canaries(task, 6, seed=0, kind="text" if hasattr(task, "tokenizer") else "float32")
    return {one.promise for one in examined(model, task, made, SPENT) if not one.holds}


def test_an_honest_step_keeps_every_promise(small: Any, gpt2: Any, task: Language) -> None:
    for model in (small, gpt2):
        before = weights_digest(model)
        assert broken(model, task) == set()
        assert weights_digest(model) == before
        assert all(p.grad is None for p in model.parameters())


def test_a_model_of_a_few_weights_is_no_suspect() -> None:
    """Chance carries the spread of few numbers far."""
    model = nn.Sequential(nn.Linear(3, 2))
    assert broken(model, Labels(["a", "b"], shape=(3,))) == set()


def test_a_model_that_is_certain_is_no_suspect() -> None:
    """Where no probability is left, some canaries have no gradient at all."""
    model = nn.Sequential(nn.Linear(3, 2))
    task = Labels(["a", "b"], shape=(3,))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]]))
    made = canaries(task, 6, seed=0, kind="float32")
    losses = [float(task.losses(model, task.collate([record])).detach()) for record in made]
    assert 0.0 in losses
    assert broken(model, task) == set()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([1e4, -1e4]))
    assert broken(model, Labels(["a", "b"], shape=(3,))) == set()


@pytest.mark.parametrize("fraud", FRAUDS, ids=lambda fraud: fraud.__name__)
def test_a_fraud_breaks_its_promise(
    fraud: Fraud, small: Any, task: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    fraud(monkeypatch)
    assert BREAKS[fraud.__name__] in broken(copy.deepcopy(small), task)
