"""What a registry is told of a version vouches for no more than the ledger does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError, MissingExtra
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model
from olvido.ledger.identity import Key
from olvido.ledger.model_documents import ModelRegistry, registry_tags
from olvido.ledger.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "ledger.db", key=Key.create(tmp_path / "key")) as made:
        rows = [{"id": i, "text": i, "subject": "Ana Soler"} for i in "xyz"]
        import_rows(made, tmp_path / "data", rows, name="people")
        yield made


def _model(store: Store, name: str, use: DatasetUse | None, *parents: Model) -> Model:
    made = Model(
        digest=Digest.of(name.encode()),
        path=name,
        learner="monolith",
        parents=tuple(parent.id for parent in parents),
        method=name if use and use.forgotten else None,
    )
    return store.add_model(made, [use] if use else [])


def test_the_weakest_guarantee_of_the_line_is_told(store: Store) -> None:
    dataset = store.dataset("people").id

    def gone(record: str, guarantee: Guarantee) -> DatasetUse:
        return DatasetUse(dataset=dataset, forgotten=frozenset({record}), guarantee=guarantee)

    base = _model(store, "base", DatasetUse(dataset=dataset))
    assert "olvido.guarantee" not in registry_tags(store, base)
    exact = _model(store, "replay", gone("x", Guarantee.EXACT), base)
    assert registry_tags(store, exact, certificate="ab" * 32) == {
        "olvido.version": exact.id,
        "olvido.weights": str(exact.digest),
        "olvido.learner": "monolith",
        "olvido.method": "replay",
        "olvido.parent": base.id,
        "olvido.guarantee": "exact",
        "olvido.certificate": f"sha256:{'ab' * 32}",
    }
    weaker = _model(store, "npo", gone("y", Guarantee.EMPIRICAL), exact)
    last = _model(store, "again", gone("z", Guarantee.EXACT), weaker)
    assert registry_tags(store, last)["olvido.guarantee"] == "empirical"
    # A sibling's weakness is not its own.
    assert registry_tags(store, exact)["olvido.guarantee"] == "exact"
    assert "Ana" not in str(registry_tags(store, last))


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'olvido\[mlflow\]'"):
        ModelRegistry("sqlite:///x.db", "people")
    with pytest.raises(InputError, match="the registry's address"):
        ModelRegistry(" ", "people")


@pytest.mark.filterwarnings("ignore")
def test_a_version_is_registered_with_its_tags(store: Store, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    base = _model(store, "base", DatasetUse(dataset=store.dataset("people").id))
    tags = registry_tags(store, base)
    for number in ("1", "2"):
        registry = ModelRegistry(address, "people")
        assert registry.add(tmp_path / "exported", tags, "A description") == number
    kept = mlflow.MlflowClient(tracking_uri=address).get_model_version("people", "2")
    assert kept.tags == tags
    assert kept.source == (tmp_path / "exported").as_uri()
    with pytest.raises(InputError, match="the registry refuses model ''"):
        ModelRegistry(address, "")
    for nowhere in ("sqlite:nonsense", "nonsense://x"):
        with pytest.raises(InputError, match="the registry refuses model 'people'"):
            ModelRegistry(nowhere, "people")
