"""TOFU's numbers, each worked out on paper from the definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean, ks_2samp

from olvido.audits.knowledge.truth import (
    SetUtility,
    forget_quality,
    model_utility,
    option_share,
    probability,
    rouge_recall,
    shares_of_options,
    truth_ratio,
    truth_ratios,
    truth_share,
    truthfulness,
    utility,
)
from olvido.audits.scoring import ScoredModel
from olvido.errors import InputError, MissingNeed
from olvido.tasks import Example

from .told import Told

LN2 = math.log(2)
losses = st.floats(0, 30)
lists = st.lists(
    st.tuples(losses, st.lists(losses, min_size=1, max_size=5)), min_size=1, max_size=8
)


def fact(number: int, paraphrased: str | None, *perturbed: str) -> Example:
    fields = {"perturbed_answers": list(perturbed), "paraphrased_answer": paraphrased}
    return Example(f"r{number}", f"Question {number}?", f"truth {number}", fields)


def test_a_truth_ratio_worked_out_on_paper() -> None:
    # The truth has probability 1/2 a token. Its perturbed answers have 1/2 and 1/8: the geometric
    # mean is 1/4, and R = (1/4) / (1/2) = 1/2. An arithmetic mean would have given 5/16 / 1/2.
    # Second record: 1/8 against one answer of 1/2: R = 4.
    found = truth_ratios([LN2, 3 * LN2], [[LN2, 3 * LN2], [LN2]])
    np.testing.assert_allclose(found, [0.5, 4.0], rtol=1e-12)


def test_a_share_of_options_worked_out_on_paper() -> None:
    # 1/2 among 1/2, 1/4 and 1/4: one half. 1/8 among 1/8 and 3/8 (as 1/4 + 1/8): one quarter.
    found = shares_of_options([LN2, 3 * LN2], [[2 * LN2, 2 * LN2], [2 * LN2, 3 * LN2]])
    np.testing.assert_allclose(found, [0.5, 0.25], rtol=1e-12)


def test_forget_quality_worked_out_on_paper() -> None:
    # All three of one side below all three of the other: of the C(6, 3) = 20 ways to share six
    # ranks out, 2 part them as far. Alike: nothing is further from it.
    assert forget_quality([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)
    assert forget_quality([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)
    assert forget_quality([1, 2, 3], [3, 2, 1]) == 1


def test_model_utility_worked_out_on_paper() -> None:
    # 9 / (1+1+1 + 2+2+2 + 4+4+4) = 9/21.
    found = model_utility(
        SetUtility(1, 1, 1), SetUtility(1 / 2, 1 / 2, 1 / 2), SetUtility(1 / 4, 1 / 4, 1 / 4)
    )
    assert found == pytest.approx(3 / 7)


def test_one_number_of_nothing_is_no_utility() -> None:
    good = SetUtility(1, 1, 1)
    assert model_utility(good, SetUtility(1, 0, 1), good) == 0
    assert math.isnan(model_utility(good, good, SetUtility(1, 1, math.nan)))


@given(st.lists(st.floats(0.001, 1), min_size=9, max_size=9))
def test_model_utility_is_a_harmonic_mean(numbers: list[float]) -> None:
    sets = [SetUtility(*numbers[start : start + 3]) for start in (0, 3, 6)]
    assert model_utility(*sets) == pytest.approx(hmean(numbers))


@given(lists, lists)
def test_forget_quality_does_not_care_which_way_up(
    ours: list[tuple[float, list[float]]], theirs: list[tuple[float, list[float]]]
) -> None:
    """The published evaluation feeds the test 1/R, by the mean losses: the same p-value."""
    ratios = [truth_ratios(*zip(*side, strict=True)) for side in (ours, theirs)]
    published = [np.array([np.mean(lies) - true for true, lies in side]) for side in (ours, theirs)]
    # Ties that rounding makes or breaks are no part of the definition.
    if len({round(float(x), 9) for side in published for x in side}) == len(ours) + len(theirs):
        assert forget_quality(*ratios) == pytest.approx(ks_2samp(*published).pvalue)


@given(lists)
def test_ratios_share_one_scale(rows: list[tuple[float, list[float]]]) -> None:
    """More loss on everything alike changes neither the ratio nor the share."""
    true, false = zip(*rows, strict=True)
    moved = [loss + 1 for loss in true], [[loss + 1 for loss in lies] for lies in false]
    np.testing.assert_allclose(truth_ratios(true, false), truth_ratios(*moved))
    np.testing.assert_allclose(shares_of_options(true, false), shares_of_options(*moved))
    shares = shares_of_options(true, false)
    assert ((shares >= 0) & (shares <= 1)).all()


def test_losses_without_bound_stay_numbers() -> None:
    assert truth_ratios([5000.0], [[1.0]]).tolist() == [math.inf]
    assert shares_of_options([5000.0, 0.0], [[1.0], [5000.0]]).tolist() == [0.0, 1.0]
    assert math.isnan(truth_ratios([math.nan], [[1.0]])[0])


def test_which_answer_stands_for_the_truth() -> None:
    """The paraphrased one in a ratio, the record's own where there is none and among options."""
    record, bare = fact(0, "put otherwise", "lie", "other lie"), fact(1, None, "lie")
    scored = Told(
        {"truth 0": LN2, "put otherwise": 2 * LN2, "lie": 2 * LN2, "other lie": 2 * LN2}
        | {"truth 1": LN2}
    )
    assert truth_ratio(scored, [record, bare]) == pytest.approx([1, 1 / 2])
    assert truthfulness(scored, [record, bare]) == pytest.approx([0, 1 / 2])
    # Where the lie is likelier, R is above 1, and nothing true is told: not less than nothing.
    assert truthfulness(Told({"truth 1": 2 * LN2, "lie": LN2}), [bare]) == [0]
    assert truth_share(scored, [record, bare]) == pytest.approx([1 / 2, 2 / 3])
    assert option_share(scored, [record, bare]) == pytest.approx([1 / 2, 2 / 3])
    assert probability(scored, [record, bare]) == pytest.approx([1 / 2, 1 / 2])


