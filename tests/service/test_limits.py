import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.service.sessions import Buckets


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_a_full_bucket_then_one_at_a_time() -> None:
    clock = Clock()
    buckets = Buckets(3, 10.0, clock)
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a") == pytest.approx(10.0)
    clock.at = 4.0
    assert buckets.take("a") == pytest.approx(6.0)
    assert buckets.take("b") == 0.0
    clock.at = 10.0
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0


@given(st.lists(st.floats(0, 30), max_size=60))
def test_never_more_than_the_bucket_and_what_time_gave(waits: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(5, 2.0, clock)
    let = 0
    for wait in waits:
        clock.at += wait
        let += buckets.take("a") == 0.0
    assert let <= 5 + clock.at / 2.0 + 1e-6


def test_who_asked_the_longest_ago_is_forgotten_first() -> None:
    clock = Clock()
    buckets = Buckets(1, 1e9, clock)
    buckets.take("first")
    for number in range(Buckets.CALLERS):
        buckets.take(str(number))
    assert buckets.take("first") == 0.0
    assert buckets.take(str(Buckets.CALLERS - 1)) > 0


@given(st.lists(st.sampled_from(["take", "give back", "tick"]), max_size=60))
def test_what_is_given_back_never_makes_more_than_a_full_bucket(steps: list[str]) -> None:
    clock = Clock()
    buckets, counted, given = Buckets(3, 2.0, clock), 0, 0
    for step in steps:
        if step == "tick":
            clock.at += 1.0
        elif step == "take":
            counted += buckets.take("a") == 0.0
        else:
            buckets.give_back("a")
            given += 1
    assert counted - given <= 3 + clock.at / 2.0 + 1e-6
    assert sum(buckets.take("a") == 0.0 for _ in range(5)) <= 3
