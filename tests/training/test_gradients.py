"""The loop's exchangeable parts: how gradients are put together, and who takes part in a step."""

import copy
import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from olvido.errors import InputError
from olvido.learners import Lora, Recipe, StepLog, train
from olvido.methods import METHODS, Split, forget
from olvido.methods.base import with_origin
from olvido.methods.gradient.descent import Descent
from olvido.tasks import Example, Language
from olvido.training.environment import deterministic, environment
from olvido.training.execute import RunSpec, execute
from olvido.training.gradients import Plain, Summed, shares
from olvido.training.loop import Loop
from olvido.training.plan import PlannedBatch

Records = tuple[Example, ...]
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


def flat(model: Any) -> Tensor:
    return torch.cat([parameter.detach().float().flatten() for parameter in model.parameters()])


class Of(Plain):
    """One of several processes."""

    def __init__(self, rank: int, world: int, together: bool) -> None:
        self.rank, self.world, self.together = rank, world, together


@given(st.integers(1, 20), st.integers(1, 5), st.booleans(), st.none() | st.integers(1, 6))
def test_every_row_counts_once_over_all_processes(
    rows: int, world: int, together: bool, most: int | None
) -> None:
    dealt = [shares(range(rows), Of(rank, world, together), most) for rank in range(world)]
    counted = [row for part in dealt for some, counts in part if counts for row in some]
    assert sorted(counted) == list(range(rows))
    assert all(1 <= len(some) <= (most or rows) for part in dealt for some, _ in part)
    if together:
        # A process that ran the model less often would leave the others waiting.
        assert len({len(part) for part in dealt}) == 1


