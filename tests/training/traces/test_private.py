"""The trace of a private training: how many units a request is about."""

import random

import pytest

from olvido.tasks import Example
from olvido.training.private.accounting import Spent
from olvido.training.private.sampling import units_of
from olvido.training.traces.private import PrivateRun


def run_of(records: tuple[str, ...], unit: str) -> PrivateRun:
    spent = Spent(
        epsilon=1.0, delta=1e-3, unit=unit, units=9, accountant="rdp", rate=0.1, noise=2.0,
        clip=1.0, steps=10, most=8,
    )  # fmt: skip
    return PrivateRun(records, spent=spent, contract={}, took=1.0, expected=1)


@pytest.mark.parametrize("unit", ["subject", "record"])
@pytest.mark.parametrize("seed", range(20))
def test_units_are_counted_as_they_come_and_go_when_records_are_left_out(
    unit: str, seed: int
) -> None:
    """Against the units of the training with the records and without them."""
    chance = random.Random(seed)
    records = [
        Example(str(n), "", "x", {"subjects": chance.sample("ABCDE", chance.choice((0, 1, 1, 2)))})
        for n in range(14)
    ]
    learned = units_of(records, unit).records
    present = [record for record in records if record.id in learned]
    asked = set(chance.sample([record.id for record in records], 5))

    def units(without: set[str]) -> set[frozenset[str]]:
        left = [record for record in present if record.id not in without]
        return set(map(frozenset, units_of(left, unit).members))

    people = {record.id: record.subjects for record in records}
    found = run_of(learned, unit).units_with(asked, people)
    assert found == len(units(set()) ^ units(asked))


def test_a_person_is_one_unit_and_a_part_of_their_records_two() -> None:
    people = {"1": ("Ada",), "2": ("Ada",), "3": ("Bo",), "left out": ("Ada", "Bo")}
    run = run_of(("1", "2", "3"), "subject")
    assert run.units_with(["1", "2", "left out"], people) == 1
    assert run.units_with(["1"], people) == 2
    assert run.units_with(["left out"], people) == 0
    assert run_of(("1", "2", "3"), "record").units_with(["1", "2"], people) == 2
