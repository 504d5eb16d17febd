"""Where weights moved, beside numpy; and what a name in front does not hide."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from olvido.audits.integrity.change import change, descends, layers
from olvido.audits.integrity.weights import cosine, paired
from olvido.errors import InputError
from olvido.learners import Lora
from olvido.models.tiny import tiny_model
from olvido.training import recipe as adapters

from . import fakes


def flat(model: Any, least: int = 1) -> Any:
    """All distinct weights as one vector."""
    kept = [p.detach().double().numpy().ravel() for p in model.parameters() if p.dim() >= least]
    return np.concatenate(kept)


def test_layers_are_named_in_order(fresh: Any, gpt2: Any) -> None:
    assert list(layers(fresh)) == [
        "model.embed_tokens",
        "model.layers.0",
        "model.layers.1",
        "model.norm",
        "lm_head",
    ]
    assert "transformer.h.1" in layers(gpt2)
    names = [name for group in layers(gpt2).values() for name in group]
    assert names == list(gpt2.state_dict())
    convolution = nn.ModuleDict({"conv1": nn.Conv2d(1, 2, 3), "head": nn.Linear(2, 2)})
    assert layers(convolution) == {
        "conv1": ["conv1.weight", "conv1.bias"],
        "head": ["head.weight", "head.bias"],
    }


def test_an_unchanged_model_did_not_move(fresh: Any) -> None:
    found = change(fakes.unchanged(fresh), fresh)
    assert found.moved == ()
    assert (found.relative, found.share) == (0.0, 0.0)
    assert found.cosine == pytest.approx(1.0)
    assert np.isnan(found.at_the_end)
    assert found.mismatch is None


def test_numbers_are_those_of_numpy(fresh: Any) -> None:
    moved = fakes.noisy(fresh, 0.3)
    found = change(moved, fresh)
    now, then = flat(moved), flat(fresh)
    assert found.relative == pytest.approx(np.linalg.norm(now - then) / np.linalg.norm(then))
    assert found.share == pytest.approx(np.mean(now != then))
    now, then = flat(moved, 2), flat(fresh, 2)
    expected = now @ then / np.linalg.norm(now) / np.linalg.norm(then)
    assert found.cosine == pytest.approx(expected)
    one = next(layer for layer in found.layers if layer.layer == "model.layers.1")
    pairs = [
        (moved.state_dict()[name].numpy(), value.numpy())
        for name, value in fresh.state_dict().items()
        if name.startswith("model.layers.1.")
    ]
    difference = sum(((a - b).astype(float) ** 2).sum() for a, b in pairs)
    old = sum((b.astype(float) ** 2).sum() for _, b in pairs)
    assert one.relative == pytest.approx((difference / old) ** 0.5)
    assert one.share == pytest.approx(
        sum((a != b).sum() for a, b in pairs) / sum(b.size for _, b in pairs)
    )
    assert one.kind == "block"


def test_an_edit_of_the_end_alone_is_seen(fresh: Any) -> None:
    found = change(fakes.last_layer_only(fresh), fresh)
    assert found.moved == ("model.layers.1",)
    assert found.at_the_end == 1.0
    # A step too small to matter everywhere else hides nothing.
    hidden = change(fakes.tiny_update(fakes.last_layer_only(fresh)), fresh)
    assert set(hidden.moved) > {"model.layers.0", "model.layers.1"}
    assert hidden.at_the_end > 0.999
    assert change(fakes.noisy(fresh, 0.3), fresh).at_the_end < 0.7


def test_a_tiny_update_is_tiny(fresh: Any) -> None:
    found = change(fakes.tiny_update(fresh), fresh)
    assert 0 < found.relative < 1e-5
    assert found.cosine == pytest.approx(1.0)


def test_kinds_of_layers(fresh: Any) -> None:
    kinds = {layer.layer: layer.kind for layer in change(fresh, fresh).layers}
    assert kinds == {
        "model.embed_tokens": "below",
        "model.layers.0": "block",
        "model.layers.1": "block",
        "model.norm": "above",
    }
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    bent = copy.deepcopy(plain)
    bent[2].bias.data += 1
    assert change(bent, plain).at_the_end == 1.0
    named = nn.ModuleDict({"body": nn.Linear(3, 4), "head": nn.Linear(4, 2)})
    bent = copy.deepcopy(named)
    bent["head"].bias.data += 1
    assert change(bent, named).at_the_end == 1.0


def test_a_wrapper_hides_no_change(fresh: Any) -> None:
    moved = fakes.last_layer_only(fresh)
    inside, alone = change(fakes.Around(moved), fresh), change(moved, fresh)
    assert inside == alone
    twice = fakes.Around(fresh)
    twice.inner = fakes.Around(moved)
    assert change(twice, fresh) == alone


def test_adapters_count_as_merged(fresh: Any) -> None:
    adapted = adapters.attach(copy.deepcopy(fresh), Lora(rank=2), seed=0)
    assert change(adapted, fresh).moved == ()
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "layers.1" in name and "lora_B" in name:
                weight.normal_(std=0.1)
    found = change(adapted, fresh)
    assert found.moved == ("model.layers.1",)
    assert found.mismatch is None
    merged = copy.deepcopy(adapted).merge_and_unload()
    assert found.relative == pytest.approx(change(merged, fresh).relative, rel=1e-5)


def test_tied_weights_count_once_and_untied_ones_too(fresh: Any) -> None:
    assert [name for name, _, _ in paired(fresh, fresh).pairs].count("lm_head.weight") == 0
    untied = copy.deepcopy(fresh)
    untied.lm_head.weight = nn.Parameter(fresh.lm_head.weight.detach().clone())
    assert change(untied, fresh).moved == ()
    with torch.no_grad():
        untied.lm_head.weight[0] += 1
    found = change(untied, fresh)
    assert found.moved == ("lm_head",)
    assert found.at_the_end == 1.0


def test_buffers_move_too() -> None:
    plain = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    moved = copy.deepcopy(plain)
    moved[1].running_mean += 1
    assert change(moved, plain).moved == ("1",)


def test_another_architecture_is_named(fresh: Any, gpt2: Any) -> None:
    narrow = fakes.other_shape(fresh)
    found = change(narrow, fresh)
    assert found.mismatch is not None
    assert "model.embed_tokens.weight has the shape" in found.mismatch
    assert np.isnan(found.cosine)
    with pytest.raises(InputError, match="made alike"):
        cosine(narrow, fresh)
    assert np.isnan(found.at_the_end)
    deeper = tiny_model(fresh.config.vocab_size, seed=0, width=64, layers=3)
    found = change(deeper, fresh)
    assert "9 weights are new (model.layers.2." in str(found.mismatch)
    assert [layer.layer for layer in found.layers][-1] == "model.norm"
    more = nn.ModuleDict({"body": nn.Linear(2, 2), "filter": nn.Linear(2, 2)})
    less = nn.ModuleDict({"body": more["body"]})
    assert "2 weights are new (filter.weight, filter.bias)" in str(change(more, less).mismatch)
    assert "2 weights are missing" in str(change(less, more).mismatch)


def test_descent_is_told_by_the_references(world: Any) -> None:
    base = world.stranger
    sister, cousin = world.taught(base, world.retain, epochs=1), world.references[0]
    assert descends(sister, base, [base]).other_base is False
    assert descends(cousin, base, [sister]).other_base is True
    # Trained again from other random weights: no claim, no reproach.
    assert descends(cousin, base, [world.references[1]]).other_base is False
    assert descends(cousin, base, []).other_base is False
    other = descends(fakes.other_shape(base), base, [sister])
    assert other.other_base is True
    assert other.mismatch is not None
    assert descends(sister, base, [sister, cousin]).candidate > 0.9
