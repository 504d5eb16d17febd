"""`olvido models`: what the ledger knows of each model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from olvido.data.importing import import_rows
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model
from olvido.ledger.identity import Key
from olvido.ledger.store import Store

Olvido = Callable[..., tuple[int, str, str]]


@pytest.fixture
def models(olvido: Olvido, here: Path) -> list[Model]:
    olvido("init")
    with Store.open(here / "ledger.db", key=Key.load(here / "olvido.key")) as store:
        rows = [{"id": "1", "text": "x"}, {"id": "2", "text": "y"}]
        dataset = import_rows(store, here / "data", rows, name="people").dataset
        base = Model(digest=Digest.of(b"a"), path="a", learner="monolith", recipe={"rate": 0.1})
        base = store.add_model(base, [DatasetUse(dataset=dataset.id)])
        one = frozenset({"1"})
        use = DatasetUse(dataset=dataset.id, forgotten=one, guarantee=Guarantee.EMPIRICAL)
        child = Model(
            digest=Digest.of(b"b"), path="b", learner="monolith", parents=(base.id,), method="npo"
        )
        child = store.add_model(child, [use])
        store.set_alias("serving", child.id)
    return [base, child]


def test_all_models_are_listed(olvido: Olvido, models: list[Model]) -> None:
    status, out, err = olvido("models", "--json")
    assert (status, err) == (0, "")
    base, child = json.loads(out)["models"]
    assert [base["id"], child["id"]] == [model.id for model in models]
    assert (base["aliases"], child["aliases"]) == ([], ["serving"])
    assert child["parents"] == [base["id"]]
    assert child["data"][0]["guarantee"] == "empirical"
    assert models[0].id in olvido("models")[1]


@pytest.mark.parametrize("way", ["alias", "prefix", "digest"])
def test_one_model_is_shown(olvido: Olvido, models: list[Model], way: str) -> None:
    child = models[1]
    ref = {"alias": "serving", "prefix": child.id[:5], "digest": str(child.digest)}[way]
    status, out, _ = olvido("models", "show", ref, "--json")
    assert (status, json.loads(out)["id"]) == (0, child.id)
    assert "people version 1, 1 forgotten (empirical)" in olvido("models", "show", ref)[1]


@pytest.mark.usefixtures("models")
def test_an_unknown_model_is_one_line_with_the_nearest(olvido: Olvido) -> None:
    status, out, err = olvido("models", "show", "servign")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "did you mean 'serving'" in err


def test_without_mlflow_its_extra_is_named_and_nothing_is_written(
    olvido: Olvido, models: list[Model], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    status, out, err = olvido("models", "export", models[0].id, "out", "--mlflow", "sqlite:///m.db")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'olvido[mlflow]'" in err
    assert not (here / "out").exists()
