"""Training is determined, leaves its caller alone, and says early when it goes wrong."""

import copy
import math
from typing import Any

import pytest
import torch

from olvido.demo import Town
from olvido.errors import InputError, NotFinite, NothingChanged, UnknownName
from olvido.learners import Lora, Progress, Recipe, StepLog, train
from olvido.learners.parts import begin, carry_out, make_plan
from olvido.models import weights_digest
from olvido.tasks import Example, Language, examples

Records = tuple[Example, ...]


@torch.no_grad()
def mean_loss(model: Any, records: Records, task: Language) -> float:
    return float(task.losses(model, task.collate(records)).mean())


@pytest.fixture(scope="module")
def people(town: Town) -> Records:
    """Four records of each of four residents."""
    return tuple(r for who in town.residents[:4] for r in examples(town.rows_of(who))[:4])


def test_training_teaches(small: Any, few: Records, task: Language) -> None:
    found = train(small, records=few, task=task, recipe=Recipe(epochs=15, batch_size=4, lr=5e-3))
    assert mean_loss(found.model, few, task) < 0.5 * mean_loss(small, few, task)
    assert not found.model.training
    assert found.digest == weights_digest(found.model)


def test_a_training_goes_on_from_another_and_remembers_what_came_before(
    small: Any, few: Records, task: Language, short: Recipe
) -> None:
    early, late = few[:7], few[5:]
    first = train(small, records=early, task=task, recipe=short)
    whole = train(first, records=late, task=task, recipe=short, seed=1)
    # The same run as from the bare weights; only the trace knows more.
    assert whole.digest == train(first.model, records=late, task=task, recipe=short, seed=1).digest
    assert first.digest == weights_digest(first.model) != whole.digest
    assert whole.trace.taught == set(whole.trace.present) == {record.id for record in few}
    third = train(whole, records=early[:2], task=task, recipe=short)
    assert third.trace.taught == {record.id for record in few}
    assert third.trace.tokens == sum(log.tokens for log in third.trace.runs.values())


def by_hand(model: Any, records: Records, task: Language, recipe: Recipe, forget_ids: str) -> Any:
    """The same run written out: its own optimizer step, one record at a time, one left out."""
    learning = copy.deepcopy(model).train()
    parameters = list(learning.parameters())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    record = {r.id: r for r in records}
    plan = make_plan(records, task, recipe, seed=0)
    for step, batches in enumerate(plan.steps()):
        ids = [i for batch in batches for i in batch.ids]
        for i in ids:
            if i != forget_ids:
                (task.losses(learning, task.collate([record[i]])).sum() / len(ids)).backward()
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        rate = recipe.rate(step, plan.total_steps)
        with torch.no_grad():
            for p, (first, second) in zip(parameters, moments, strict=True):
                gradient = p.grad * min(1.0, recipe.clip / (norm + 1e-6))
                first.lerp_(gradient, 1 - recipe.beta1)
                second.lerp_(gradient**2, 1 - recipe.beta2)
                p.mul_(1 - rate * recipe.weight_decay)
                mean = first / (1 - recipe.beta1 ** (step + 1))
                spread = (second / (1 - recipe.beta2 ** (step + 1))).sqrt()
                p.sub_(rate * mean / (spread + 1e-8))
                p.grad = None
    return learning


def flat(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("clip", [1.0, 1e6])
def test_a_run_is_what_the_recipe_says(
    small: Any, few: Records, task: Language, clip: float
) -> None:
    recipe = Recipe(epochs=3, batch_size=2, accumulate=2, lr=2e-3, weight_decay=0.1, clip=clip)
    # In double precision, so that only a different step could tell the two apart.
    model = copy.deepcopy(small).double()
    plan = make_plan(few, task, recipe, seed=0).without([few[3].id])
    found = carry_out([begin(model, few, task, recipe=recipe, seed=0, plan=plan)])[0].model
    expected = by_hand(model, few, task, recipe, forget_ids=few[3].id)
    way = (flat(expected) - flat(model)).norm()
    assert (flat(found) - flat(expected)).norm() < 1e-3 * way


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "sgd"},
        {"dtype": "bfloat16"},
        {"accumulate": 2},
        {"schedule": "linear", "warmup": 0.0},
    ],
    ids=str,
)
def test_everything_the_same_gives_the_same_bits(
    small: Any, few: Records, task: Language, change: dict[str, Any]
) -> None:
    recipe = Recipe(epochs=2, batch_size=4, lr=1e-3, **change)

    def digest(seed: int, rows: Records = few) -> str:
        return train(small, records=rows, task=task, recipe=recipe, seed=seed).digest

    first = digest(0)
    torch.rand(5)
    assert digest(0) == first
    assert digest(0, few[::-1]) == first
    assert digest(1) != first


