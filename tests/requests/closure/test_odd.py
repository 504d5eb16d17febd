"""No file ends a closure in an error, whatever is odd about it: it is named, or it is nothing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.requests.closure.towns import Town

DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"


def _head(said: str) -> bytes:
    return len(said).to_bytes(8, "little") + said.encode() + bytes(8)


def _tensor(about: object) -> bytes:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return _head(json.dumps({"__metadata__": about, "w": one}))


def _saved(make: Callable[[], torch.Tensor]) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        with warnings.catch_warnings():
            # Of some kinds torch says that they are new.
            warnings.simplefilter("ignore")
            torch.save({"w": make()}, path)

    return save


ODD: dict[str, Callable[[Path], object]] = {
    "conjugate.pt": _saved(lambda: torch.randn(4, dtype=torch.cfloat).conj()),
    "negative.pt": _saved(lambda: torch.randn(4, dtype=torch.cfloat).conj().imag),
    "nested.pt": _saved(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
    "sparse.pt": _saved(lambda: torch.eye(3).to_sparse()),
    "rows.pt": _saved(lambda: torch.eye(3).to_sparse_csr()),
    "none.safetensors": lambda path: path.write_bytes(_tensor(None)),
    "list.safetensors": lambda path: path.write_bytes(_tensor([1])),
    "number.dat": lambda path: path.write_bytes(_tensor({"a": 7})),
    "deep.safetensors": lambda path: path.write_bytes(_head(DEEP)),
}
NOTES = (
    "deep.json",
    "index.json",
    "plan.json",
    "models/new/olvido.json",
    "models/never/vocab.json",
)


def test_odd_tensors_are_named_and_end_nothing(town: Town) -> None:
    for name, write in ODD.items():
        write(town.folder / name)
    found = {item.partition(":")[2] for item in town.found()}
    assert ODD.keys() <= found


@pytest.mark.parametrize("name", NOTES)
def test_what_lies_too_deep_ends_nothing(town: Town, name: str) -> None:
    (town.folder / name).write_text(DEEP)
    assert f"model:{town.models['old'].id}" in town.found()
