"""What a model answers that never saw the records is learned in their place."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import pytest
import torch
from tests.methods.conftest import BRIEF
from tests.sharing import Shared
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from olvido.errors import InputError
from olvido.learners import Declared, Lora, Recipe, Trained, train
from olvido.learners.parts import itself
from olvido.methods import METHODS, Descent, Split, forget, predict, task_vector
from olvido.methods.base import with_origin
from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.sampling import retain_draws
from olvido.methods.gradient.steps import Steps, _Now
from olvido.methods.origin.arithmetic import Arithmetic
from olvido.methods.origin.distillation import Distillation
from olvido.methods.origin.sketch import own_recipe, sketch
from olvido.methods.origin.weights import origin_for
from olvido.models import weights_digest
from olvido.tasks import Example, Labels, Language
from olvido.tasks.scoring import losses_of
from olvido.training.loop import Loop
from olvido.training.recipe import attach
from olvido.training.traces.steps import Origin

METHOD = {
    "distillation": {"epochs": 2, "target": 99.0},
    "arithmetic": {"steps": 3, "scale": 0.5},
    "redistil": {"steps": 3, "keep": 0.9, "retain_batch": 8},
    "rewind": {"steps": 3, "mu": 0.02},
}
"""Few steps of each, all of which are used."""


@pytest.fixture(scope="module")
def known(brief: Trained, part: Split) -> Split:
    ids = {record.id for record in part.forget}
    return replace(part, origin=origin_for(brief, None, ids))


def test_imitating_oneself_moves_nothing(brief: Trained, part: Split, task: Language) -> None:
    method = Distillation()
    given = replace(part, teacher=brief.model)
    teacher = method.precompute(brief.model, given, task, 0)
    model = copy.deepcopy(brief.model).requires_grad_(True)
    batch = task.collate(part.forget)
    losses = method.forget_losses(Answers(model, task, part.forget, batch, precomputed=teacher))
    losses.sum().backward()
    assert losses.abs().max() < 1e-5
    steepest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    # Beside the gradient towards another teacher, which is larger by orders.
    other = method.precompute(brief.model, replace(part, teacher=_shaken(brief.model)), task, 0)
    model.zero_grad()
    answers = Answers(model, task, part.forget, batch, precomputed=other)
    method.forget_losses(answers).sum().backward()
    there = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    assert steepest < 1e-4 * there


def _shaken(model: Any) -> Any:
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.7)
    return other


class Table(torch.nn.Module):
    """A row of logits for each of two prompts over two tokens, as a classifier of one-hot rows."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(rows.T)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.linear(given)


def test_a_step_is_that_of_the_gradient_by_hand() -> None:
    import numpy as np

    task = Labels(classes=("no", "yes"))
    record = Example("a", "", "yes", {"input": np.array([1.0, 0.0], dtype=np.float32)})
    now, teacher = Table(torch.tensor([[0.2, 1.4], [0.0, 0.0]])), Table(torch.zeros(2, 2))
    method = Distillation()
    split = Split((record,), (), teacher=teacher)
    answers = Answers(
        now, task, (record,), task.collate([record]),
        precomputed=method.precompute(now, split, task, 0),
    )  # fmt: skip
    method.forget_losses(answers).sum().backward()
    # d KL(q || softmax z) / dz = softmax z - q, here with q = (1/2, 1/2).
    by_hand = F.softmax(torch.tensor([0.2, 1.4]), -1) - 0.5
    found = now.linear.weight.grad
    assert found is not None
    assert found[:, 0].tolist() == pytest.approx(by_hand.tolist(), abs=1e-6)
    assert found[:, 1].tolist() == [0.0, 0.0]


def test_the_push_does_not_fade(brief: Trained, known: Split, task: Language) -> None:
    """At its target a record of another method is pushed no further."""
    method = Distillation(target=1e-3)
    start = method.start(brief, known, task, 0)
    given = method._prepare(brief.model, start.split, task, 0)
    loop = Loop(copy.deepcopy(brief.model), start.recipe, total=1, seed=0)
    steps = Steps(method, loop, start.split, task, given)
    (first, *_), batch = steps.batches[0], steps._collate(steps.batches[0])
    found = steps._forget(0, steps.batches[0], batch, 1.0, _Now())
    assert float(found.detach()) > 0.1
    assert losses_of(brief.model, [first], task, 1)[first.id] > 0


def test_it_ends_where_the_sketch_is(brief: Trained, part: Split, task: Language) -> None:
    found = forget(
        brief, forget=part.forget, retain=part.retain, task=task, method="distillation", epochs=60
    )
    given = replace(part, origin=origin_for(brief, None, {r.id for r in part.forget}))
    goal = fmean(losses_of(sketch(brief, given, task, seed=0).model, part.forget, task, 8).values())
    assert found.stopped.startswith("the records reached")
    assert found.forget_loss[1] == pytest.approx(goal, rel=0.2)
    assert found.retain_loss[1] < found.retain_loss[0] + 0.3


