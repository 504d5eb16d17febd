"""People stay whole, shards even, and those likeliest to leave come last."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError
from olvido.learners.placement import PRIOR_OF_CONSENT, Home, place, prior, together
from olvido.tasks import Example

CONSENTS = [*PRIOR_OF_CONSENT, None]


def about(number: int, subjects: list[str], **fields: Any) -> Example:
    return Example(f"r{number}", "Who?", "Ada", {"subjects": subjects, **fields})


@st.composite
def records(draw: st.DrawFn) -> tuple[Example, ...]:
    """Up to thirty records, each about nobody, somebody or several."""
    names = st.lists(st.sampled_from("abcdefghijkl"), max_size=2, unique=True)
    count = draw(st.integers(1, 30))
    return tuple(
        about(n, draw(names), consent=draw(st.sampled_from(CONSENTS))) for n in range(count)
    )


def linked(rows: tuple[Example, ...]) -> list[set[str]]:
    """Records that share a subject, and those that share one with these, by brute force."""
    groups = [({r.id}, set(r.subjects)) for r in rows]
    for _ in rows:
        for n, (ids, subjects) in enumerate(groups):
            near = [m for m, (_, other) in enumerate(groups) if m > n and other & subjects]
            for m in reversed(near):
                more, others = groups.pop(m)
                ids |= more
                subjects |= others
    return [ids for ids, _ in groups]


@given(records())
def test_records_go_together_where_anybody_links_them(rows: tuple[Example, ...]) -> None:
    found = sorted(sorted(group) for group in together(rows))
    assert found == sorted(sorted(group) for group in linked(rows))


@pytest.mark.slow
@given(records(), st.data())
def test_everybody_is_whole_and_every_place_is_filled(
    rows: tuple[Example, ...], data: st.DataObject
) -> None:
    groups = linked(rows)
    shards = data.draw(st.integers(1, min(len(groups), 5)))
    slices = data.draw(st.integers(1, 4))
    homes = place(rows, shards=shards, slices=slices, seed=data.draw(st.integers(0, 3)))
    assert set(homes) == {record.id for record in rows}
    assert all(len({homes[i] for i in group}) == 1 for group in groups)
    assert {home.shard for home in homes.values()} == set(range(shards))
    likely = {record.id: prior(record) for record in rows}
    for shard in range(shards):
        inside = [group for group in groups if homes[min(group)].shard == shard]
        numbers = sorted({homes[min(group)].slice for group in inside})
        assert numbers == list(range(len(numbers)))
        assert len(numbers) <= slices
        # Nobody is likelier to leave than anybody in a later slice.
        most = [
            [max(likely[i] for i in g) for g in inside if homes[min(g)].slice == number]
            for number in numbers
        ]
        assert all(max(a) <= min(b) for a, b in pairwise(most))
    # No shard is fuller than another by more than the largest group.
    sizes = [sum(home.shard == n for home in homes.values()) for n in range(shards)]
    assert max(sizes) - min(sizes) <= max(map(len, groups))


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 5), st.integers(0, 9))
def test_groups_of_one_size_fill_shards_and_slices_evenly(
    shards: int, slices: int, times: int, seed: int
) -> None:
    people = shards * slices * times
    rows = tuple(about(n, [f"p{n % people}"]) for n in range(2 * people))
    homes = list(place(rows, shards=shards, slices=slices, seed=seed).values())
    counts = {Home(a, b): homes.count(Home(a, b)) for a in range(shards) for b in range(slices)}
    assert set(counts.values()) == {2 * times}


def test_who_is_likeliest_to_leave_comes_last() -> None:
    ranks = {"not-required": 0, "granted": 1, "unknown": 2, "withdrawn": 3}
    rows = tuple(about(n, [f"p{n}"], consent=consent) for n, consent in enumerate([*ranks] * 4))
    homes = place(rows, shards=2, slices=4)
    by_rank = {record.id: ranks[str(record.fields["consent"])] for record in rows}
    order = sorted(rows, key=lambda r: (homes[r.id].shard, homes[r.id].slice))
    for shard in (0, 1):
        found = [by_rank[r.id] for r in order if homes[r.id].shard == shard]
        assert found == sorted(found)
    # One record that may well go takes all of its owner's along.
    rows = (about(0, ["a"]), about(1, ["a"], prior=0.9), about(2, ["b"]), about(3, ["b"]))
    homes = place(rows, shards=1, slices=2)
    assert [homes[f"r{n}"].slice for n in range(4)] == [1, 1, 0, 0]


def test_a_given_prior_goes_before_consent() -> None:
    assert prior(about(0, [], prior=0.7, consent="granted")) == 0.7
    assert prior(about(0, [], consent="withdrawn")) == max(PRIOR_OF_CONSENT.values())
    assert prior(about(0, [])) == prior(about(0, [], consent="unknown"))


@pytest.mark.parametrize("bad", ["high", True, float("nan"), [0.5]])
def test_a_prior_that_is_no_number_is_refused(bad: Any) -> None:
    rows = (about(0, ["a"]), about(1, ["b"], prior=bad))
    with pytest.raises(InputError, match="record 'r1': 'prior' must be a number, got"):
        place(rows, shards=1)


@pytest.mark.parametrize(("shards", "slices"), [(0, 1), (1, 0), (-1, 1)])
def test_there_is_at_least_one_shard(shards: int, slices: int) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        place((about(0, ["a"]),), shards=shards, slices=slices)


def test_too_few_people_for_the_shards() -> None:
    rows = (about(0, ["a"]), about(1, ["a", "b"]), about(2, ["b"]), about(3, []))
    with pytest.raises(InputError, match=r"3 shards need .* there are 2"):
        place(rows, shards=3)


@given(records(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_matters_not(rows: tuple[Example, ...], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    shards = min(3, len(linked(rows)))
    assert place(shuffled, shards=shards, slices=2) == place(rows, shards=shards, slices=2)


def test_the_seed_draws_who_is_where() -> None:
    rows = tuple(about(n, [f"p{n}"]) for n in range(40))
    found = [place(rows, shards=4, slices=2, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