@pytest.mark.parametrize("most", [1, 3, 4])
def test_micro_batches_train_as_one_batch(
    small: Any, few: Records, task: Language, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(epochs=3, batch_size=8, lr=0.1, optimizer="sgd")
    whole = train(small, records=few, task=task, recipe=recipe)
    sizes: list[int] = []
    collate = Language.collate

    def noting(self: Language, records: Any, **more: Any) -> Any:
        sizes.append(len(records))
        return collate(self, records, **more)

    monkeypatch.setattr(Language, "collate", noting)
    split = train(small, records=few, task=task, recipe=replace(recipe, micro_batch=most))
    assert max(sizes) == most
    assert isinstance(split.trace, StepLog)
    assert isinstance(whole.trace, StepLog)
    # The log has one entry for each batch, whatever its parts.
    assert split.trace.losses == pytest.approx(whole.trace.losses, abs=1e-5)
    assert (flat(split.model) - flat(whole.model)).abs().max() < 1e-5
    assert flat(whole.model).sub(flat(small)).abs().max() > 1e-2


GRADIENT = sorted(
    name
    for name in METHODS.built_in
    if issubclass(METHODS[name], Descent) and name not in ("task_vector", "scrub")
)


@pytest.mark.slow(but=["npo", "repselect"])
@pytest.mark.parametrize("method", GRADIENT)
def test_every_method_forgets_in_micro_batches_as_in_whole_ones(
    trained: Any, split: Split, task: Language, method: str
) -> None:
    def forgotten(most: int | None) -> Any:
        long = {"epochs": 1} if METHODS[method].ends else {"steps": 4}
        made = METHODS.make(method, {**long, "lr": 1e-4, "batch_size": 8, "retain_batch": 8,
                                     "micro_batch": most})  # fmt: skip
        few = with_origin(trained, replace(split, retain=split.retain[:24], holdout=()))
        return made.run(trained, few, task, seed=0, watch=None).model

    whole, parts = forgotten(None), forgotten(3)
    moved = flat(whole) - flat(trained.model)
    assert (flat(parts) - flat(whole)).norm() < 2e-2 * moved.norm()


def test_a_projection_needs_the_whole_forget_gradient_and_gets_it(
    trained: Any, split: Split, task: Language
) -> None:
    def forgotten(most: int | None) -> Any:
        return forget(
            trained, forget=split.forget, retain=split.retain[:24], task=task, method="npo",
            epochs=1, lr=3e-4, batch_size=8, retain_batch=8, project=True, micro_batch=most,
        ).model  # fmt: skip

    whole, parts = forgotten(None), forgotten(2)
    moved = flat(whole) - flat(trained.model)
    assert (flat(parts) - flat(whole)).norm() < 2e-2 * moved.norm()


def test_what_a_recipe_does_not_use_is_not_in_its_digest() -> None:
    # An earlier version knew no more than these: its logs are found by their digest.
    assert set(Recipe().to_dict()) == {
        "epochs", "batch_size", "accumulate", "lr", "schedule", "warmup", "optimizer",
        "weight_decay", "beta1", "beta2", "clip", "dtype", "lora",
    }  # fmt: skip
    for used in ({"micro_batch": 2}, {"master_weights": True}, {"checkpointing": True}):
        recipe = Recipe(**used)
        assert used.items() <= recipe.to_dict().items()
        assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    "wrong",
    [{"micro_batch": 0}, {"micro_batch": 1.5}, {"master_weights": 1}, {"checkpointing": "no"}],
)
def test_a_recipe_refuses_what_these_do_not_take(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Recipe(**wrong)


def pulled(dtype: torch.dtype, *, masters: bool) -> Tensor:
    """Weights after steps down a slope that does not depend on them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = torch.nn.Linear(16, 16, bias=False).to(dtype)
        slope = torch.randn(16, 16)
    layer.weight.data = layer.weight.data.bfloat16().to(dtype)
    recipe = Recipe(lr=1e-5, schedule="constant", warmup=0.0, master_weights=masters)
    loop = Loop(layer, recipe, total=40, seed=0)
    for step in range(40):
        loop.step(step, [lambda: (layer.weight * slope.to(dtype)).float().sum()])
    return layer.weight.detach()


def test_master_weights_move_what_16_bits_hold_fast() -> None:
    wide = pulled(torch.float32, masters=False)
    free = pulled(torch.bfloat16, masters=True)
    with pytest.warns(UserWarning, match="give the recipe master_weights"):
        stuck = pulled(torch.bfloat16, masters=False)
    # The slope is rounded in 16 bits, which AdamW hardly sees; else it is the same training.
    apart = (free.float() - wide).abs() / wide.abs()
    assert float(apart.max()) < 2**-7
    moved = (free != stuck).float().mean()
    assert float(moved) > 0.5


def test_a_model_in_16_bits_is_trained_with_master_weights(
    small: Any, few: Records, task: Language
) -> None:
    held = copy.deepcopy(small).bfloat16()
    recipe = Recipe(epochs=2, batch_size=8, lr=1e-4, master_weights=True)
    found = train(held, records=few, task=task, recipe=recipe).model
    assert {p.dtype for p in found.parameters()} == {torch.bfloat16}
    assert all(not p.equal(q) for p, q in zip(found.parameters(), held.parameters(), strict=True)
               if p.ndim == 2)  # fmt: skip


def test_master_weights_of_32_bits_are_the_weights(
    small: Any, few: Records, task: Language, short: Recipe
) -> None:
    plain, kept = (
        train(small, records=few, task=task, recipe=replace(short, master_weights=wanted))
        for wanted in (False, True)
    )
    assert plain.digest == kept.digest
    assert plain.trace.final == kept.trace.final  # type: ignore[attr-defined]


def test_a_run_with_master_weights_goes_on_with_the_same_bits(
    small: Any, few: Records, task: Language, short: Recipe, tmp_path: Path
) -> None:
    held, recipe = copy.deepcopy(small).bfloat16(), replace(short, master_weights=True)
    whole = train(held, records=few, task=task, recipe=recipe)

    class CutOff(Exception):
        pass

    def cut(progress: Any) -> None:
        if progress.step == 7:
            raise CutOff

    with pytest.raises(CutOff):
        train(held, records=few, task=task, recipe=recipe, folder=tmp_path, safety=2, watch=cut)
    again = train(held, records=few, task=task, recipe=recipe, folder=tmp_path, safety=2)
    assert again.digest == whole.digest


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_recomputed_activations_change_no_bit_of_a_training(
    small: Any, few: Records, task: Language, short: Recipe, lora: Lora | None
) -> None:
    recipe = replace(short, lora=lora)
    plain = train(small, records=few, task=task, recipe=recipe)
    again = train(small, records=few, task=task, recipe=replace(recipe, checkpointing=True))
    assert again.digest == plain.digest
    assert not again.model.is_gradient_checkpointing
    # No hook stays behind.
    assert pickle.dumps(again.model)


class Clipped(Plain):
    """The gradient of each loss, cut to a length of its own: what private training begins with."""

    def __init__(self, parameters: list[Any], length: float) -> None:
        self._parameters, self._length = parameters, length
        self._sum: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        found = torch.autograd.grad(loss, self._parameters)
        length = torch.stack([g.norm() for g in found]).norm()
        scale = min(1.0, self._length / float(length))
        before = self._sum or [torch.zeros_like(g) for g in found]
        self._sum = [total + scale * g for total, g in zip(before, found, strict=True)]

    def finish(self, loss: float | None) -> float | None:
        for parameter, total in zip(self._parameters, self._sum, strict=True):
            parameter.grad = total
        self._sum = []
        return loss


def test_gradients_may_be_put_together_in_another_way() -> None:
    weight = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        weight.weight.fill_(0.0)
    recipe = Recipe(optimizer="sgd", lr=1.0, schedule="constant", warmup=0.0, beta1=0.0, clip=1e9,
                    weight_decay=0.0)  # fmt: skip
    loop = Loop(weight, recipe, total=1, seed=0)
    loop.gradients = Clipped(loop.parameters, 1.0)
    slopes = (0.5, -3.0, 8.0)
    loop.step(0, [lambda slope=slope: slope * weight.weight.sum() for slope in slopes])
    # 0.5 - 1 + 1: each loss pulls by one at the most.
    assert weight.weight.item() == pytest.approx(-0.5)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_gradient_that_was_summed_early_enters_the_sum_once(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = SimpleNamespace(process_index=rank, num_processes=2, device=torch.device("cpu"))
    weight = torch.nn.Parameter(torch.zeros(1))
    own, other = torch.tensor([1.0]), torch.tensor([2.0])
    summed = Summed(cast(Any, process), [weight])
    # The other process has 2 in its gradient, and nothing more once that was summed and dropped.
    others = iter([other, torch.zeros(1) if rank == 0 else own + other])
    monkeypatch.setattr("accelerate.utils.reduce", lambda tensor, _: tensor + next(others))
    weight.grad = own.clone()
    with summed.whole():
        assert weight.grad is not None
        assert weight.grad.item() == 3.0
    monkeypatch.setattr("olvido.training.gradients.summed_loss", lambda loss, _: loss)
    summed.finish(1.0)
    assert weight.grad is not None
    assert weight.grad.item() == 3.0


@dataclass(frozen=True)
class Drawn:
    """Each step a record of its own takes part, and none in every third step."""

    present: tuple[str, ...]
    blank: frozenset[str] = frozenset()
    boundaries: tuple[int, ...] = (0,)
    layout: str = "drawn"

    @property
    def total_steps(self) -> int:
        return 6

    def steps(self, start: int = 0) -> Iterator[list[PlannedBatch]]:
        for step in range(start, self.total_steps):
            rows = () if step % 3 == 2 else (self.present[step],)
            yield [PlannedBatch(step, rows, 32, 1)]

    def place(self, step: int) -> tuple[int, int]:
        return step, self.total_steps


def test_who_takes_part_may_be_said_by_another_sampler(
    small: Any, few: Records, task: Language
) -> None:
    plan = Drawn(tuple(record.id for record in few))
    spec = RunSpec("origin", Recipe(lr=1e-3), 0, plan, environment())
    with deterministic():
        done = execute(copy.deepcopy(small), few, task, spec)
    assert [entry.rows for entry in done.log] == [1, 1, 0, 1, 1, 0]
    assert [math.isnan(entry.loss) for entry in done.log] == [False, False, True] * 2
