"""What all releases promise a person together, and the limit that no training passes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError, StateError
from olvido.learners import Private, Recipe
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model
from olvido.ledger.identity import Key, SubjectId
from olvido.ledger.store import Store
from olvido.models import save
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.settings import FILE, Settings
from olvido.training.private.accounting import Spent, epsilon_of, together
from olvido.workspace import Workspace
from olvido.workspace.budget import budget, budgets

pytest.importorskip("opacus")

PEOPLE = ("Ada Roca", "Blai Soler", "Clara Puig")
HOW = {"rate": 0.1, "steps": 50, "delta": 0.003}


def spent(noise: float = 4.0, **given: Any) -> Spent:
    how = {**HOW, "unit": "subject", "units": 30, "accountant": "rdp", "clip": 1.0, "most": 8}
    made = {**how, "noise": noise, **given}
    keys = ("noise", "delta", "rate", "steps", "accountant")
    return Spent(epsilon=epsilon_of(**{name: made[name] for name in keys}), **made)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_two_releases_are_one_of_all_their_steps(accountant: str) -> None:
    half = spent(steps=50, accountant=accountant)
    both, delta = together([(half, 3), (half, 7)])
    assert both == pytest.approx(spent(steps=100, accountant=accountant).epsilon, abs=1e-6)
    assert delta == half.delta
    assert together([(half, 3)]) == (half.epsilon, half.delta)
    assert together([]) == (0.0, 0.0)


def test_a_mixed_history_is_that_of_the_accountant() -> None:
    from opacus.accountants import RDPAccountant

    parts = [spent(4.0), spent(2.5, rate=0.2, delta=0.001), spent(6.0, accountant="prv")]
    counted = RDPAccountant()
    counted.history = [(one.noise, one.rate, one.steps) for one in parts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = counted.get_epsilon(delta=0.001)
    assert together([(one, 1) for one in parts]) == pytest.approx((expected, 0.001), abs=1e-6)
    # Never less than any of them, and never more than their plain sum.
    assert max(one.epsilon for one in parts) <= expected + 1e-6
    assert expected <= sum(replace(one, delta=0.001).epsilon for one in parts) * 1.5


def test_a_record_s_promise_is_multiplied_by_a_person_s_records() -> None:
    one = spent(8.0, unit="record", delta=1e-6)
    assert together([(one, 1)]) == (one.epsilon, one.delta)
    epsilon, delta = together([(one, 3), (spent(), 3)])
    assert epsilon == pytest.approx(3 * one.epsilon + spent().epsilon)
    # The exact sum over a chain of three neighbours is at most what is said.
    chain = sum(math.exp(n * one.epsilon) for n in range(3)) * one.delta
    assert chain <= delta - spent().delta <= 3 * math.exp(2 * one.epsilon) * one.delta * 1.0001
    assert together([(one, 10_000)])[0] == math.inf


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Two records about each person, one more about the first two."""
    key = Key.create(tmp_path / "olvido.key")
    rows = [{"id": f"r-{n}", "text": f"text {n}", "subject": PEOPLE[n % 3]} for n in range(6)] + [
        {"id": "both", "text": "they met", "subject": list(PEOPLE[:2])}
    ]
    with Store.create(tmp_path / "ledger.db", key=key) as made:
        import_rows(made, tmp_path / "data", rows, name="people")
        yield made


def enter(store: Store, name: str, promise: Spent | None = None, **given: Any) -> Model:
    learned = {
        "learner": "monolith" if promise is None else "private",
        "recipe": {} if promise is None else {"privacy": promise.to_dict()},
    }
    use = DatasetUse(dataset=store.dataset("people").id, **given.pop("use", {}))
    fact = Model(digest=Digest.of(name.encode()), path=name, **learned, **given)
    return store.add_model(fact, [use])


def who(store: Store, number: int) -> SubjectId:
    return store.key.subject(PEOPLE[number])


