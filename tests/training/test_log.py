"""The log is small, and its chain tells two runs apart exactly from where they differ."""

import math
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.learners import Recipe, StepLog, train
from olvido.tasks import Example, Language
from olvido.training.contents import digests_of
from olvido.training.log import ENTRY_BYTES, Log, LoggedStep, beginning, chain_at, linked, said
from olvido.training.plan import PlannedBatch, SlotPlan

START = bytes(range(32))
names = st.text(min_size=1, max_size=3)


@st.composite
def plans(draw: st.DrawFn) -> SlotPlan:
    slots = tuple(draw(st.sets(names, min_size=1, max_size=9)))
    widths = tuple(draw(st.integers(1, 9)) for _ in slots)
    size, accumulate, epochs = (draw(st.integers(1, 3)) for _ in range(3))
    return SlotPlan(slots, widths, size, accumulate, epochs, draw(st.integers(0, 3)))


def contents(plan: SlotPlan, **other: str) -> dict[str, bytes]:
    """A digest for each record; of another content where one is given."""
    return {i: sha256(other.get(i, i).encode()).digest() for i in plan.slots}


def chains(plan: SlotPlan, known: dict[str, bytes], start: bytes = START) -> list[str]:
    found = chain_at(start, plan, known, range(plan.total_steps + 1))
    return [found[step] for step in range(plan.total_steps + 1)]


def shared(plan: SlotPlan, other: SlotPlan) -> int:
    """Steps up to which both plans have the same rows, in the same places."""
    pairs = zip(plan.steps(), other.steps(), strict=True)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), plan.total_steps)


def test_a_pass_takes_at_most_64_bytes() -> None:
    assert ENTRY_BYTES <= 64
    entry = LoggedStep(0xFFFFFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 1e300, 1e30, 1e-30, START)
    log = Log()
    log += [entry]
    assert len(log.packed) == ENTRY_BYTES


@pytest.mark.slow
@given(plans(), st.data())
def test_two_runs_share_a_chain_as_long_as_they_share_every_row(
    plan: SlotPlan, data: st.DataObject
) -> None:
    known = contents(plan)
    first = data.draw(st.sets(st.sampled_from(plan.slots)))
    second = data.draw(st.sets(st.sampled_from(plan.slots)))
    definition = data.draw(st.sampled_from(["drop", "tombstone"]))
    one, other = plan.without(first), plan.without(second, definition=definition)
    same = [a == b for a, b in zip(chains(one, known), chains(other, known), strict=True)]
    common = shared(one, other)
    assert same == [step <= common for step in range(plan.total_steps + 1)]


@given(plans(), st.data())
def test_a_record_of_another_content_is_noticed_from_its_first_use(
    plan: SlotPlan, data: st.DataObject
) -> None:
    record = data.draw(st.sampled_from(plan.slots))
    before, after = chains(plan, contents(plan)), chains(plan, contents(plan, **{record: "other"}))
    first = plan.first_use([record])
    assert [a == b for a, b in zip(before, after, strict=True)] == [
        step <= first for step in range(plan.total_steps + 1)
    ]


def test_the_chain_begins_with_all_that_determines_a_run() -> None:
    plan = SlotPlan(("a", "b", "c"), (4, 5, 6), 2, 1, 2, 0)
    recipe, contract = Recipe().to_dict(), {"threads": "1"}
    given: dict[str, Any] = {
        "origin": "sha256:1",
        "recipe": recipe,
        "seed": 0,
        "plan": plan,
        "contract": contract,
    }
    others = [
        {},
        {"origin": "sha256:2"},
        {"recipe": Recipe(lr=1e-3).to_dict()},
        {"seed": 1},
        {"plan": replace(plan, widths=(4, 5, 7))},
        {"plan": replace(plan, slices=(0, 0, 1))},
        {"contract": {"threads": "2"}},
    ]
    assert len({beginning(**{**given, **other}) for other in others}) == len(others)
    # Not who is gone: up to their first use it is the same run.
    assert beginning(**{**given, "plan": plan.without("a")}) == beginning(**given)


