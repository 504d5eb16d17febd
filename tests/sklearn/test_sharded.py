"""The classifier keeps scikit-learn's contract, and forgets as if it had never learned."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from olvido.errors import InputError, UnknownName
from olvido.learners import Placement, Recipe
from olvido.methods import forget
from olvido.models import weights_digest
from olvido.sklearn.sharded import ShardedClassifier

QUICK = Recipe(epochs=4, batch_size=32, lr=2e-2)


@parametrize_with_checks([ShardedClassifier(shards=2, slices=1, recipe=QUICK)])
@pytest.mark.filterwarnings("ignore")
def test_it_is_a_classifier_to_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    """600 digits of 8 by 8, scaled by a constant."""
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


@pytest.fixture
def people() -> list[str]:
    """Who wrote each: some fifteen people, in no order."""
    return [f"writer {n}" for n in np.random.default_rng(0).integers(0, 15, 600)]


@pytest.fixture
def fitted(digits: Any, people: list[str]) -> ShardedClassifier:
    return ShardedClassifier(3, 3, recipe=QUICK).fit(*digits, subjects=people)


@pytest.mark.slow
def test_it_learns_nearly_as_well_as_a_model_of_everything() -> None:
    X, y = load_digits(return_X_y=True)
    X = X / 16
    peer = LogisticRegression(max_iter=1000).fit(X[:1200], y[:1200])
    found = ShardedClassifier(3, 2).fit(X[:1200], y[:1200]).score(X[1200:], y[1200:])
    assert found > peer.score(X[1200:], y[1200:]) - 0.03


def test_a_person_is_forgotten_as_if_never_seen(
    fitted: ShardedClassifier, digits: Any, people: list[str]
) -> None:
    X, _ = digits
    before, rows = fitted.trained_, dict(fitted._rows)
    held = before.model.members
    weights = [weights_digest(member) for member in held]
    hers = {str(i) for i, name in enumerate(people) if name == "writer 4"}
    outcome = fitted.forget(subjects=["writer 4"])
    assert outcome.guarantee.value == "exact"
    assert 0 < outcome.cost.retraining < 0.5  # type: ignore[operator]
    # The oracle trains all shards again from the start, and her rows are not even there.
    left = {i: row for i, row in rows.items() if i not in hers}
    oracle = forget(
        before,
        forget=[rows[i] for i in hers],
        retain=left.values(),
        task=fitted.task_,
        method="retrain",
    )
    assert fitted.trained_.digest == oracle.digest != before.digest
    after = [weights_digest(member) for member in fitted.trained_.model.members]
    assert sum(one != other for one, other in zip(weights, after, strict=True)) == 1
    assert set(fitted.ids_) == set(left)
    assert not np.array_equal(fitted.predict_proba(X), _told(before.model, X))


def _told(model: nn.Module, X: Any) -> Any:
    with torch.no_grad():
        return model(torch.tensor(X, dtype=torch.float32)).double().softmax(-1).numpy()


def test_one_after_the_other_is_as_all_at_once(
    fitted: ShardedClassifier, digits: Any, people: list[str]
) -> None:
    once = ShardedClassifier(3, 3, recipe=QUICK).fit(*digits, subjects=people)
    assert once.trained_.digest == fitted.trained_.digest
    once.forget(ids=["5", "17", "300"])
    for i in (300, 5, 17):
        fitted.forget(ids=[i])  # type: ignore[list-item]
    assert once.trained_.digest == fitted.trained_.digest


def test_a_row_about_several_goes_with_either(digits: Any) -> None:
    X, y = (part[:60] for part in digits)
    subjects = [("ada", "ben") if i == 7 else None for i in range(60)]
    ids = [f"row {i}" for i in range(60)]
    model = ShardedClassifier(2, 1, recipe=QUICK, classes=range(10))
    model.fit(X, y, subjects=subjects, ids=ids).forget(subjects=["ben"])
    assert model.ids_ == [i for i in ids if i != "row 7"]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "either ids"),
        ({"ids": ["1"], "subjects": ["writer 1"]}, "either ids"),
        ({"ids": []}, "the list is empty"),
        ({"ids": "17"}, "not one text"),
        ({"ids": ["1", "9999"]}, "1 of 2 ids are not among"),
        ({"subjects": ["Marta"]}, "1 of 1 subjects are not among"),
    ],
)
def test_a_request_that_fits_nothing_changes_nothing(
    fitted: ShardedClassifier, asked: dict[str, Any], complaint: str
) -> None:
    before = fitted.trained_
    with pytest.raises(InputError, match=complaint) as caught:
        fitted.forget(**asked)
    assert fitted.trained_ is before
    assert len(fitted.ids_) == 600
    assert "Marta" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_who_was_forgotten_cannot_be_forgotten_again(fitted: ShardedClassifier) -> None:
    fitted.forget(ids=["3"])
    with pytest.raises(InputError, match="1 of 1 ids"):
        fitted.forget(ids=["3"])


def test_a_pickled_copy_forgets_to_the_same_bits(fitted: ShardedClassifier, digits: Any) -> None:
    other = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(other.predict_proba(digits[0]), fitted.predict_proba(digits[0]))
    other.forget(ids=["3", "200"])
    fitted.forget(ids=["3", "200"])
    assert other.trained_.digest == fitted.trained_.digest


def test_parameters_are_cloned_and_names_checked() -> None:
    module = nn.Linear(4, 2)
    model = ShardedClassifier(7, module=module, aggregation="vote", recipe=QUICK, seed=3)
    other = clone(model).set_params(slices=1)
    assert other.get_params()["recipe"] == QUICK
    assert (other.shards, other.slices, other.aggregation, other.seed) == (7, 1, "vote", 3)
    assert weights_digest(other.module) == weights_digest(module)
    X, y = np.eye(4)[[0, 1, 2, 3] * 5], [0, 1] * 10
    with pytest.raises(UnknownName, match="did you mean 'vote'"):
        ShardedClassifier(2, aggregation="vot").fit(X, y)
    with pytest.raises(InputError, match="30 shards need at least as many subjects"):
        ShardedClassifier(30).fit(X, y)


def test_a_module_of_one_s_own(digits: Any) -> None:
    X, y = digits[0][:200].reshape(200, 1, 8, 8), digits[1][:200]
    seen: list[tuple[tuple[int, ...], int]] = []

    def convolution(shape: tuple[int, ...], classes: int) -> nn.Module:
        seen.append((shape, classes))
        return nn.Sequential(
            nn.Conv2d(shape[0], 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)
        )

    model = ShardedClassifier(2, 2, module=convolution, recipe=QUICK).fit(X, y)
    assert seen == [((1, 8, 8), 10)]
    with torch.random.fork_rng(devices=[]):
        # Weights are drawn from the seed, whatever the process has drawn before.
        torch.rand(1)
        again = ShardedClassifier(2, 2, module=convolution, recipe=QUICK).fit(X, y)
    assert again.trained_.digest == model.trained_.digest
    made = convolution((1, 8, 8), 10)
    before = weights_digest(made)
    given = ShardedClassifier(2, 2, module=made, recipe=QUICK).fit(X, y)
    assert weights_digest(made) == before != given.trained_.digest
    assert isinstance(given.trained_.trace, Placement)
    assert given.trained_.trace.origin.digest == before


def test_bytes_are_scaled_in_learning_and_in_answering(digits: Any) -> None:
    image, y = (digits[0] * 255).astype(np.uint8), digits[1]
    model = ShardedClassifier(2, 1, recipe=QUICK).fit(image, y)
    same = ShardedClassifier(2, 1, recipe=QUICK).fit(image.astype(np.float32) / 255, y)
    np.testing.assert_allclose(
        model.predict_proba(image), same.predict_proba(image.astype(np.float32) / 255), atol=1e-3
    )
    with pytest.raises(InputError, match="is float64 and those before it are uint8"):
        model.predict(digits[0])


def test_classes_that_y_must_not_tell() -> None:
    X, y = np.eye(4)[[0, 1, 2, 3] * 5], np.array(["a", "b"] * 10)
    model = ShardedClassifier(2, 1, recipe=QUICK, classes=["c", "b", "a"]).fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.predict_proba(X).shape == (20, 3)
    with pytest.raises(InputError, match="y holds 'b', which is none of the classes given"):
        ShardedClassifier(2, 1, classes=["a", "c"]).fit(X, y)


@pytest.mark.parametrize("wrong", [{"ids": ["a"]}, {"subjects": ["a"] * 21}, {"ids": ["a"] * 20}])
def test_every_row_is_named_once(wrong: dict[str, Any]) -> None:
    X, y = np.eye(4)[[0, 1, 2, 3] * 5], [0, 1] * 10
    with pytest.raises(InputError, match=r"every row: expected 20, got|stands twice"):
        ShardedClassifier(2, 1, recipe=QUICK).fit(X, y, **wrong)


def test_everybody_may_leave(digits: Any) -> None:
    X, y = (part[:40] for part in digits)
    model = ShardedClassifier(2, 2, recipe=QUICK, classes=range(10)).fit(X, y)
    model.forget(ids=model.ids_)
    assert model.ids_ == []
    assert isinstance(model.trained_.trace, Placement)
    assert model.trained_.digest == model.trained_.trace.origin.digest
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
