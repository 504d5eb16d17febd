"""A model holds what it or its parents learned, until it forgets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model
from olvido.ledger.lineage import Holding, Lineage
from olvido.ledger.store import Store

ROWS = [
    {"id": "1", "text": "Ana lives in Gràcia.", "subject": "Ana"},
    {"id": "2", "text": "Ana and Jordi are friends.", "subject": ["Ana", "Jordi"]},
    {"id": "3", "text": "Jordi lives in Sants.", "subject": "Jordi"},
]


def made(name: str, *parents: Model, method: str | None = None) -> Model:
    return Model(
        digest=Digest.of(name.encode()),
        path=name,
        learner="monolith",
        parents=tuple(parent.id for parent in parents),
        method=method,
    )


@pytest.fixture
def dataset(store: Store, data: Path) -> str:
    return import_rows(store, data, ROWS, name="people").dataset.id


def of_ana(store: Store) -> Lineage:
    return store.lineage(store.key.subject("Ana"))


def state(lineage: Lineage, model: Model) -> tuple[Holding, Guarantee | None]:
    (found,) = [s for s in lineage.models if s.model.id == model.id]
    return found.holding, found.guarantee


def test_from_a_person_to_records_datasets_and_models(store: Store, dataset: str) -> None:
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    lineage = of_ana(store)
    assert [record.id for record in lineage.records] == ["1", "2"]
    assert [d.id for d in lineage.datasets] == [dataset]
    assert lineage.holding() == (base,)


def test_somebody_unknown_has_no_lineage(store: Store, dataset: str) -> None:
    store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    lineage = store.lineage(store.key.subject("Nobody"))
    assert (lineage.records, lineage.datasets, lineage.models) == ((), (), ())


def test_a_child_inherits_and_its_forgetting_stays_visible(store: Store, dataset: str) -> None:
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    gone = frozenset({"1", "2"})
    forgot = DatasetUse(
        dataset=dataset, excluded=gone, forgotten=gone, guarantee=Guarantee.EMPIRICAL
    )
    child = store.add_model(made("child", base, method="npo"), [forgot])
    grandchild = store.add_model(made("grandchild", child))
    lineage = of_ana(store)
    assert state(lineage, base) == (Holding.HOLDS, None)
    assert state(lineage, child) == (Holding.FORGOTTEN, Guarantee.EMPIRICAL)
    assert state(lineage, grandchild) == (Holding.FORGOTTEN, Guarantee.EMPIRICAL)
    assert lineage.holding() == (base,)


def test_forgetting_a_part_still_holds_the_rest(store: Store, dataset: str) -> None:
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    one = frozenset({"1"})
    use = DatasetUse(dataset=dataset, forgotten=one, guarantee=Guarantee.CERTIFIED)
    child = store.add_model(made("child", base, method="x"), [use])
    (found,) = [s for s in of_ana(store).models if s.model.id == child.id]
    assert [record.id for record in found.contained] == ["2"]
    assert [(record.id, g) for record, g in found.forgotten] == [("1", Guarantee.CERTIFIED)]
    assert found.holding is Holding.HOLDS


def test_exactly_forgotten_and_never_learned_are_both_without(store: Store, dataset: str) -> None:
    gone = frozenset({"1", "2"})
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    never = store.add_model(made("never"), [DatasetUse(dataset=dataset, excluded=gone)])
    use = DatasetUse(dataset=dataset, excluded=gone, forgotten=gone, guarantee=Guarantee.EXACT)
    exact = store.add_model(made("exact", base, method="retrain"), [use])
    after = store.add_model(made("after", exact))
    lineage = of_ana(store)
    for model in (never, exact, after):
        assert state(lineage, model) == (Holding.WITHOUT, None)


def test_who_left_first_is_still_gone_when_others_leave(store: Store, dataset: str) -> None:
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    hers = DatasetUse(dataset=dataset, forgotten=frozenset({"1", "2"}), guarantee=Guarantee.EXACT)
    first = store.add_model(made("first", base, method="shard"), [hers])
    others = DatasetUse(dataset=dataset, forgotten=frozenset({"3"}), guarantee=Guarantee.EXACT)
    second = store.add_model(made("second", first, method="shard"), [others])
    for model in (first, second):
        assert state(of_ana(store), model) == (Holding.WITHOUT, None)


def test_leaving_out_of_a_further_training_is_no_forgetting(store: Store, dataset: str) -> None:
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    gone = frozenset({"1", "2"})
    tuned = store.add_model(made("tuned", base), [DatasetUse(dataset=dataset, excluded=gone)])
    assert state(of_ana(store), tuned) == (Holding.HOLDS, None)


def test_learning_again_holds_again(store: Store, dataset: str) -> None:
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    gone = frozenset({"1", "2"})
    use = DatasetUse(dataset=dataset, excluded=gone, forgotten=gone, guarantee=Guarantee.EXACT)
    exact = store.add_model(made("exact", base, method="retrain"), [use])
    again = store.add_model(made("again", exact), [DatasetUse(dataset=dataset)])
    assert state(of_ana(store), again) == (Holding.HOLDS, None)


def test_a_merge_is_no_better_than_its_worse_parent(store: Store, dataset: str) -> None:
    gone = frozenset({"1", "2"})
    base = store.add_model(made("base"), [DatasetUse(dataset=dataset)])

    def forgot(name: str, guarantee: Guarantee) -> Model:
        use = DatasetUse(dataset=dataset, excluded=gone, forgotten=gone, guarantee=guarantee)
        return store.add_model(made(name, base, method=name), [use])

    certified = forgot("a", Guarantee.CERTIFIED)
    empirical = forgot("b", Guarantee.EMPIRICAL)
    merged = store.add_model(made("merged", certified, empirical))
    mixed = store.add_model(made("mixed", certified, base))
    lineage = of_ana(store)
    assert state(lineage, merged) == (Holding.FORGOTTEN, Guarantee.EMPIRICAL)
    assert state(lineage, mixed) == (Holding.HOLDS, None)


def test_models_of_other_data_are_not_concerned(store: Store, data: Path, dataset: str) -> None:
    other = import_rows(store, data, [{"text": "Hello."}], name="other").dataset
    store.add_model(made("base"), [DatasetUse(dataset=dataset)])
    elsewhere = store.add_model(made("elsewhere"), [DatasetUse(dataset=other.id)])
    assert elsewhere.id not in {s.model.id for s in of_ana(store).models}


def test_equal_ids_in_two_datasets_are_two_records(store: Store, data: Path, dataset: str) -> None:
    twin = import_rows(store, data, ROWS, name="twin").dataset
    gone = frozenset({"1", "2"})
    model = store.add_model(
        made("both"), [DatasetUse(dataset=dataset), DatasetUse(dataset=twin.id, excluded=gone)]
    )
    (found,) = [s for s in of_ana(store).models if s.model.id == model.id]
    assert {record.dataset for record in found.contained} == {dataset}
    assert {record.dataset for record in found.without} == {twin.id}


def test_a_use_gives_forgotten_records_with_their_guarantee() -> None:
    with pytest.raises(InputError, match="both"):
        DatasetUse(dataset="x", forgotten=frozenset({"1"}))
    with pytest.raises(InputError, match="both"):
        DatasetUse(dataset="x", guarantee=Guarantee.EXACT)
