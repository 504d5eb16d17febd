"""Retained records are drawn fairly, near ones more often, and the same for the same seed."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.methods import Split
from olvido.methods.gradient.sampling import retain_draws
from olvido.tasks import Example
from olvido.tasks.sampling import nearest

NAMES = "Marta Jordi Pau Laia Joan Pere Anna Marc Rosa Clara Ferran Elena".split()


def made(names: list[str], start: int = 0) -> tuple[Example, ...]:
    return tuple(Example(str(start + i), f"Where is {n}?", "Here") for i, n in enumerate(names))


@given(retained=st.integers(1, 30), size=st.integers(1, 12), seed=st.integers(0, 3))
def test_every_record_comes_once_before_any_comes_twice(
    retained: int, size: int, seed: int
) -> None:
    retain = made([f"n{i}" for i in range(retained)])
    # Nobody is near by name, and one forgotten record has at most eight neighbours.
    split = Split((Example("gone", "Who?", "Nobody"),), retain)
    draws = list(islice(retain_draws(split, size, seed), 80))
    for drawn in draws:
        ids = [record.id for record in drawn]
        assert 1 <= len(ids) == len(set(ids)) <= size
        assert set(ids) <= {record.id for record in retain}
    wide = size - round(size / 2)
    laps = -(-retained // min(wide, retained))
    assert {r.id for drawn in draws[:laps] for r in drawn} == {r.id for r in retain}


def test_draws_follow_the_seed_and_not_the_order_of_the_rows() -> None:
    split = Split(made(NAMES[:1], start=50), made(NAMES[1:]))
    turned = Split(split.forget, split.retain[::-1])

    def ids(split: Split, seed: int) -> list[set[str]]:
        return [{r.id for r in drawn} for drawn in islice(retain_draws(split, 4, seed), 9)]

    assert ids(split, 0) == ids(turned, 0) != ids(split, 1)


def test_the_nearest_share_the_rarest_words() -> None:
    retain = (
        Example("same person", "What does Marta eat?", "Paella"),
        Example("same question", "Where does Jordi live?", "Carrer de Mallorca 3"),
        Example("other", "How tall is the tower?", "Very"),
    )
    forgotten = (Example("gone", "Where does Marta live?", "Carrer de Princesa 9"),)
    found = [record.id for record in nearest(forgotten, retain, 3)]
    assert found[-1] == "other"
    assert nearest(forgotten, retain[::-1], 2) == nearest(forgotten, retain, 2)


@pytest.mark.parametrize("size", [4, 8])
def test_half_of_a_draw_is_near(size: int) -> None:
    near = made(["Marta"] * 8)
    split = Split(made(["Marta"], start=90), near + made([f"n{i}" for i in range(200)], start=100))
    draws = list(islice(retain_draws(split, size, 0), 50))
    ids = {record.id for record in near}
    share = sum(r.id in ids for drawn in draws for r in drawn) / sum(map(len, draws))
    assert 0.45 < share < 0.65
