"""Every record has its place, and keeps it whoever else is gone."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError, UnknownName
from olvido.training.plan import WINDOW, PlannedBatch, SlotPlan

widths = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 40), min_size=1)
plans = st.builds(
    lambda widths, size, accumulate, epochs, seed: SlotPlan(
        tuple(widths), tuple(widths.values()), size, accumulate, epochs, seed
    ),
    widths,
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 5),
)


@st.composite
def plans_with_gone(draw: st.DrawFn) -> tuple[SlotPlan, frozenset[str]]:
    plan = draw(plans.filter(lambda plan: len(plan.slots) > 1))
    gone = draw(st.sets(st.sampled_from(plan.slots), max_size=len(plan.slots) - 1))
    return plan, frozenset(gone)


def epochs(plan: SlotPlan) -> list[list[PlannedBatch]]:
    batches = [batch for step in plan.steps() for batch in step]
    return [
        [batch for batch in batches if batch.step // plan.first_epoch == epoch]
        for epoch in range(plan.epochs)
    ]


@given(plans)
def test_every_record_comes_once_an_epoch(plan: SlotPlan) -> None:
    for batches in epochs(plan):
        assert sorted(i for b in batches for i in b.ids) == sorted(plan.slots)
        assert sum(b.planned for b in batches) == len(plan.slots)


@given(plans)
def test_steps_are_numbered_and_of_the_size_asked_for(plan: SlotPlan) -> None:
    steps = list(plan.steps())
    assert [{b.step for b in step} for step in steps] == [{n} for n in range(plan.total_steps)]
    width = dict(zip(plan.slots, plan.widths, strict=True))
    for batch in (b for step in steps for b in step):
        assert len(batch.ids) == batch.planned <= plan.batch_size
        assert batch.width == max(width[i] for i in batch.ids)
    assert all(len(step) <= plan.accumulate for step in steps)


@given(plans_with_gone())
def test_a_record_taken_out_leaves_a_hole_and_moves_no_other(
    case: tuple[SlotPlan, frozenset[str]],
) -> None:
    plan, gone = case
    left = plan.without(gone)
    assert left.present == tuple(i for i in plan.slots if i not in gone)
    for before, after in zip(plan.steps(), left.steps(), strict=True):
        assert [(b.step, b.width, b.planned) for b in after] == [
            (b.step, b.width, b.planned) for b in before
        ]
        for whole, holed in zip(before, after, strict=True):
            assert holed.ids == tuple(i for i in whole.ids if i not in gone)


@given(plans_with_gone(), st.data())
def test_it_matters_not_in_how_many_requests_they_left(
    case: tuple[SlotPlan, frozenset[str]], data: st.DataObject
) -> None:
    plan, gone = case
    some = data.draw(st.sets(st.sampled_from(sorted(gone)))) if gone else set()
    assert plan.without(some).without(gone - some) == plan.without(gone)
    assert plan.without([]) == plan


@given(plans, st.data())
def test_a_run_goes_on_where_it_stopped(plan: SlotPlan, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, plan.total_steps))
    assert list(plan.steps(start)) == list(plan.steps())[start:]


@given(plans, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_matters_not(plan: SlotPlan, random: Random) -> None:
    pairs = list(zip(plan.slots, plan.widths, strict=True))
    random.shuffle(pairs)
    slots, widths = zip(*pairs, strict=True)
    other = SlotPlan(slots, widths, plan.batch_size, plan.accumulate, plan.epochs, plan.seed)
    assert list(other.steps()) == list(plan.steps())


@given(plans)
def test_the_order_is_that_of_everything_sorted_at_once(plan: SlotPlan) -> None:
    width = dict(zip(plan.slots, plan.widths, strict=True))
    for epoch, found in enumerate(epochs(plan)):

        def key(name: str, epoch: int = epoch) -> bytes:
            said = f"{plan.seed}|{epoch}|{name}".encode()
            return hashlib.blake2b(said, digest_size=16).digest()

        order = sorted(plan.slots, key=key)
        span, size = plan.batch_size * WINDOW, plan.batch_size
        windows = [order[at : at + span] for at in range(0, len(order), span)]
        cut = [sorted(window, key=width.__getitem__) for window in windows]
        batches = [window[at : at + size] for window in cut for at in range(0, len(window), size)]
        batches.sort(key=lambda batch: key(f"batch/{batch[0]}"))
        assert [list(batch.ids) for batch in found] == batches


def plan_of(count: int, *, seed: int = 0, epochs: int = 2) -> SlotPlan:
    return SlotPlan(tuple(map(str, range(count))), (4,) * count, 8, 1, epochs, seed)


def test_seeds_and_epochs_are_shuffled_differently() -> None:
    one, two = list(plan_of(64).steps()), list(plan_of(64, seed=1).steps())
    assert [b.ids for step in one for b in step] != [b.ids for step in two for b in step]
    first, second = epochs(plan_of(64))
    assert [b.ids for b in first] != [b.ids for b in second]


def test_the_digest_covers_the_plan() -> None:
    plan = plan_of(9)
    others = [plan_of(8), plan_of(9, seed=1), plan_of(9, epochs=3), plan.without("3")]
    assert plan.digest == plan_of(9).digest
    assert len({plan.digest, *(other.digest for other in others)}) == 5


def test_strangers_cannot_leave() -> None:
    with pytest.raises(InputError, match=r"2 records to leave out .* \(first: 'a'\)"):
        plan_of(3).without(["1", "b", "a"])


def test_everybody_may_leave() -> None:
    plan = plan_of(3).without("012")
    assert plan.present == ()
    assert [batch.ids for step in plan.steps() for batch in step] == [(), ()]
    assert plan == plan_of(3).without("01").without("2")


@st.composite
def sliced(draw: st.DrawFn) -> SlotPlan:
    """A plan in up to four slices, with some of its records gone in either way."""
    plan = draw(plans)
    numbers = [draw(st.integers(0, 3)) for _ in plan.slots]
    known = {number: n for n, number in enumerate(sorted(set(numbers)))}
    plan = replace(plan, slices=tuple(known[number] for number in numbers))
    for definition in ("drop", "tombstone"):
        gone = draw(st.sets(st.sampled_from(plan.slots), max_size=3))
        plan = plan.without(gone, definition=definition)
    return plan


def stages(plan: SlotPlan) -> list[list[PlannedBatch]]:
    """The forward passes of every stage."""
    ends = (*plan.boundaries, plan.total_steps)
    passes = [batch for step in plan.steps() for batch in step]
    return [[b for b in passes if first <= b.step < end] for first, end in pairwise(ends)]


@given(sliced())
def test_no_slice_is_touched_before_its_stage_and_all_before_it_are_in_every_one(
    plan: SlotPlan,
) -> None:
    found = stages(plan)
    assert len(found) == max(plan.slices) + 1
    slice_of = dict(zip(plan.slots, plan.slices, strict=True))
    for number, batches in enumerate(found):
        rows = [i for batch in batches for i in batch.ids]
        expected = [i for i in plan.present if slice_of[i] <= number]
        assert sorted(rows) == sorted(expected * plan.epochs)
        slots = sum(slice_ <= number for slice_ in plan.slices)
        assert sum(batch.planned for batch in batches) == slots * plan.epochs


@given(sliced())
def test_the_first_use_is_the_first_step_that_holds_any_of_them(plan: SlotPlan) -> None:
    steps = list(plan.steps())
    for some in (plan.slots[:1], plan.slots[-2:], plan.slots, ()):
        holding = [n for n, step in enumerate(steps) if any(set(some) & {*b.rows} for b in step)]
        assert plan.first_use(some) == min(holding, default=plan.total_steps)
    assert plan.first_use(plan.removed) == plan.total_steps


@given(sliced())
def test_a_step_has_its_place_in_its_stage(plan: SlotPlan) -> None:
    ends = (*plan.boundaries, plan.total_steps)
    places = [(n, end - first) for first, end in pairwise(ends) for n in range(end - first)]
    assert [plan.place(step) for step in range(plan.total_steps)] == places


@given(sliced(), st.data())
def test_a_sliced_run_goes_on_where_it_stopped(plan: SlotPlan, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, plan.total_steps))
    assert list(plan.steps(start)) == list(plan.steps())[start:]


@pytest.mark.slow
@given(sliced())
def test_a_blank_keeps_its_row_and_a_hole_does_not(plan: SlotPlan) -> None:
    whole = replace(plan, absent=frozenset(), blank=frozenset())
    for before, after in zip(whole.steps(), plan.steps(), strict=True):
        for full, left in zip(before, after, strict=True):
            stayed = [i for i in full.ids if i not in plan.absent]
            assert left.rows == tuple(None if i in plan.blank else i for i in stayed)
            assert (left.step, left.width, left.planned) == (full.step, full.width, full.planned)
            assert left.ids == tuple(i for i in full.ids if i in plan.present)


@given(sliced(), st.data())
def test_who_has_left_stays_gone_in_the_same_way(plan: SlotPlan, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(plan.slots)))
    left = plan.without(gone, definition="tombstone").without(gone)
    assert left == plan.without(gone, definition="tombstone")
    assert not left.absent & left.blank
    assert left.removed == plan.removed | gone


@given(sliced())
def test_a_plan_comes_back_from_what_it_wrote_down(plan: SlotPlan) -> None:
    again = SlotPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert (again.digest, list(again.steps())) == (plan.digest, list(plan.steps()))


def test_the_layout_is_all_but_who_is_gone() -> None:
    plan = replace(plan_of(6), slices=(0, 0, 0, 1, 1, 1))
    assert plan.without("1").layout == plan.without("2", definition="tombstone").layout
    left = [plan, plan.without("1"), plan.without("1", definition="tombstone")]
    assert len({one.digest for one in left}) == 3
    assert plan.layout != replace(plan, slices=(0, 0, 1, 1, 1, 1)).layout
    assert plan.layout != plan_of(6).layout


def test_there_are_two_ways_to_be_gone() -> None:
    with pytest.raises(UnknownName, match="unknown definition 'tomb': did you mean 'tombstone'"):
        plan_of(3).without("1", definition="tomb")
