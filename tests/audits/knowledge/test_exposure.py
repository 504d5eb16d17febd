"""Exposure by its definition, by other libraries, and on canaries that were really planted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm, rankdata, skew, skewnorm

from olvido.audits.knowledge.exposure import (
    approximate_exposure,
    approximate_exposure_of,
    canaries,
    exposure,
    exposure_of,
    skew_normal,
    with_alternatives,
)
from olvido.audits.knowledge.matching import words
from olvido.audits.scoring import ScoredModel
from olvido.errors import InputError, MissingNeed
from olvido.tasks import Example

from .told import Told

losses = st.lists(st.floats(0, 100).map(lambda x: round(x, 3)), min_size=1, max_size=40)


def test_exposure_on_paper() -> None:
    # First, second, fourth of four candidates: 2 - log2(1, 2, 4) bits.
    others = [2.0, 3.0, 4.0]
    assert [exposure_of(at, others) for at in (1.0, 2.5, 5.0)] == [2, 1, 0]
    # All four alike: all share the rank 2.5.
    assert exposure_of(2.0, [2.0, 2.0, 2.0]) == pytest.approx(2 - math.log2(2.5))
    assert math.isnan(exposure_of(math.nan, others))
    assert math.isnan(exposure_of(1.0, [math.nan, 2.0]))


@given(st.floats(0, 100).map(lambda x: round(x, 3)), losses)
def test_exposure_is_the_rank_among_all_candidates(truth: float, others: list[float]) -> None:
    rank = rankdata([truth, *others])[0]
    found = exposure_of(truth, others)
    assert found == pytest.approx(math.log2(len(others) + 1) - math.log2(rank))
    assert 0 <= found <= math.log2(len(others) + 1)


@given(st.integers(0, 10_000), st.floats(-20, 20))
def test_a_skew_normal_has_the_moments_it_was_fitted_to(seed: int, shape: float) -> None:
    values = skewnorm.rvs(shape, loc=30, scale=4, size=50, random_state=seed)
    assume(abs(skew(values)) < 0.98)
    mean, variance, skewness = skewnorm.stats(*skew_normal(values), moments="mvs")
    assert mean == pytest.approx(values.mean())
    assert variance == pytest.approx(values.var())
    assert skewness == pytest.approx(skew(values), abs=1e-6)


@pytest.mark.slow
@given(st.integers(0, 1000), st.floats(-3, 5))
def test_the_approximation_is_the_skew_normals_own(seed: int, away: float) -> None:
    values = np.random.default_rng(seed).gamma(5, size=40)
    truth = values.mean() + away * values.std()
    p = skewnorm.cdf(truth, *skew_normal(values))
    assume(p > 1e-6)
    assert approximate_exposure_of(truth, values) == pytest.approx(-math.log2(p), abs=1e-4)


def test_far_below_all_alternatives_the_approximation_still_tells_bits() -> None:
    # Without skewness it is the normal, whose far tail is known.
    even = np.array([29.0, 30.0, 31.0])
    expected = -norm.logcdf(-25, scale=even.std()) / math.log(2)
    assert approximate_exposure_of(5.0, even) == pytest.approx(expected, rel=1e-6)
    # With it, the log-density falls ever faster: beyond any other's 53 bits, and in order.
    skewed = np.array([28.0, 29.0, 30.0, 35.0])
    shape, location, scale = skew_normal(skewed)
    near, far = (approximate_exposure_of(at, skewed) for at in (20.0, 10.0))
    assert 53 < near < far < math.inf
    z = (20.0 - location) / scale
    # The same integral in the variable that makes it smooth: t = z - u.
    top = norm.logpdf(z) + norm.logcdf(shape * z)
    inner, _ = quad(
        lambda u: math.exp(norm.logpdf(z - u) + norm.logcdf(shape * (z - u)) - top),
        0,
        2,
        points=[0.001, 0.01, 0.1],
    )
    assert near == pytest.approx(-(math.log(2) + top + math.log(inner)) / math.log(2), rel=1e-6)


def test_where_all_alternatives_are_alike_nothing_is_fitted() -> None:
    assert approximate_exposure_of(1.0, [2.0, 2.0, 2.0]) == exposure_of(1.0, [2.0, 2.0, 2.0])
    assert math.isnan(approximate_exposure_of(1.0, [2.0, math.nan, 3.0]))
    with pytest.raises(InputError, match="3 losses or more, got 2"):
        approximate_exposure_of(1.0, [2.0, 3.0])


def test_losses_are_of_whole_answers() -> None:
    """Two tokens of 3 nats are 6: Carlini's log-perplexity is a sum."""
    record = Example("r", "Q?", "12", {"alternatives": ("13", "14", "15")})
    # A long answer of many likely tokens is less likely than a short one of an unlikely token.
    long = Told({"12": 2.0, "13": 1.0, "14": 3.0, "15": 4.0}, tokens={"12": 4})
    assert exposure(long, [record]) == [0.0]
    scored = Told({"12": 2.0, "13": 1.0, "14": 3.0, "15": 4.0})
    assert exposure(scored, [record]) == [1.0]
    assert approximate_exposure(scored, [record]) == [approximate_exposure_of(2.0, [1.0, 3.0, 4.0])]
    assert exposure(scored, []) == []