@pytest.mark.parametrize("method", sorted(METHOD))
def test_the_cost_is_foretold(brief: Trained, part: Split, task: Language, method: str) -> None:
    foretold = predict(brief, part, task, method=method, options=METHOD[method])
    found = forget(
        brief, forget=part.forget, retain=part.retain, task=task, method=method, **METHOD[method]
    )
    assert foretold.tokens == pytest.approx(found.cost.tokens, rel=0.1)


@pytest.fixture(scope="module")
def rooted(shared: Shared, speaking: Any, part: Split, task: Language) -> Trained:
    """A model whose base speaks and knows nobody, taught `part`."""
    records = (*part.forget, *part.retain)
    return shared.value(lambda: train(speaking, records=records, task=task, recipe=BRIEF))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leaving", "options"),
    [
        (5, {}),
        (None, {"steps": 0}),
        (5, {"steps": 12, "beside": 0, "scale": 0.5}),
        (None, {"steps": 12, "passes": 1, "retain_batch": 5, "target": 2.0}),
    ],
)
def test_what_arithmetic_costs_is_what_passes_through_the_model(
    rooted: Trained, part: Split, task: Language, leaving: int | None, options: dict[str, Any]
) -> None:
    """Foretold within a tenth of the tokens that are embedded, in whichever part of the run."""
    split = with_origin(rooted, replace(part, forget=part.forget[:leaving], holdout=()))
    seen = {True: 0, False: 0}

    def look(module: Any, given: tuple[Any, ...], _: Any) -> None:
        if isinstance(module, torch.nn.Embedding):
            seen[torch.is_grad_enabled()] += given[0].numel()

    with register_module_forward_hook(look):
        run = METHODS.make("arithmetic", options).run(rooted, split, task, seed=0, watch=None)
    # A repair that ended before its longest is foretold as long as it was.
    told = {"steps": len(run.history), **options}
    foretold = predict(rooted, split, task, method="arithmetic", options=told)
    assert foretold.tokens == pytest.approx(seen[True] + seen[False] / 3, rel=0.1)
    assert run.tokens == pytest.approx(seen[True] + seen[False] / 3, rel=0.1)


@pytest.mark.parametrize(
    ("method", "beside"), [("arithmetic", 0), ("arithmetic", 3), ("redistil", 0)]
)
def test_without_repair_the_weights_are_the_formula(
    brief: Trained, known: Split, task: Language, method: str, beside: int
) -> None:
    options = METHOD[method] | {"steps": 0} | ({"beside": beside} if method == "arithmetic" else {})
    chosen = METHODS.make(method, options)
    assert isinstance(chosen, Descent)
    run = chosen.run(brief, known, task, seed=0, watch=None)
    assert known.origin is not None
    base = known.origin.module()
    before = sketch(brief, known, task, seed=0).model
    if method == "arithmetic":
        tuned = _learned_by_hand(before, known, task, own_recipe(brief, 3), beside)
    ours = dict(run.model.named_parameters())
    for name, original in brief.model.named_parameters():
        if method == "redistil":
            expected = 0.9 * original + 0.1 * dict(base.named_parameters())[name]
        else:
            vector = dict(tuned.named_parameters())[name] - dict(before.named_parameters())[name]
            expected = original - 0.5 * vector
        assert torch.allclose(ours[name], expected, atol=1e-5)
    assert run.history == ()


def _learned_by_hand(
    before: torch.nn.Module, split: Split, task: Language, recipe: Recipe, beside: int
) -> torch.nn.Module:
    """Three passes over the forgotten with plain torch, and as many records beside them each step,
    whose answers stay those of the model before."""
    model = copy.deepcopy(before).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        recipe.lr,
        (recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
    )
    by_id = {record.id: record for record in split.forget}
    draws = retain_draws(split, beside, 0)
    for batch in list(task.batches(split.forget, 4)) * 3:
        optimizer.zero_grad()
        records = [by_id[i] for i in batch.ids]
        task.losses(model, task.collate(records)).mean().backward()
        for record in next(draws) if beside else ():
            one = task.collate([record])
            now, _, _ = task.answer_logits(model, one)
            was, _, _ = task.answer_logits(before, one)
            apart = F.softmax(was, -1) * (F.log_softmax(was, -1) - F.log_softmax(now, -1))
            (apart.sum(-1).mean() / beside).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
    return model


