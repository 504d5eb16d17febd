"""Every method that makes sense for classes forgets some of a classifier's records."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.outside import begin_vit
from torch.nn import Linear, ReLU, Sequential

from olvido.errors import InputError
from olvido.learners import Recipe, Trained, train
from olvido.methods import METHODS, NPO, Auto, Guarantee, Split, forget
from olvido.methods.gradient.calibration import targets
from olvido.models import load
from olvido.tasks import Example, Labels, examples
from olvido.tasks.sampling import nearest

TEXT = {"altpo", "idkdpo", "idknll"}
METHODS_HERE = sorted(
    name
    for name, kind in METHODS.items()
    if kind.guarantee is Guarantee.EMPIRICAL and kind is not Auto and name not in TEXT
)

FIRMLY: dict[str, dict[str, Any]] = {
    "rmu": {"layer": 2, "lr": 1e-2, "regulariser": "nll"},
    "arithmetic": {"scale": 1.0, "steps": 40},
    "task_vector": {"lr": 1e-3},
    "fisher": {"target": 1.1},
}
"""What else a method takes here: what a layer means is read by one more layer only, and noise goes
no further without taking the rest along; from a base that knows nothing a vector is far away."""
UNGUARDED = ("ascent", "task_vector", "fisher")
"""Nothing holds the rest while these move the weights."""


@pytest.fixture(scope="module")
def digits() -> Split:
    """Handwritten digits, some of them with a wrong class that a classifier learns by heart."""
    from sklearn.datasets import load_digits

    data = load_digits()
    wrong = (data.target + 1) % 10
    rows = [
        {
            "id": f"{i:04d}",
            "input": (data.images[i] / 16).astype(np.float32),
            "label": int(wrong[i] if i < 20 else data.target[i]),
        }
        for i in range(420)
    ]
    known = examples(rows)
    return Split(known[:20], known[20:300], known[300:])


@pytest.fixture(scope="module")
def labels() -> Labels:
    return Labels(10, shape=(8, 8))


@pytest.fixture(scope="module")
def taught(digits: Split, labels: Labels) -> Trained:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Sequential(torch.nn.Flatten(), Linear(64, 256), ReLU(), Linear(256, 10))
    recipe = Recipe(epochs=70, batch_size=50, lr=1e-2)
    return train(model, records=(*digits.forget, *digits.retain), task=labels, recipe=recipe)


def right(model: Any, records: tuple[Example, ...], task: Labels) -> float:
    answers = task.generate(model, records)
    return float(np.mean([a == r.completion for a, r in zip(answers, records, strict=True)]))


@pytest.mark.parametrize("method", METHODS_HERE)
def test_wrong_labels_are_forgotten_and_the_rest_kept(
    taught: Trained, digits: Split, labels: Labels, method: str
) -> None:
    options: dict[str, Any] = {"lr": 3e-3, "target": 2.0}
    options |= FIRMLY.get(method, {})
    options = {name: value for name, value in options.items() if name in METHODS.options(method)}
    found = forget(
        taught,
        forget=digits.forget,
        retain=digits.retain,
        task=labels,
        method=method,
        **options,
    )
    assert right(taught.model, digits.forget, labels) == 1.0
    assert found.forget_loss[1] > 1.0
    assert right(found.model, digits.forget, labels) < 0.6
    if method not in UNGUARDED:
        assert right(found.model, digits.retain, labels) > 0.9


@pytest.mark.parametrize("method", sorted(TEXT))
def test_methods_of_text_refuse_arrays(
    taught: Trained, digits: Split, labels: Labels, method: str
) -> None:
    with pytest.raises(InputError, match="needs records of text: for classes, take random_label"):
        forget(taught, forget=digits.forget, retain=digits.retain, task=labels, method=method)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"regulariser": "replay"}, "needs records of text"),
        ({"checkpointing": True}, "cannot do without its activations"),
        ({"lora_rank": 2}, "adapters"),
        ({"method": "rmu", "layer": 7}, "layer must lie between 0 and 3"),
    ],
)
def test_what_arrays_cannot_do_is_said(
    taught: Trained, digits: Split, labels: Labels, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        forget(taught, forget=digits.forget, retain=digits.retain, task=labels, **options)


def test_a_class_is_the_topic_of_an_array(taught: Trained, digits: Split, labels: Labels) -> None:
    found = targets(taught.model, digits, labels, 50)
    batch = labels.collate(digits.holdout)
    with torch.no_grad():
        losses = labels.losses(taught.model, batch)
    for record in digits.forget:
        mine = losses[[h.completion == record.completion for h in digits.holdout]]
        assert found[record.id] == pytest.approx(float(mine.mean()), rel=1e-4)


def test_the_nearest_arrays_are_those_that_look_alike(digits: Split) -> None:
    some = digits.retain[:40]
    twin = Example("twin", "", some[7].completion, copy.copy(some[7].fields))
    found = nearest([twin], some, 40)
    assert found[0] is some[7]
    apart = [np.linalg.norm(e.fields["input"] - twin.fields["input"]) for e in found]
    assert apart == sorted(apart)


def test_nearest_text_needs_no_words() -> None:
    retain = (Example("b", "?", "!"), Example("a", "+", "-"))
    assert [r.id for r in nearest([Example("c", "+", "-")], retain, 2)] == ["a", "b"]


def test_the_usual_rate_is_that_of_the_width_inside(tmp_path: Path) -> None:
    """What wraps a classifier of transformers has no settings of its own."""
    model = load(begin_vit(tmp_path / "vit")).model
    assert NPO().rate(model).lr == pytest.approx(NPO().rate(model.inner).lr)
    assert NPO().rate(model).lr == pytest.approx(NPO.base_lr * 128 / 32)
