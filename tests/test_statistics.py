"""Intervals cover what they promise to cover, and the AUC is the AUC."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact
from sklearn.metrics import roc_auc_score

from olvido import statistics
from olvido.audits.compare import Question, with_never_trained
from olvido.audits.tolerances import RECALL
from olvido.statistics import (
    Values,
    auc,
    by_luck,
    chance,
    clusters_of,
    excess_draws,
    holm,
    limits,
    tail,
)
from olvido.tasks import Example, examples


def excess_interval(*given: Any, **seed: int) -> tuple[float, float]:
    return limits(excess_draws(*given, **seed))


# Few distinct values, so that ties are common.
SCORES = st.lists(
    st.integers(-3, 3).map(lambda n: n / 2) | st.floats(-1e6, 1e6), min_size=1, max_size=30
)


@given(members=SCORES, others=SCORES)
def test_auc_is_that_of_sklearn(members: list[float], others: list[float]) -> None:
    labels = [1] * len(members) + [0] * len(others)
    expected = roc_auc_score(labels, members + others)
    assert auc(np.array(members), np.array(others)) == pytest.approx(expected, abs=1e-12)


@given(members=SCORES, others=SCORES)
def test_auc_turned_around_is_its_complement(members: list[float], others: list[float]) -> None:
    there, back = (
        auc(np.array(members), np.array(others)),
        auc(np.array(others), np.array(members)),
    )
    assert there + back == pytest.approx(1)


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_clusters_divide_the_probes(keys: list[str]) -> None:
    clusters = clusters_of(keys)
    assert sorted(i for cluster in clusters for i in cluster.tolist()) == list(range(len(keys)))
    assert [{keys[i] for i in cluster} for cluster in clusters] == [
        {key} for key in dict.fromkeys(keys)
    ]


def test_the_interval_of_a_known_difference_covers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 seeded experiments with a true excess of 0.5, about 95% hold it.

    The percentile bootstrap of 40 facts falls a little short of its level; 0.90 to 0.985 is that
    and three standard errors of 300 draws.
    """
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    draw = np.random.default_rng(0)
    clusters = clusters_of([str(i) for i in range(40)])
    held = 0
    for _ in range(300):
        reference = draw.normal(0.0, 1.0, 40)
        candidate = draw.normal(0.5, 1.0, 40)
        low, high = excess_interval(candidate, [reference], clusters)
        held += low <= 0.5 <= high
    assert 0.90 <= held / 300 <= 0.985


def test_asking_the_same_facts_again_proves_no_more() -> None:
    draw = np.random.default_rng(1)
    candidate, reference = draw.normal(0.3, 1.0, 25), draw.normal(0.0, 1.0, 25)
    keys = [str(i) for i in range(25)]
    once = excess_interval(candidate, [reference], clusters_of(keys))
    four_times = excess_interval(
        np.tile(candidate, 4), [np.tile(reference, 4)], clusters_of([*keys * 4])
    )
    assert four_times == pytest.approx(once)
    as_if_independent = excess_interval(
        np.tile(candidate, 4), [np.tile(reference, 4)], clusters_of([str(i) for i in range(100)])
    )
    assert as_if_independent[1] - as_if_independent[0] < 0.6 * (once[1] - once[0])


