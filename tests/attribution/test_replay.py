"""Metagradients against training again with a record that counts a little more or less."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests.curvature.worlds import arrays
from torch import Tensor, nn

from olvido.attribution.replay import metagradients
from olvido.errors import InputError, MissingNeed
from olvido.learners import Lora, Recipe, Trained, train
from olvido.tasks import Example, Labels, Language

RECIPE = Recipe(epochs=3, batch_size=5, accumulate=2, lr=2e-2, weight_decay=0.1, clip=0.5)


class Weighed(Labels):
    """One record counts for another number than 1."""

    def __init__(self, record: str, weight: float) -> None:
        super().__init__(3, shape=(6,))
        self._record, self._weight = record, weight

    def losses(self, model: nn.Module, batch: Any) -> Tensor:
        weights = [self._weight if i == self._record else 1.0 for i in batch.ids]
        return super().losses(model, batch) * torch.tensor(weights)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double().float()


@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_they_are_the_slope_of_training_again(clip: float) -> None:
    rows, plain = arrays(26, (6,), 3), Labels(3, shape=(6,))
    records, queries = rows[:24], rows[24:]
    recipe = Recipe(**{**vars(RECIPE), "clip": clip})
    trained = train(network(), records=records, task=plain, recipe=recipe)
    found = metagradients(trained, records, queries, plain)

    def asked(record: Example, weight: float) -> Tensor:
        task = Weighed(record.id, weight)
        model = train(network(), records=records, task=task, recipe=recipe).model
        return plain.losses(model, plain.collate(queries)).detach().double()

    for i in (0, 7, 23):
        slope = (asked(records[i], 0.95) - asked(records[i], 1.05)) / 0.1
        torch.testing.assert_close(found[:, i].double(), slope, rtol=0.03, atol=2e-4)


@pytest.mark.slow
def test_a_language_model_is_replayed_to_the_bit(
    fresh: Any, learned: tuple[Example, ...], task: Language
) -> None:
    some = learned[:12]
    recipe = Recipe(epochs=3, batch_size=4, lr=4e-3)
    trained = train(fresh, records=some, task=task, recipe=recipe)
    # It would raise if the replay gave other weights. Who is asked about taught it most.
    found = metagradients(trained, some, [some[2], some[9]], task)
    assert found.argmax(1).tolist() == [2, 9]
    assert torch.isfinite(found).all()
    one = metagradients(trained, some, [some[9]], task)
    torch.testing.assert_close(one[0], found[1], rtol=1e-3, atol=1e-5)


def test_what_cannot_be_taken_back_is_refused(
    fresh: Any, learned: tuple[Example, ...], task: Language
) -> None:
    some: Sequence[Example] = learned[:4]
    with pytest.raises(MissingNeed, match="the log of the training"):
        metagradients(Trained.untraced(fresh), some, some[:1], task)
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3, lora=Lora(rank=2))
    adapted = train(fresh, records=some, task=task, recipe=recipe)
    with pytest.raises(InputError, match="without adapters"):
        metagradients(adapted, some, some[:1], task)
    plain = train(fresh, records=some, task=task, recipe=Recipe(epochs=1, batch_size=4, lr=1e-3))
    with pytest.raises(InputError, match="1 records of the run were not given"):
        metagradients(plain, some[1:], some[:1], task)