@pytest.mark.parametrize(
    "other",
    [
        {"rows": ("b", "a")},
        {"rows": ("a", None)},
        {"rows": ("a",)},
        {"width": 8},
        {"planned": 3},
        {"step": 1},
    ],
    ids=str,
)
def test_everything_about_a_pass_is_in_its_link(other: dict[str, Any]) -> None:
    batch = PlannedBatch(0, ("a", "b"), 7, 2)
    known = {"a": b"A" * 32, "b": b"B" * 32}
    assert linked(START, said(replace(batch, **other), known)) != linked(START, said(batch, known))
    assert linked(bytes(32), said(batch, known)) != linked(START, said(batch, known))


def test_a_blank_is_a_blank_whomever_it_stands_for() -> None:
    plan = SlotPlan(("a", "b"), (4, 4), 2, 1, 1, 0)
    ((batch,),) = plan.steps()
    gone = plan.without(batch.rows[:1], definition="tombstone")
    ((blanked,),) = gone.steps()
    assert blanked.rows == (None, batch.rows[1])
    # What stood there is not even asked for, and is not taken for what stood nowhere.
    stayed = str(batch.rows[1])
    found = linked(START, said(blanked, {stayed: b"B" * 32}))
    assert found != linked(START, said(replace(batch, rows=(stayed,)), {stayed: b"B" * 32}))
    turned = replace(batch, rows=(stayed, None))
    assert found != linked(START, said(turned, {stayed: b"B" * 32}))


entries = st.builds(
    LoggedStep,
    step=st.integers(0, 5),
    planned=st.integers(1, 9),
    rows=st.integers(0, 9),
    width=st.integers(1, 99),
    loss=st.floats(0, 9),
    seconds=st.floats(0, 9, width=32),
    rate=st.floats(0, 1, width=32),
    chain=st.binary(min_size=32, max_size=32),
)


@given(st.lists(entries, max_size=9).map(lambda found: sorted(found, key=lambda e: e.step)))
def test_what_was_logged_is_read(found: list[LoggedStep]) -> None:
    log = Log() + found[:3] + found[3:]
    assert list(log) == found
    assert len(log) == len(found)
    assert log == Log(log.packed)
    assert log.end == (found[-1].chain.hex() if found else "")
    assert log.tokens == sum(entry.rows * entry.width for entry in found)
    steps = sorted({entry.step for entry in found})
    done = {s: [e.loss for e in found if e.step == s and e.rows] for s in steps}
    assert log.losses == tuple(sum(done[s]) if done[s] else None for s in steps)


@given(st.lists(entries, min_size=1, max_size=4), st.data())
def test_the_digest_notices_every_altered_bit(found: list[LoggedStep], data: st.DataObject) -> None:
    log = Log() + found
    content = bytearray(log.packed)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert Log(bytes(content)).digest != log.digest
    assert Log(log.packed[:-1]).digest != log.digest


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_logs_the_chain_that_its_plan_foretells(
    small: Any, few: tuple[Example, ...], task: Language, accumulate: int
) -> None:
    recipe = Recipe(epochs=2, batch_size=4, lr=1e-3, accumulate=accumulate)
    log = train(small, records=few, task=task, recipe=recipe, seed=2).trace
    assert isinstance(log, StepLog)
    plan, known = log.plan, digests_of(few, task)
    assert [entry.step for entry in log.log] == [b.step for step in plan.steps() for b in step]
    ends = {entry.step + 1: entry.chain.hex() for entry in log.log}
    found = chain_at(log.spec.beginning, plan, known, range(1, plan.total_steps + 1))
    assert found == ends
    assert found[plan.total_steps] == log.log.end
    for entry in log.log:
        assert (entry.seconds > 0, math.isfinite(entry.loss)) == (True, True)
        assert entry.rate == pytest.approx(recipe.rate(entry.step, plan.total_steps), rel=1e-6)
    # Of another content, the records would have given another end.
    other = (replace(few[0], completion="else"), *few[1:])
    last = chain_at(log.spec.beginning, plan, digests_of(other, task), [plan.total_steps])
    assert last[plan.total_steps] != log.log.end
