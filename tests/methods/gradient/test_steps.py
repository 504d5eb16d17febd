"""Which records a step sees, and that none is lost on the way."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from olvido.learners import Recipe, Trained
from olvido.methods import METHODS, Split, StepMetrics, forget
from olvido.methods.gradient.answers import Answers
from olvido.methods.gradient.steps import SPREAD, WORTH, buckets
from olvido.methods.losses.graddiff import GradDiff
from olvido.methods.losses.pdu import PDU
from olvido.methods.losses.samnpo import SamNPO
from olvido.tasks import Example, Language
from olvido.training.loop import Loop


class Watching(GradDiff):
    """Notes what each step was shown."""

    summary: ClassVar = "notes what it is shown"
    seen: ClassVar[list[tuple[str, ...]]] = []

    def forget_losses(self, now: Answers) -> Tensor:
        self.seen.append(tuple(record.id for record in now.records))
        return super().forget_losses(now)


@pytest.mark.parametrize("forgotten", [3, 25])
def test_no_record_is_dropped_for_the_shorter_side(
    trained: Trained,
    split: Split,
    task: Language,
    forgotten: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METHODS, "watching", Watching)
    monkeypatch.setattr(Watching, "seen", [])
    drawn: list[str] = []
    collate = Language.collate

    def noting(self: Language, records: Any, **more: Any) -> Any:
        drawn.extend(r.id for r in records if r is not None)
        return collate(self, records, **more)

    monkeypatch.setattr(Language, "collate", noting)
    passes = 6 if forgotten == 3 else 2
    few = Split(split.forget[:forgotten], split.retain[:20], ())
    forget(
        trained,
        forget=few.forget,
        retain=few.retain,
        task=task,
        method="watching",
        batch_size=2,
        retain_batch=8,
        epochs=passes,
        lr=1e-3,
    )
    seen = [i for ids in Watching.seen for i in ids]
    assert {i: seen.count(i) for i in seen} == {r.id: passes for r in few.forget}
    assert {r.id for r in few.retain} <= set(drawn)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60))
@settings(max_examples=40)
def test_records_of_like_length_go_together(lengths: list[int]) -> None:
    class Widths:
        def width(self, record: Example) -> int:
            return int(record.completion)

    records = [Example(str(i), "", str(16 * n)) for i, n in enumerate(lengths)]
    task: Any = Widths()
    found = buckets(records, task)
    assert sorted(r.id for some in found for r in some) == sorted(r.id for r in records)
    for number, some in enumerate(found):
        widths = [task.width(r) for r in some]
        # Worth a pass of its own, unless it is the last.
        assert len(some) * widths[0] >= WORTH or number == len(found) - 1
        # Padded little, but for the records that came before it was worth one.
        early = -(-WORTH // widths[0])
        assert all(w <= SPREAD * widths[0] for w in widths[early:])


def test_the_weight_follows_what_is_lost() -> None:
    method = METHODS.make("pdu", {"budget": 0.1, "dual_rate": 10.0, "retain_weight": 2.0})
    assert isinstance(method, PDU)
    losses = [0.2, 0.5, 0.2, 0.0]
    history = [StepMetrics(i, 1.0, loss) for i, loss in enumerate(losses)]
    weights = [method.regulariser_weight(history[:n]) for n in range(5)]
    # Each step adds the rate times what the loss is above the first one's and the budget.
    assert weights == pytest.approx([2.0, 1.0, 3.0, 2.0, 0.0])


def test_sam_takes_the_gradient_where_it_is_worst() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    loop = Loop(layer, Recipe(optimizer="sgd", lr=1.0, clip=1e9, beta1=0.0), total=1, seed=0)
    method = METHODS.make("samnpo", {"radius": 0.5})
    assert isinstance(method, SamNPO)
    seen: list[list[float]] = []

    def loss() -> Tensor:
        seen.append(layer.weight.detach().flatten().tolist())
        return (layer.weight**2).sum() / 2

    for compute in method.forget_parts(loop, [loss]):
        compute().backward()
    # |g| is 5, so half of g / |g| is (0.3, 0.4): there the gradient is w itself.
    assert seen == [[3.0, 4.0], pytest.approx([3.3, 4.4])]
    assert layer.weight.grad is not None
    assert layer.weight.grad.flatten().tolist() == pytest.approx([3.3, 4.4])
    assert layer.weight.flatten().tolist() == pytest.approx([3.0, 4.0])
