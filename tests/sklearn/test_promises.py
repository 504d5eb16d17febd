"""Every head keeps scikit-learn's contract, and what all heads promise about forgetting."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from olvido.errors import InputError
from olvido.sklearn import CertifiedHead, KNNHead, RidgeClassifierHead, RidgeHead

EXACT = [RidgeHead(target_bound=1024), RidgeClassifierHead(), KNNHead()]
HEADS = [*EXACT, CertifiedHead(random_state=0)]


@parametrize_with_checks(HEADS)
@pytest.mark.filterwarnings("ignore")
def test_it_is_an_estimator_to_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(params=HEADS, ids=lambda head: type(head).__name__)
def head(request: pytest.FixtureRequest) -> Any:
    return clone(request.param)


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any, list[Any]]:
    """60 rows of 3 classes, about ten people and nobody; two rows are twins."""
    draw = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = draw.normal(size=(60, 4)) + y[:, None]
    X[7] = X[10]
    about = [f"person {n}" if n else None for n in draw.integers(0, 11, 60)]
    about[5] = ("ada", "ben")  # type: ignore[call-overload]
    return X, y, about


def same(one: Any, other: Any) -> bool:
    """All that two heads hold is equal, bit for bit, and in the same order."""
    assert plain(one) == plain(other)
    return True


def plain(value: Any) -> Any:
    """A value with the bytes of its arrays and the order of its dictionaries."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(key, plain(each)) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set):
        return sorted(value)
    if hasattr(value, "__dict__"):
        return type(value), {key: plain(each) for key, each in vars(value).items()}
    if isinstance(value, np.random.RandomState):
        return plain(value.get_state())
    return value


@pytest.mark.parametrize("head", EXACT, ids=lambda head: type(head).__name__)
def test_the_exact_hold_nothing_that_a_refit_would_not(head: Any, data: Any) -> None:
    X, y, about = data
    forgetful = clone(head).fit(X, y, subjects=about)
    forgetful.forget([3, 10, 59])
    done = forgetful.forget(subjects=["person 2", "ben"])
    assert done.guarantee.value == "exact"
    assert not done.refitted
    stay = [i for i in range(60) if i not in (3, 5, 10, 59) and about[i] not in ("person 2", "ben")]
    refit = clone(head).fit(X[stay], y[stay], [about[i] for i in stay], ids=stay)
    assert same(forgetful, refit)
    assert not same_predictions(forgetful, clone(head).fit(X, y), X)
    assert same_predictions(forgetful, refit, X)


def same_predictions(one: Any, other: Any, X: Any) -> bool:
    names = ("predict_proba", "decision_function", "predict")
    name = next(name for name in names if hasattr(one, name))
    return np.array_equal(getattr(one, name)(X), getattr(other, name)(X))


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "either ids"),
        ({"ids": ["1"], "subjects": ["person 1"]}, "either ids"),
        ({"ids": []}, "the list is empty"),
        ({"ids": "17"}, "not one text"),
        ({"subjects": "person 1"}, "not one text"),
        ({"ids": ["1", "9999"]}, "1 of 2 ids are not among"),
        ({"subjects": ["Marta"]}, "1 of 1 subjects are not among"),
    ],
)
def test_a_request_that_fits_nothing_changes_nothing(
    head: Any, data: Any, asked: dict[str, Any], complaint: str
) -> None:
    X, y, about = data
    head.fit(X, y, subjects=about)
    before = copy.deepcopy(head)
    with pytest.raises(InputError, match=complaint) as caught:
        head.forget(**asked)
    assert same(head, before)
    assert "Marta" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_who_was_forgotten_cannot_be_forgotten_again(head: Any, data: Any) -> None:
    head.fit(*data[:2])
    assert head.forget([3, "3"]).rows == 1
    with pytest.raises(InputError, match="1 of 1 ids"):
        head.forget([3])


def test_a_twin_stays_when_one_of_two_leaves(head: Any, data: Any) -> None:
    head.fit(*data[:2]).forget([7])
    assert "10" in head.ids_
    assert "7" not in head.ids_


def test_everybody_may_leave(head: Any, data: Any) -> None:
    X, y, _ = data
    head.fit(X, y).forget(range(60))
    assert head.ids_ == []
    assert np.isfinite(np.asarray(head.predict(X), float)).all()
    with pytest.raises(InputError, match="not among"):
        head.forget([0])


# A certified head's steps are within its certificate of one another.
@pytest.mark.parametrize("head", EXACT, ids=lambda head: type(head).__name__)
def test_one_by_one_in_any_order_is_as_all_at_once(head: Any, data: Any) -> None:
    one = clone(head).fit(*data[:2])
    once = clone(head).fit(*data[:2])
    for i in (40, 2, 17):
        one.forget([i])
    once.forget([2, 17, 40])
    assert same(one, once)


def test_a_pickled_copy_forgets_as_well(head: Any, data: Any) -> None:
    X, y, _ = data
    head.fit(X, y)
    other = pickle.loads(pickle.dumps(head))
    other.forget([3, 20])
    head.forget([3, 20])
    assert same(other, head)
    assert same_predictions(other, head, X)


@pytest.mark.parametrize(
    "wrong", [{"ids": ["a"]}, {"subjects": ["a"] * 61}, {"ids": ["a"] * 60}], ids=str
)
def test_every_row_is_named_once(head: Any, data: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"every row: expected 60, got|stands twice"):
        head.fit(*data[:2], **wrong)


@pytest.mark.parametrize(
    "classifier",
    [head for head in HEADS if "classes" in head.get_params()],
    ids=lambda head: type(head).__name__,
)
def test_classes_may_be_named_beforehand(classifier: Any, data: Any) -> None:
    head = clone(classifier)
    X, y, _ = data
    head.set_params(classes=[2, 1, 0, 7]).fit(X, y)
    assert head.classes_.tolist() == [0, 1, 2, 7]
    assert set(head.predict(X)) <= {0, 1, 2}
    with pytest.raises(InputError, match="none of the classes given"):
        head.set_params(classes=[0, 1]).fit(X, y)
    with pytest.raises(InputError, match="y holds one class"):
        head.set_params(classes=None).fit(X, y * 0)


def test_parameters_set_after_fitting_wait_for_the_next_fit(head: Any, data: Any) -> None:
    names = {"alpha": 50.0, "bound": 0.5, "n_neighbors": 1}
    known = {k: v for k, v in names.items() if k in head.get_params()}
    X, y, _ = data
    one, other = clone(head).fit(X, y), clone(head).fit(X, y)
    one.set_params(**known).forget([3])
    other.forget([3])
    assert same_predictions(one, other, X)


def test_the_page_about_heads_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "frozen-features.md").read_text("utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        exec(compile(block, "frozen-features.md", "exec"), {})
    told = capsys.readouterr().out.split()
    assert told[:2] == ["exact", "False"]
    assert float(told[2]) > 0