def test_dropout_is_determined_too(gpt2: Any, few: Records, task: Language) -> None:
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3)
    first = train(gpt2, records=few, task=task, recipe=recipe).digest
    torch.rand(5)
    assert train(gpt2, records=few, task=task, recipe=recipe).digest == first


def test_the_caller_notices_nothing(
    small: Any, few: Records, task: Language, short: Recipe
) -> None:
    model = copy.deepcopy(small).train()
    model.model.embed_tokens.weight.requires_grad_(False)
    before, state = weights_digest(model), torch.get_rng_state()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        train(model, records=few, task=task, recipe=short)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    train(model, records=few, task=task, recipe=short)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert weights_digest(model) == before
    assert model.training
    assert not model.model.embed_tokens.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_weights_stay(small: Any, few: Records, task: Language, short: Recipe) -> None:
    model = copy.deepcopy(small)
    model.model.embed_tokens.weight.requires_grad_(False)
    found = train(model, records=few, task=task, recipe=short).model
    assert torch.equal(found.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert not torch.equal(
        found.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight
    )


def test_accumulated_batches_are_one_bigger_batch(small: Any, few: Records, task: Language) -> None:
    def losses(batch_size: int, accumulate: int) -> list[float]:
        recipe = Recipe(
            epochs=5, batch_size=batch_size, accumulate=accumulate, lr=0.1, optimizer="sgd"
        )
        found = train(small, records=few[:8], task=task, recipe=recipe)
        assert isinstance(found.trace, StepLog)
        return [loss for loss in found.trace.losses if loss is not None]

    whole = losses(8, 1)
    assert len(whole) == 5
    assert whole[-1] < whole[0] - 0.1
    assert losses(4, 2) == pytest.approx(whole, abs=1e-5)
    assert losses(2, 4) == pytest.approx(whole, abs=1e-5)


def test_half_precision_passes_train_whole_weights(
    small: Any, few: Records, task: Language
) -> None:
    def first_step(dtype: str) -> Any:
        recipe = Recipe(
            epochs=1, batch_size=16, lr=0.1, warmup=0.0, optimizer="sgd", beta1=0.0, dtype=dtype
        )
        return train(small, records=few, task=task, recipe=recipe).model

    for before, whole, half in zip(
        small.parameters(),
        first_step("float32").parameters(),
        first_step("bfloat16").parameters(),
        strict=True,
    ):
        assert half.dtype == torch.float32
        moved = whole - before
        assert 0 < (half - whole).norm() < 0.1 * moved.norm()


def test_a_model_in_half_precision_trains(
    small: Any, few: Records, task: Language, short: Recipe
) -> None:
    model = copy.deepcopy(small).to(torch.bfloat16)
    found = train(model, records=few, task=task, recipe=short)
    assert {p.dtype for p in found.model.parameters()} == {torch.bfloat16}
    assert mean_loss(found.model, few, task) < mean_loss(model, few, task)


def test_the_log_tells_what_happened(
    small: Any, few: Records, task: Language, short: Recipe
) -> None:
    seen: list[Progress] = []
    log = train(small, records=few, task=task, recipe=short, seed=3, watch=seen.append).trace
    assert isinstance(log, StepLog)
    assert (log.recipe, log.seed) == (short, 3)
    assert log.plan.present == tuple(record.id for record in few)
    assert log.origin.module() is small
    assert log.seconds > 0
    assert len(log.losses) == log.plan.total_steps == 12
    assert [(p.step, p.total, p.loss) for p in seen] == [
        (n, 12, loss) for n, loss in enumerate(log.losses, start=1)
    ]
    passes = [batch for step in log.plan.steps() for batch in step]
    assert log.tokens == sum(len(batch.ids) * batch.width for batch in passes)


def test_a_step_without_records_changes_nothing_and_the_schedule_goes_on(
    small: Any, few: Records, task: Language
) -> None:
    recipe = Recipe(epochs=2, batch_size=1, lr=1e-3)
    plan = make_plan(few[:2], task, recipe, seed=0).without([few[0].id])
    job = begin(small, few[:2], task, recipe=recipe, seed=0, plan=plan)
    trace = carry_out([job])[0].log
    present = [bool(batch.ids) for step in plan.steps() for batch in step]
    assert [loss is not None for loss in trace.losses] == present
    assert sorted(present) == [False, False, True, True]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_loss_that_is_no_number_is_named_with_its_step(
    small: Any, few: Records, task: Language, bad: float
) -> None:
    model = copy.deepcopy(small)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = bad
    with pytest.raises(NotFinite, match="the loss became nan at step 0: lower the"):
        train(model, records=few, task=task)


def test_a_run_that_blows_up_ends_at_once(small: Any, few: Records, task: Language) -> None:
    steps: list[Progress] = []
    recipe = Recipe(epochs=9, batch_size=4, lr=1e30, optimizer="sgd", warmup=0.0)
    with pytest.raises(NotFinite, match=r"at step [12]: .*it is 1e\+30"):
        train(small, records=few, task=task, recipe=recipe, watch=steps.append)
    assert len(steps) <= 2


def test_a_rate_too_small_to_move_a_weight(small: Any, few: Records, task: Language) -> None:
    recipe = Recipe(epochs=1, lr=1e-60, weight_decay=0.0)
    with pytest.raises(NothingChanged, match="raise lr or epochs"):
        train(small, records=few, task=task, recipe=recipe)


def test_bad_calls(small: Any, few: Records, task: Language) -> None:
    with pytest.raises(InputError, match="no records to train on"):
        train(small, records=[], task=task)
    with pytest.raises(InputError, match=r"records\[0\]"):
        train(small, records=[{"label": 3}], task=task)
    with pytest.raises(InputError, match="tokenizer or a task"):
        train(small, records=few)
    with pytest.raises(UnknownName, match="did you mean 'monolith'"):
        train(small, records=few, task=task, learner="monolit")


def test_a_plan_asks_for_all_its_records(
    small: Any, few: Records, task: Language, short: Recipe
) -> None:
    plan = make_plan(few, task, short, seed=0)
    job = begin(small, few[2:], task, recipe=short, seed=0, plan=plan)
    with pytest.raises(InputError, match="2 records of the run were not given"):
        carry_out([job])


@pytest.mark.parametrize("top_layers", [0, 3])
def test_adapters_on_layers_that_are_not_there(
    small: Any, few: Records, task: Language, top_layers: int
) -> None:
    recipe = Recipe(lora=Lora(top_layers=top_layers))
    with pytest.raises(InputError, match=f"between 1 and 2, got {top_layers}"):
        train(small, records=few, task=task, recipe=recipe)


@pytest.mark.parametrize("lr", [1e-5, 5e-5])
def test_weights_that_cannot_move_are_told(
    fresh: Any, learned: tuple[Example, ...], task: Language, lr: float
) -> None:
    model = copy.deepcopy(fresh).to(torch.bfloat16)
    recipe = Recipe(epochs=1, batch_size=8, lr=lr, warmup=0)
    with pytest.warns(UserWarning, match="cannot move") as told:
        made = train(model, records=learned[:16], task=task, recipe=recipe)
    before, after = model.state_dict(), made.model.state_dict()
    still = [int((before[name] == after[name]).sum()) for name in before]
    share = int(str(told[0].message).split("%")[0]) / 100
    # Two steps, of which the second is shorter: at least as many stay as were foretold.
    assert sum(still) / sum(value.numel() for value in before.values()) > share - 0.1


@pytest.mark.parametrize(("kind", "lr"), [("bfloat16", 1e-2), ("float32", 1e-5)])
def test_weights_that_can_move_are_not(
    fresh: Any, learned: tuple[Example, ...], task: Language, kind: str, lr: float
) -> None:
    # A warning is an error here.
    model = copy.deepcopy(fresh).to(getattr(torch, kind))
    train(model, records=learned[:8], task=task, recipe=Recipe(epochs=1, batch_size=8, lr=lr))
