"""Nobody is in two units, and everybody is drawn by a coin of their own."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import UnknownName
from olvido.tasks import Example
from olvido.training.private.sampling import Poisson, Secret, Units, units_of


def record(name: int, people: list[str]) -> Example:
    return Example(str(name), "", "x", {"subjects": people})


named = st.lists(st.lists(st.sampled_from("abcdef"), max_size=3), min_size=1, max_size=12)


@given(named)
def test_each_person_is_a_whole_unit_or_in_none(people: list[list[str]]) -> None:
    """Removing all records that name a person removes one unit, or nothing."""
    records = [record(n, some) for n, some in enumerate(people)]
    units = units_of(records, "subject")
    ids = [i for unit in units.members for i in unit]
    assert sorted([*ids, *units.dropped]) == sorted(r.id for r in records)
    for person in "abcdef":
        theirs = {r.id for r in records if person in r.subjects}
        touched = [unit for unit in units.members if theirs.intersection(unit)]
        assert len(touched) <= 1
        assert all(theirs.issuperset(unit) for unit in touched)
    # No more is dropped than has to be: what is dropped shares a person with a unit.
    kept = {who for unit in units.members for i in unit for who in people[int(i)]}
    assert all(kept.intersection(people[int(i)]) for i in units.dropped)


def test_records_about_nobody_are_units_of_their_own() -> None:
    records = [record(0, []), record(1, ["Ada"]), record(2, []), record(3, ["Ada"])]
    assert units_of(records, "subject").members == (("1", "3"), ("0",), ("2",))
    assert units_of(records, "record").members == (("0",), ("1",), ("2",), ("3",))
    with pytest.raises(UnknownName):
        units_of(records, "person")


UNITS = Units(tuple(tuple(f"{u}.{k}" for k in range(u % 4 + 1)) for u in range(40)))


def test_draws_are_independent_coins_and_may_be_empty() -> None:
    plan = Poisson(UNITS, batch=2, epochs=50, most=2)
    assert (plan.rate, plan.total_steps) == (0.05, 1000)
    drawn = list(plan.steps(Secret()))
    sizes = np.array([len(step) for step in drawn])
    # A binomial of 40 coins: mean 2, variance 1.9; empty with a chance of 0.129.
    assert abs(sizes.mean() - 2) < 6 * (1.9 / 1000) ** 0.5
    assert abs(sizes.var() - 1.9) < 0.6
    assert abs((sizes == 0).mean() - 0.129) < 0.07
    whole = {ids for step in drawn for ids in step}
    assert {len(ids) for ids in whole} == {1, 2}
    # Of three and four records, each pair comes up.
    assert sum(ids[0].startswith("3.") for ids in whole) == 6


def test_all_are_drawn_where_a_step_expects_as_many() -> None:
    plan = Poisson(UNITS, batch=100, epochs=3, most=9)
    assert (plan.rate, plan.expected, plan.total_steps) == (1.0, 40.0, 3)
    assert [len(step) for step in plan.steps(Secret())] == [40, 40, 40]


def test_randomness_is_fresh_unless_a_seed_is_chosen_and_is_never_written() -> None:
    plan = Poisson(UNITS, batch=20, epochs=2, most=2)
    runs = [list(plan.steps(secret)) for secret in (Secret(), Secret(), Secret(7), Secret(7))]
    assert runs[0] != runs[1]
    assert runs[2] == runs[3]
    assert runs[0][0] != runs[0][1]
    seeds = {Secret(7).seed(step, what) for step in range(9) for what in ("noise", "draws")}
    assert len(seeds) == 18
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(Secret())


def test_noise_has_more_than_the_32_bits_that_torch_reads_of_a_seed() -> None:
    """Else a step's noise is found by trying all seeds on a weight that no record touches."""
    secret, cpu = Secret(7), torch.device("cpu")
    made = secret.generator(3, "noise", cpu)
    same = np.random.MT19937(secret.seed(3, "noise", 256))
    same.random_raw(1)  # NumPy begins with the last word of its state.
    drawn = torch.empty(2000, dtype=torch.int32).random_(generator=made).numpy()
    assert (drawn == (same.random_raw(2000) & 0x7FFFFFFF)).all()
    few = torch.Generator().manual_seed(secret.seed(3, "noise") & 0xFFFFFFFF)
    fresh = secret.generator(3, "noise", cpu)
    normals = [torch.empty(2000).normal_(generator=one) for one in (few, fresh)]
    assert not torch.equal(*normals)
    assert abs(float(normals[1].mean())) < 0.12
    assert abs(float(normals[1].std()) - 1) < 0.08