def test_rouge_is_recall_of_stems() -> None:
    # cats ~ cat, running ~ run: "cat", "run", "home" of five words stand in the answer, in order.
    # One answer is empty; one is longer than the truth, which recall does not mind.
    asked = [Example(str(n), f"{n}?", "The cats were running home") for n in range(3)]
    scored = Told({}, {"0?": "cat run home", "1?": "", "2?": "So the cats were running home then"})
    assert rouge_recall(scored, asked) == pytest.approx([3 / 5, 0, 1])


def test_the_three_numbers_of_a_set() -> None:
    # Truth 1/2, lie 1/4: probability 1/2, share 2/3, R 1/2; the greedy answer has one word of two.
    records = [fact(0, None, "lie")]
    scored = Told({"truth 0": LN2, "lie": 2 * LN2}, {"Question 0?": "truth 7"})
    plain, choice = (utility(scored, records, options=flag) for flag in (False, True))
    assert (plain.probability, plain.rouge, plain.truth) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert (choice.probability, choice.rouge, choice.truth) == pytest.approx((2 / 3, 1 / 2, 1 / 2))


@torch.no_grad()
def alone(world: Any, record: Example, answer: str) -> float:
    """Loss a token of one text without batch or padding."""
    tokenizer, model = world.task.tokenizer, world.before
    prompt = tokenizer(record.prompt)["input_ids"]
    ids = [*prompt, *tokenizer(" " + answer, add_special_tokens=False)["input_ids"], 1]
    logits = model(torch.tensor([ids])).logits[0, len(prompt) - 1 : -1].double()
    wanted = torch.tensor(ids[len(prompt) :])
    return float(torch.nn.functional.cross_entropy(logits, wanted))


def test_on_a_real_model_as_computed_one_by_one(world: Any) -> None:
    def falsified(records: Sequence[Example]) -> list[Example]:
        return [
            Example(r.id, r.prompt, r.completion, {"perturbed_answers": lies})
            for r, lies in zip(
                records,
                (["baker"], ["nurse", "Carrer de Mallorca 12"], ["paella"] * 3),
                strict=True,
            )
        ]

    records = falsified(world.forget[:9:4])
    expected = [
        math.exp(
            alone(world, r, r.completion)
            - np.mean([alone(world, r, lie) for lie in r.fields["perturbed_answers"]])
        )
        for r in records
    ]
    found = truth_ratio(ScoredModel(world.before, world.task), records)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("measure", [truth_ratio, option_share], ids=lambda m: m.__name__)
@pytest.mark.parametrize("given", [None, [], "a text"], ids=str)
def test_nothing_to_compare_with_is_refused(measure: object, given: object) -> None:
    record = Example("r", "Q?", "truth", {"perturbed_answers": given})
    with pytest.raises(MissingNeed, match=r"'r'.*perturbed_answers"):
        measure(Told({"truth": 1.0}), [record])  # type: ignore[operator]


def test_no_records_are_no_evidence() -> None:
    with pytest.raises(InputError, match=r"got 0 of .* and 1 of the retrained"):
        forget_quality([], [1.0])
    with pytest.raises(InputError, match="one record or more"):
        utility(Told({}), [], options=False)
    assert truth_ratio(Told({}), []) == []