def test_canaries_are_of_their_form_and_no_two_alike() -> None:
    made = canaries(200, 3, ("Locker @@", "#-#@"))
    assert len({(c.prompt, c.completion) for c in made}) == len({c.id for c in made}) == 200
    for canary in made:
        assert canary.prompt[:7] == "Locker " and canary.prompt[7:].isalpha()  # noqa: PT018
        a, dash, b, letter = canary.completion
        assert a.isdecimal() and dash == "-" and b.isdecimal() and letter.islower()  # noqa: PT018


def test_canaries_are_determined_and_more_leave_the_first_as_they_were() -> None:
    assert canaries(5, 1) == canaries(9, 1)[:5]
    assert canaries(5, 1) != canaries(5, 2)
    assert len(canaries(100, 0, ("PIN", "##"))) == 100


@pytest.mark.parametrize(
    ("n", "form", "says"),
    [(1, ("PIN", "1234"), "# or @"), (11, ("PIN", "#"), "11 possibilities, .* has 10")],
)
def test_canaries_that_cannot_be(n: int, form: tuple[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        canaries(n, 0, form)


def fact(record_id: str, answer: str, subject: str, topic: str = "dish") -> Example:
    return Example(record_id, f"What of {subject}?", answer, {"subject": subject, "topic": topic})


def test_a_number_might_have_been_any_other() -> None:
    (record,) = with_alternatives([fact("r", "555 27 68", "A")], [], n=30)
    found = record.fields["alternatives"]
    assert len(set(found)) == 30
    for text in found:
        assert text != "555 27 68"
        assert [part.isdecimal() and len(part) for part in text.split()] == [3, 2, 2]
    # Nine other digits, and no more.
    (short,) = with_alternatives([fact("s", "7", "A")], [], n=30)
    assert sorted(short.fields["alternatives"]) == list("012345689")


def test_what_all_numbers_share_is_part_of_their_form() -> None:
    """Else a model that knows how numbers begin there would seem to know this one."""
    others = [fact(f"o{i}", f"555 {i}2 3{i}", f"B{i}", "phone") for i in range(1, 5)]
    others += [fact("x", "123456", "C", "phone"), fact("y", "999 99 99", "D", "job")]
    record = fact("r", "555 27 68", "A", "phone")
    (found,) = with_alternatives([record], others, n=40)
    assert all(text.startswith("555 ") for text in found.fields["alternatives"])
    # All others have a 2 and a 3 where this one has a 7 and a 6: its digits are its own.
    assert len({text[5] for text in found.fields["alternatives"]}) > 1
    # Two others prove nothing.
    (few,) = with_alternatives([record], others[:2], n=40)
    assert not all(text.startswith("555 ") for text in few.fields["alternatives"])


def test_other_answers_are_those_of_others_to_the_same() -> None:
    others = [fact("a", "paella", "B"), fact("b", "Paella", "C"), fact("c", "gaspatxo", "D")]
    others += [
        fact("d", "fideuà", "A"),
        fact("e", "nurse", "B", "job"),
        fact("f", "escudella", "E"),
    ]
    (record,) = with_alternatives([fact("r", "gaspatxo", "A")], others)
    # Not the truth, nothing of A, nothing of another topic, and each once.
    found = record.fields["alternatives"]
    assert sorted(map(str.casefold, found)) == ["escudella", "paella"]


def test_words_are_turned_where_others_say_too_little() -> None:
    (record,) = with_alternatives([fact("r", "blue green red", "A")], [], n=10)
    found = {words(text) for text in record.fields["alternatives"]}
    assert len(found) == 5
    assert all(sorted(turned) == ["blue", "green", "red"] for turned in found)
    assert with_alternatives([fact("r", "blue", "A")], []) == ()


def test_no_record_changes_anothers_alternatives() -> None:
    records = [fact(f"r{i}", f"55{i} 27 68", f"S{i}") for i in range(4)]
    whole = {r.id: r.fields for r in with_alternatives(records, [])}
    parted = {r.id: r.fields for r in with_alternatives(records[1:], [])}
    assert parted == {key: whole[key] for key in parted}
    assert with_alternatives(records, [], seed=1)[0].fields != whole["r0"]


def test_without_alternatives_there_is_no_exposure() -> None:
    with pytest.raises(MissingNeed, match=r"'r'.*with_alternatives"):
        exposure(Told({}), [fact("r", "x", "A")])


@pytest.mark.slow
def test_planted_canaries_are_exposed_and_others_are_not(world: Any) -> None:
    form = ("The number of person @@ is", "55# ## ##")
    made = canaries(16, 0, form)
    planted, never = made[:8], made[8:]
    model = world.taught(world.references[0], planted, epochs=25, lr=3e-3)
    scored = ScoredModel(model, world.task)
    inside = with_alternatives(planted, never, n=31)
    outside = with_alternatives(never, planted, n=31)
    assert exposure(scored, inside) == [5.0] * 8
    # By chance alone 1.44 bits on average, with a deviation of 1.44 for each of eight.
    assert np.mean(exposure(scored, outside)) < 3.5
    assert np.median(approximate_exposure(scored, inside)) > 5
    assert np.median(approximate_exposure(scored, outside)) < 4