def test_of_orthogonal_records_arithmetic_is_retraining() -> None:
    """A linear classifier learns each of two orthogonal records in weights of its own."""
    import numpy as np

    task = Labels(classes=("no", "yes"))

    def record(name: str, place: int, answer: str) -> Example:
        row = np.zeros(3, dtype=np.float32)
        row[place] = 1.0
        return Example(name, "", answer, {"input": row, "subject": name})

    gone, kept, others = record("a", 0, "yes"), record("b", 1, "no"), record("c", 2, "yes")
    base = torch.nn.Linear(3, 2, bias=False)
    torch.nn.init.zeros_(base.weight)
    recipe = Recipe(
        epochs=5, batch_size=1, lr=0.1, optimizer="sgd", beta1=0.0, weight_decay=0.0, clip=1e9,
        schedule="constant", warmup=0.0,
    )  # fmt: skip
    whole = train(base, records=[gone, kept, others], task=task, recipe=recipe)
    retrained = train(base, records=[kept, others], task=task, recipe=recipe)
    found = forget(
        whole, forget=[gone], retain=[kept, others], task=task,
        method="arithmetic", scale=1.0, passes=5, steps=0,
    )  # fmt: skip
    weights = (dict(m.named_parameters())["weight"] for m in (found.model, retrained.model))
    ours, theirs = weights
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert not torch.allclose(ours, whole.model.weight, atol=1e-2)


def test_least_scale(brief: Trained, known: Split, task: Language) -> None:
    """The least scale that reaches the target is found: at a smaller one the loss is smaller."""
    start = Arithmetic(target=1.0, steps=0).start(brief, known, task, 0)
    loss = fmean(losses_of(start.model, known.forget, task, 8).values())
    assert 0.9 < loss < 1.3
    scale = float(start.says.rpartition(" ")[2])
    less = Arithmetic(scale=0.9 * scale, steps=0).start(brief, known, task, 0)
    assert fmean(losses_of(less.model, known.forget, task, 8).values()) < loss


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("goal", [1.0, 2.0, 7.0])
def test_the_scale_is_found_in_as_few_looks_as_are_foretold(
    monkeypatch: pytest.MonkeyPatch, power: float, goal: float
) -> None:
    """Where the loss is 4 s^p the scale is (goal / 4)^(1/p), and no look is thrown away."""
    model, original = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    torch.nn.init.zeros_(original.weight)

    def losses(model: Any, *_: Any) -> dict[str, float]:
        return {"a": 4 * float(-model.weight.item()) ** power}

    monkeypatch.setattr(task_vector, "losses_of", losses)
    scale, there, tried = task_vector.subtracted(
        model, original, [torch.ones(1, 1)], (), Labels(2), {"a": goal}, None, 1,
        short=lambda losses, goals: (goals["a"] - losses["a"]) / goals["a"],
    )  # fmt: skip
    assert there
    assert goal <= losses(model)["a"] <= 1.01 * goal * (1 + 1e-5)
    assert model.weight.item() == pytest.approx(-scale)
    assert scale == pytest.approx((goal / 4) ** (1 / power), rel=0.011)
    assert len(tried) <= task_vector.LOOKS + 1


def test_bad_options_are_refused() -> None:
    for name, options in (
        ("arithmetic", {"scale": 0.0}),
        ("arithmetic", {"passes": 0}),
        ("redistil", {"keep": 1.0}),
        ("redistil", {"steps": -1}),
    ):
        with pytest.raises(InputError):
            METHODS.make(name, options)


def test_a_model_from_elsewhere_with_its_base(
    brief: Trained, fresh: Any, part: Split, task: Language
) -> None:
    """The module and its base alone: the log's recipe is not there, and the rate is given."""
    found = forget(
        brief.model, base=fresh, forget=part.forget, retain=part.retain, task=task,
        method="arithmetic", scale=8.0, steps=2, lr=1e-3,
    )  # fmt: skip
    assert found.origin == weights_digest(fresh)
    assert found.forget_loss[1] > found.forget_loss[0]
    assert math.isfinite(found.retain_loss[1])
    assert isinstance(Origin(partial(itself, fresh), found.origin).module(), torch.nn.Module)


def test_an_adapter_stays_one_on_its_base(fresh: Any, part: Split, task: Language) -> None:
    from olvido.models.adapter import base_under, is_on_base

    adapter = attach(copy.deepcopy(fresh), Lora(rank=4, alpha=8), seed=0)
    recipe = Recipe(epochs=3, batch_size=15, lr=1e-2)
    records = (*part.forget, *part.retain)
    taught_it = train(adapter, records=records, task=task, recipe=recipe).model
    assert is_on_base(taught_it)
    ids = tuple(record.id for record in records)
    model = Trained(taught_it, weights_digest(taught_it), Declared(ids))
    found = forget(
        model, forget=part.forget, retain=part.retain, task=task,
        method="arithmetic", scale=2.0, steps=2, lr=1e-3,
    )  # fmt: skip
    assert found.origin == weights_digest(fresh) == weights_digest(base_under(found.model))
    assert is_on_base(found.model)
    assert "adapter alone" in found.stopped
