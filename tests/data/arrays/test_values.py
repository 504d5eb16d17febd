"""An array comes back from its stored form as it was, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from olvido.data.arrays.values import read_array, stored
from olvido.errors import InputError
from olvido.files import finite


@pytest.mark.parametrize("kind", ["|b1", "|u1", "<i2", "<i8", "<f2", "<f4", "<f8", ">f4", ">i4"])
@pytest.mark.parametrize("shape", [(1,), (3, 2), (2, 1, 4)])
def test_an_array_comes_back_as_it_was(kind: str, shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    for scale in (1.0, 100.0, 1e-30):
        read = read_array((scale * draw.normal(size=shape)).astype(kind))
        again = read_array(finite(stored(read)))
        assert again.shape == read.shape
        assert np.array_equal(again, read)
        assert again.dtype == read.dtype


def test_numbers_lose_nothing_by_fewer_bits() -> None:
    assert stored(np.array([0.5, 3.0]))["dtype"] == "<f4"
    assert stored(np.array([0.1]))["dtype"] == "<f8"


GOOD: dict[str, Any] = {"dtype": "<f4", "shape": [1], "data": "AAAAPw=="}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dtype": "|O"}, "no array of type"),
        ({"dtype": "<U4"}, "no array of type"),
        ({"dtype": "nonsense"}, "cannot be read"),
        ({"dtype": 4}, "must hold numbers"),
        ({"shape": [2]}, "no array of type"),
        ({"shape": [-1]}, "no array of type"),
        ({"shape": [1.0]}, "no array of type"),
        ({"shape": "1"}, "must hold numbers"),
        ({"data": "AAA"}, "cannot be read"),
        ({"data": "ÄAAAPw=="}, "cannot be read"),
        ({"more": 1}, "must hold numbers"),
    ],
)
def test_what_is_no_stored_array_is_refused(change: dict[str, Any], match: str) -> None:
    assert read_array(GOOD).tolist() == [0.5]
    with pytest.raises(InputError, match=match):
        read_array(GOOD | change)