def test_references_that_disagree_widen_the_interval() -> None:
    draw = np.random.default_rng(2)
    candidate = draw.normal(0.0, 0.1, 30)
    clusters = clusters_of([str(i) for i in range(30)])
    agreeing = [np.zeros(30), np.zeros(30), np.zeros(30)]
    quarrelling = [np.full(30, -1.0), np.zeros(30), np.full(30, 1.0)]
    narrow, wide = (excess_interval(candidate, r, clusters) for r in (agreeing, quarrelling))
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_the_interval_is_the_same_every_time() -> None:
    draw = np.random.default_rng(3)
    values, others = draw.normal(size=20), [draw.normal(size=20), draw.normal(size=20)]
    clusters = clusters_of([str(i // 2) for i in range(20)])
    first = excess_interval(values, others, clusters)
    assert excess_interval(values, others, clusters) == first
    assert excess_interval(values, others, clusters, seed=1) != first


def test_not_a_number_stays_one() -> None:
    values = np.array([0.0, np.nan, 1.0])
    low, high = excess_interval(values, [np.zeros(3)], clusters_of(["a", "b", "c"]))
    assert np.isnan([low, high]).all()
    assert np.isnan(auc(values, np.zeros(2)))


def world_of(
    draw: np.random.Generator, references: int, *, people: int = 12, left: float = 0.0
) -> tuple[Values, Values]:
    """Values of models whose seeds shift everybody, and people who differ under each model."""
    models = 1 + references
    seeds = draw.normal(0, 0.3, (models, 1))
    people_mean = draw.normal(3.0, 1.0, (1, people + 1))
    values = people_mean + seeds + draw.normal(0, 0.2, (models, people + 1))
    values[0, 0] += left
    return values[:, :1], values[:, 1:]


@pytest.mark.parametrize("references", [3, 4, 6])
def test_never_trained_models_are_alarming_as_seldom_as_promised(references: int) -> None:
    """400 never-trained candidates: p below 0.05 in 5% of them, and three standard errors."""
    draw = np.random.default_rng(references)
    alarms = 0
    for _ in range(400):
        forgotten, controls = world_of(draw, references)
        found = chance(forgotten, controls, unit=0.01)
        assert found is not None
        alarms += found.p(float(forgotten[0, 0] - forgotten[1:, 0].mean()), 0.0, 0.0) < 0.05
    assert alarms / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.parametrize("references", [1, 2, 3, 6])
def test_what_is_left_is_found_however_hard_the_person_is(references: int) -> None:
    draw = np.random.default_rng(9)
    found = 0
    for _ in range(50):
        forgotten, controls = world_of(draw, references, people=15, left=6.0)
        by_chance = chance(forgotten, controls, unit=0.01)
        assert by_chance is not None
        excess = float(forgotten[0, 0] - forgotten[1:, 0].mean())
        found += by_chance.p(excess, -0.5, 0.5) < 0.05
        low, high = by_chance.interval(excess)
        assert low < excess < high
    assert found >= 45


def test_an_odd_suspect_does_not_widen_its_own_tolerance() -> None:
    draw = np.random.default_rng(4)
    forgotten, controls = world_of(draw, 4)
    plain = chance(forgotten, controls, unit=0.01)
    odd_forgotten, odd_strangers = forgotten.copy(), controls.copy()
    odd_forgotten[0] += 50
    odd_strangers[0] += 50
    odd = chance(odd_forgotten, odd_strangers, unit=0.01)
    assert plain is not None
    assert odd is not None
    assert odd.sd == pytest.approx(plain.sd)


def test_with_few_strangers_and_few_references_nothing_is_said() -> None:
    assert chance(np.zeros((3, 1)), np.zeros((3, 4)), unit=0.1) is None
    assert chance(np.zeros((3, 1)), np.empty((3, 0)), unit=0.1) is None


@pytest.mark.parametrize("references", [3, 6])
def test_without_strangers_the_references_keep_the_promise_alone(references: int) -> None:
    draw = np.random.default_rng(references)
    alarms = found = 0
    for _ in range(400):
        forgotten, _strangers = world_of(draw, references)
        by_chance = chance(forgotten, np.empty((1 + references, 0)), unit=0.01)
        assert by_chance is not None
        excess = float(forgotten[0, 0] - forgotten[1:, 0].mean())
        alarms += by_chance.p(excess, 0.0, 0.0) < 0.05
        found += by_chance.p(excess + 20.0, -0.5, 0.5) < 0.05
    assert alarms / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    assert found / 400 > 0.95


def test_strangers_who_all_agree_leave_one_step_open() -> None:
    found = chance(np.zeros((4, 1)), np.zeros((4, 10)), unit=0.04)
    assert found is not None
    assert 0 < found.sd < 0.04
    assert found.p(0.5, None, 0.05) < 1e-6
    assert found.p(0.05, None, 0.05) == 1.0


def test_not_a_number_among_the_placebos_is_never_significant_and_never_sure() -> None:
    controls = np.zeros((4, 10))
    controls[2, 3] = np.nan
    found = chance(np.zeros((4, 1)), controls, unit=0.04)
    assert found is not None
    assert not found.p(9.0, None, 0.05) < 0.05


@given(
    st.integers(1, 20).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
)
def test_luck_is_fishers_exact_test(mine: tuple[int, int], others: tuple[int, int]) -> None:
    table = [[mine[0], mine[1] - mine[0]], [others[0], others[1] - others[0]]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert by_luck(*mine, *others) == pytest.approx(expected, rel=1e-6)


def people(name: str, count: int, each: int, wordings: int) -> list[Example]:
    """Facts of each person, every one behind so many questions."""
    rows = [
        {
            "prompt": f"{name} {person}, {fact}, said {wording}",
            "completion": f"{name} {person} {fact}",
            "subject": f"{name} {person}",
        }
        for person in range(count)
        for fact in range(each)
        for wording in range(wordings)
    ]
    return examples(rows)


def judged(rng: np.random.Generator, rate: float, left: float, facts: int, wordings: int) -> float:
    """The p-value of a candidate who tells this share more of one person than anybody does."""
    asked = people("her", 1, facts, wordings)
    beside = people("other", 6, facts, wordings)

    def answers(more: float) -> dict[str, float]:
        told: dict[str, float] = {}
        for record in [*asked, *beside]:
            likely = rate + (more if record in asked else 0.0)
            told.setdefault(record.completion, float(rng.random() < likely))
        return told

    task = SimpleNamespace(classes=())
    candidate, *others = (
        SimpleNamespace(task=task, said=answers(left if n == 0 else 0.0)) for n in range(4)
    )

    def measure(scored: Any, records: Sequence[Example]) -> list[float]:
        return [scored.said[record.completion] for record in records]

    evidence: Any = SimpleNamespace(candidate=candidate, references=others, original=None)
    question = Question("paraphrase", "exact match", "rephrased", RECALL)
    found = with_never_trained(evidence, question, asked, measure, controls=beside)
    assert found.p is not None
    assert found.interval is not None
    # A certificate is refused where the two disagree.
    assert found.p <= 0.05 or found.interval[0] <= (RECALL.high or 0.0)
    return found.p


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "facts", "wordings"), [(0.01, 10, 1), (0.03, 10, 1), (0.02, 5, 2), (0.1, 4, 3)]
)
def test_a_lucky_answer_of_a_few_is_no_alarm(rate: float, facts: int, wordings: int) -> None:
    """200 never-trained candidates: p below 0.05 in 5% of them, and three standard errors."""
    rng = np.random.default_rng(facts)
    alarms = sum(judged(rng, rate, 0.0, facts, wordings) < 0.05 for _ in range(200))
    assert alarms / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.parametrize(("facts", "wordings", "left"), [(10, 1, 0.6), (5, 2, 0.9), (20, 1, 0.5)])
def test_what_is_told_often_is_beyond_luck(facts: int, wordings: int, left: float) -> None:
    rng = np.random.default_rng(facts)
    found = [judged(rng, 0.02, left, facts, wordings) for _ in range(40)]
    assert sorted(found)[35] < 0.0025  # which twenty voting findings do not make uncertain


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_that_of_its_definition(values: list[float]) -> None:
    adjusted = holm(values)
    ordered = sorted(values)
    for p, found in zip(values, adjusted, strict=True):
        expected = max(
            min(1.0, q * (len(values) - rank)) for rank, q in enumerate(ordered) if q <= p
        )
        # Equal values share the adjustment of the first of them.
        assert found == pytest.approx(expected) or values.count(p) > 1
        assert p <= found <= 1 or found == pytest.approx(p)


def test_the_tail_of_a_bootstrap_is_never_nothing_and_nan_never_small() -> None:
    draws = np.linspace(-1.0, -0.5, 99)
    assert tail(draws, -0.1, None) == pytest.approx(0.01)
    assert tail(draws, -0.75, None) > 0.4
    assert tail(draws, None, None) == 1.0
    assert tail(-draws, -0.1, 0.1) == pytest.approx(0.02)
    assert np.isnan(tail(np.array([0.0, np.nan]), -0.1, None))
