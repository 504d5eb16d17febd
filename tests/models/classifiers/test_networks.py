"""Networks: determined by name and seed, read again bit by bit, and no code is run unasked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from olvido.errors import InputError
from olvido.models import Ensemble, as_one, load, save
from olvido.models.classifiers.networks import DOCUMENT, FACTORIES, Architecture, Network

SHAPES = {"mlp": "5", "convnet": "3x9x10"}


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_a_network_is_read_again_bit_by_bit(name: str, tmp_path: Path) -> None:
    first = load(f"{name}[{SHAPES[name]},4]", seed=3)
    assert first.digest == load(first.name, seed=3).digest != load(first.name, seed=4).digest
    save(first.model, None, tmp_path / "a")
    again = load(tmp_path / "a")
    assert (again.digest, again.tokenizer) == (first.digest, None)
    inputs = torch.rand(2, *map(int, SHAPES[name].split("x")))
    assert torch.equal(again.model(inputs), first.model(inputs))
    assert first.model(inputs).shape == (2, 4)


def test_an_ensemble_of_networks_is_read_again(tmp_path: Path) -> None:
    members = [load("mlp[5,3]", seed=seed).model for seed in range(3)]
    whole = as_one(members, aggregation="vote")
    save(whole, None, tmp_path / "e")
    again = load(tmp_path / "e").model
    assert isinstance(again, Ensemble)
    inputs = torch.rand(4, 5)
    assert torch.equal(again(inputs), whole(inputs))


def test_a_picture_without_channels_is_one_of_one_channel() -> None:
    flat, whole = (load(f"convnet[{shape},3]", seed=1).model for shape in ("8x8", "1x8x8"))
    inputs = torch.rand(2, 8, 8)
    assert torch.equal(flat(inputs), whole(inputs[:, None]))


CODE = """
from torch import nn
def make(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], classes, bias=False))
def wrong(shape, classes):
    return "no module"
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_nets.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return "some_nets:make"


def test_a_factory_of_ones_own_runs_where_it_is_trusted(nets: str, tmp_path: Path) -> None:
    name = f"{nets}[4,2]"
    with pytest.raises(InputError, match="name it under 'trusted'"):
        load(name)
    assert "some_nets" not in sys.modules
    made = load(name, trusted=[nets], seed=1)
    save(made.model, None, tmp_path / "own")
    with pytest.raises(InputError, match="name it under 'trusted'"):
        load(tmp_path / "own")
    assert load(tmp_path / "own", trusted=[nets]).digest == made.digest
    for other, match in (("some_nets:no", "imported"), ("some_nets:wrong", "a str")):
        with pytest.raises(InputError, match=match):
            load(f"{other}[4,2]", trusted=[other])


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="take mlp"):
        load("convnet[5,2]")
    made = Architecture("mlp", (5,), 2).made()
    made.save_pretrained(tmp_path)
    about = json.loads((tmp_path / DOCUMENT).read_text())
    for change, match in (
        ({"architecture": "mlp[6,2]"}, "not the weights of"),
        ({"architecture": "perceptron[6,2]"}, "none that this version reads"),
        ({"format": "olvido-network/9"}, "none that this version reads"),
    ):
        (tmp_path / DOCUMENT).write_text(json.dumps(about | change))
        with pytest.raises(InputError, match=match):
            load(tmp_path)
    (tmp_path / DOCUMENT).write_text(json.dumps(about))
    torch.save(nn.Linear(5, 2).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="no classifier can be read"):
        load(tmp_path)


def test_names_are_read_as_they_are_written() -> None:
    for text in ("mlp[64,10]", "convnet[3x32x32,10]", "some.nets:make[1x2,3]"):
        assert str(Architecture.read(text)) == text
    for text in ("mlp", "mlp[,10]", "mlp[64]", "other[64,10]", "mlp[64,10]x", "a/b"):
        assert Architecture.read(text) is None
    assert isinstance(load("mlp[3,2]").model, Network)