def test_every_release_that_a_person_s_records_reached_is_counted(store: Store) -> None:
    first = enter(store, "a", spent())
    # The second leaves out all that is about Clara.
    gone = {"excluded": frozenset({"r-2", "r-5"})}
    second = enter(store, "b", spent(2.5), use=gone)
    ada = budget(store, who(store, 0))
    assert [(r.model.id, r.records) for r in ada.releases] == [(first.id, 3), (second.id, 3)]
    assert (ada.epsilon, ada.promised[1]) == together([(spent(), 3), (spent(2.5), 3)])
    clara = budget(store, who(store, 2))
    assert [(r.model.id, r.records) for r in clara.releases] == [(first.id, 2)]
    assert clara.epsilon == spent().epsilon
    every = budgets(store)
    assert {one.subject: one.releases for one in every} == {
        who(store, n): budget(store, who(store, n)).releases for n in range(3)
    }
    assert [one.epsilon for one in every] == sorted((one.epsilon for one in every), reverse=True)
    # Weights that are gone were released all the same.
    store.tombstone_model(first.id, "replaced")
    assert budget(store, who(store, 2)).epsilon == spent().epsilon


def test_a_release_without_a_promise_leaves_none(store: Store) -> None:
    first = enter(store, "a", spent())
    enter(store, "b", spent(secret=False), use={"excluded": frozenset({"r-1", "r-4", "both"})})
    blai, ada = budget(store, who(store, 1)), budget(store, who(store, 0))
    assert blai.epsilon == spent().epsilon
    assert (ada.epsilon, len(ada.open)) == (math.inf, 1)
    assert ada.promised[0] == spent().epsilon
    assert ada.to_dict()["epsilon"] is None
    # What is made by forgetting is a further release to those who stay.
    forgotten = {"forgotten": frozenset({"r-1", "r-4", "both"}), "guarantee": Guarantee.EXACT}
    enter(store, "c", parents=(first.id,), method="retrain", use=forgotten)
    assert budget(store, who(store, 1)).epsilon == spent().epsilon
    assert budget(store, who(store, 2)).epsilon == math.inf
    assert budgets(store)[-1].subject == who(store, 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[[float | None], Workspace]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    settings = Settings.load(folder, environment={})
    rows = [
        {"id": f"r-{n}", "prompt": f"Who is {n}?", "completion": "Nobody.", "subject": f"P {n % 8}"}
        for n in range(24)
    ]
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        import_rows(store, settings.data, rows, name="people")
        nobody = [{"id": f"n-{n}", "prompt": "What?", "completion": "That."} for n in range(3)]
        import_rows(store, settings.data, nobody, name="nobody")

    def limited(limit: float | None) -> Workspace:
        if limit is not None:
            (folder / FILE).write_text(f"privacy_limit = {limit}\n", "utf-8")
        return Workspace(Settings.load(folder, environment={}))

    return limited


@pytest.mark.slow
def test_a_training_that_would_pass_the_limit_is_refused_before_it_begins(
    workspace: Callable[[float | None], Workspace], tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=0, width=32, layers=1), tokenizer, tmp_path / "small")
    model, recipe = str(tmp_path / "small"), Recipe(epochs=1, batch_size=4, lr=1e-3)
    private = Private(noise=3.0, accountant="rdp")
    with workspace(None) as free:
        first = free.learn(["people"], model=model, recipe=recipe, learner=private)
        once = first.recipe["privacy"]["epsilon"]
        (everybody,) = {round(one.epsilon, 9) for one in budgets(free.store)}
        assert everybody == pytest.approx(once)

    def entered(opened: Workspace) -> list[str]:
        return [fact.id for fact in opened.store.models()]

    with workspace(1.001 * once) as limited:
        for learner in (private, "monolith"):
            with pytest.raises(StateError, match="privacy_limit"):
                limited.learn(["people"], model=model, recipe=recipe, learner=learner)
        assert entered(limited) == [first.id]
        assert [p.name for p in limited.settings.models.iterdir()] == [first.path]
        # Of what names nobody no person has a budget.
        limited.learn(["nobody"], model=model, recipe=replace(recipe, batch_size=3))
    with workspace(10 * once) as wide:
        wide.learn(["people"], model=model, recipe=recipe, learner=private)
        twice = budgets(wide.store)[0].epsilon
        assert once < twice <= 2 * once
        assert twice == pytest.approx(
            together([(Spent.from_dict(first.recipe["privacy"]), 3)] * 2)[0]
        )


@pytest.mark.parametrize("written", ["0", "-1", "inf", "nan", "true", "'much'"])
def test_a_limit_is_an_epsilon(tmp_path: Path, written: str) -> None:
    (tmp_path / FILE).write_text(f"privacy_limit = {written}\n", "utf-8")
    with pytest.raises(InputError, match="privacy_limit"):
        Settings.load(tmp_path, environment={})
    found = Settings.load(tmp_path / "other", environment={"OLVIDO_PRIVACY_LIMIT": "2.5"})
    assert found.privacy_limit == 2.5
