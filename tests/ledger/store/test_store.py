"""The ledger gives back what it was given, changes in whole steps, and writes each one down."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model, RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store

ROWS = [{"id": str(i), "text": f"row {i}", "subject": f"person {i % 2}"} for i in range(4)]


def model(name: str, **facts: object) -> Model:
    return Model(digest=Digest.of(name.encode()), path=name, learner="monolith", **facts)  # type: ignore[arg-type]


def test_facts_survive_closing(
    tmp_path: Path, ledger: Path | str, store: Store, data: Path
) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    gone = frozenset({"1"})
    uses = (
        DatasetUse(dataset=dataset.id, excluded=gone, forgotten=gone, guarantee=Guarantee.EXACT),
    )
    first = store.add_model(model("a", recipe={"rate": 0.1}, environment={"torch": "2"}, seed=3))
    second = store.add_model(model("b", parents=(first.id,), method="retrain"), uses)
    store.set_alias("serving", second.id)
    request = store.add_request(RequestKind.ERASURE, subject=store.key.subject("x"), law="gdpr")
    store.close()
    with Store.open(ledger, key=Key.load(tmp_path / "olvido.key")) as again:
        assert again.datasets() == (dataset,)
        assert again.dataset(dataset.id) == again.dataset("people", 1) == dataset
        assert again.models() == (first, second)
        assert again.uses(second.id) == uses
        assert again.alias("serving") == second
        assert again.aliases() == {"serving": second.id}
        assert again.requests() == (request,)


def test_unknown_names_give_the_nearest(store: Store, data: Path) -> None:
    import_rows(store, data, ROWS, name="people")
    store.set_alias("serving", store.add_model(model("a")).id)
    with pytest.raises(UnknownName, match="did you mean 'people'"):
        store.dataset("peopel")
    with pytest.raises(UnknownName, match="did you mean 'serving'"):
        store.model("servign")
    with pytest.raises(UnknownName, match="record of dataset 'people' '9'"):
        store.tombstone(["9"], "erased", dataset="people")
    with pytest.raises(InputError, match="versions are 1"):
        store.dataset("people", 2)
    with pytest.raises(UnknownName):
        store.request("req-0001")


def test_a_model_is_found_by_alias_prefix_and_digest(store: Store) -> None:
    first, second = store.add_model(model("a")), store.add_model(model("b"))
    assert store.model(first.id[:6]) == store.model(str(first.digest)) == first
    assert store.alias("serving") is None
    store.set_alias("serving", first.id)
    store.set_alias("serving", second.id[:8])
    assert store.model("serving") == store.alias("serving") == second
    with pytest.raises(UnknownName):
        store.model("")
    with pytest.raises(InputError, match="no model's id"):
        store.set_alias(first.id, second.id)


def test_two_ways_to_the_same_weights_are_two_models(store: Store) -> None:
    trained = store.add_model(model("a"))
    forgotten = store.add_model(model("a", parents=(trained.id,), method="retrain"))
    assert trained.id != forgotten.id
    with pytest.raises(InputError, match="names 2 models"):
        store.model(str(trained.digest))


def test_the_same_model_twice_is_one(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    uses = [DatasetUse(dataset=dataset.id)]
    first = store.add_model(model("a"), uses)
    entries = len(store.events())
    later = first.created_at + dt.timedelta(days=1)
    assert store.add_model(model("a", created_at=later), uses) == first
    assert len(store.events()) == entries
    with pytest.raises(InputError, match="other uses"):
        store.add_model(model("a"), [])


def test_a_model_of_unknown_origin_is_refused(store: Store, data: Path) -> None:
    import_rows(store, data, ROWS, name="people")
    before = store.events()
    for facts, uses in (
        ({"parents": ("0" * 12,)}, []),
        ({}, [DatasetUse(dataset="peple")]),
        ({}, [DatasetUse(dataset="people", excluded=frozenset({"9"}))]),
    ):
        with pytest.raises(UnknownName):
            store.add_model(model("a", **facts), uses)
    with pytest.raises(InputError, match="one use for each dataset"):
        store.add_model(model("a"), [DatasetUse(dataset="people"), DatasetUse(dataset="people")])
    assert (store.models(), store.events()) == ((), before)


def test_a_tombstone_stays_as_it_was_set(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    assert store.tombstone(["1", "1"], "erased", dataset="people") == 1
    assert store.tombstone(["1", "2"], "again", dataset=dataset.id) == 1
    reasons = {r.id: r.tombstone and r.tombstone.reason for r in store.records("people")}
    assert reasons == {"0": None, "1": "erased", "2": "again", "3": None}
    assert [record.id for record in store.tombstoned("people")] == ["1", "2"]
    with pytest.raises(InputError, match="reason"):
        store.tombstone(["0"], " ", dataset="people")


def test_a_subject_of_many_records_and_datasets(store: Store, data: Path) -> None:
    rows = [{"text": f"row {i}", "subject": "Ana"} for i in range(1200)]
    for name in ("one", "two"):
        import_rows(store, data, rows, name=name)
    found = store.records_of(store.key.subject("ana"))
    assert len(found) == 2400
    assert {record.subjects for record in found} == {(store.key.subject("Ana"),)}


def test_a_request_goes_its_way_and_no_other(store: Store) -> None:
    request = store.add_request(RequestKind.ERASURE, detail={"unsearched": 1})
    with pytest.raises(InputError, match="is received, which leads to received, identity-checked"):
        store.advance_request(request.id, RequestStatus.PUBLISHED)
    for status in ("located", "planned", "approved", "running", "audited", "published"):
        request = store.advance_request(request.id, RequestStatus(status), {"why": status})
    assert [step.status for step in request.history][-2:] == ["audited", "published"]
    assert request.history[0].detail == {"unsearched": 1}
    with pytest.raises(InputError, match="is published, which leads to closed; got running"):
        store.advance_request(request.id, RequestStatus.RUNNING)
    store.advance_request(request.id, RequestStatus.CLOSED)
    with pytest.raises(InputError, match="it has ended"):
        store.advance_request(request.id, RequestStatus.CLOSED)


def test_a_request_keeps_its_report_and_needs_a_time_zone(store: Store) -> None:
    received = dt.datetime(2025, 3, 31, 9, tzinfo=dt.UTC)
    request = store.add_request(RequestKind.OPT_OUT, received_at=received)
    done = store.advance_request(request.id, RequestStatus.REFUSED, report="reports/x.json")
    assert (done.received_at, done.report) == (received, "reports/x.json")
    with pytest.raises(InputError, match="time zone"):
        store.add_request(RequestKind.OPT_OUT, received_at=dt.datetime(2025, 3, 31))


def test_every_change_is_one_entry(store: Store, data: Path) -> None:
    import_rows(store, data, ROWS, name="people")
    store.tombstone(["1"], "erased", dataset="people")
    store.set_alias("serving", store.add_model(model("a")).id)
    request = store.add_request(RequestKind.POISON)
    store.advance_request(request.id, RequestStatus.LOCATED)
    assert [entry.kind for entry in store.events()] == [
        "ledger-created",
        "dataset-added",
        "records-tombstoned",
        "model-added",
        "alias-set",
        "request-received",
        "request-advanced",
    ]
    (pointed,) = store.events("alias-set")
    assert pointed.detail["alias"] == "serving"
    assert store.verify_log().sound


def test_another_key_is_refused(tmp_path: Path, ledger: Path | str, store: Store) -> None:
    store.close()
    with pytest.raises(StateError, match="does not belong"):
        Store.open(ledger, key=Key.create(tmp_path / "other.key"))


def test_a_ledger_is_made_once(ledger: Path | str, store: Store) -> None:
    before = store.events()
    with pytest.raises(StateError, match=r"exists|holds a ledger"):
        Store.create(ledger, key=store.key)
    assert store.events() == before


def test_a_ledger_is_only_opened_where_it_is(
    tmp_path: Path, nowhere: Path | str, store: Store
) -> None:
    with pytest.raises(StateError, match="olvido init"):
        Store.open(nowhere, key=store.key)
    (tmp_path / "notes.db").write_text("no database at all, " * 100)
    with pytest.raises(StateError, match=r"notes\.db could not be used"):
        Store.open(tmp_path / "notes.db", key=store.key)
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(StateError, match=r"empty\.db is empty"):
        Store.open(tmp_path / "empty.db", key=store.key)
    with pytest.raises(InputError, match="no driver"):
        Store.open("postgresql+nonsense://x", key=store.key)
    with pytest.raises(InputError, match="in SQLite or Postgres, not in mysql"):
        Store.open("mysql+aiomysql://host/name", key=store.key)
    with pytest.raises(InputError, match="as a file or as a URL"):
        Store.open("://", key=store.key)


def test_writers_wait_for_each_other(ledger: Path | str, store: Store) -> None:
    def write(number: int) -> None:
        with Store.open(ledger, key=store.key) as own:
            for _ in range(5):
                own.add_request(RequestKind.ERASURE, law=str(number))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({request.id for request in store.requests()}) == 20
    assert store.verify_log().sound


def test_a_text_that_is_none_is_told_without_what_stands_there(blank: Path, tmp_path: Path) -> None:
    shutil.copytree(blank, tmp_path, dirs_exist_ok=True)
    path, key = tmp_path / "ledger.db", Key.load(tmp_path / "olvido.key")
    with Store.open(path, key=key) as store:
        asked = store.add_request(RequestKind.POISON, scope={"source": "x"}, law=None)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE requests SET law = CAST(x'ff536f6c6572' AS TEXT)")
    database.close()
    with Store.open(path, key=key) as store, pytest.raises(StateError) as error:
        store.request(asked.id)
    assert "UTF-8" in str(error.value)
    assert "Soler" not in str(error.value)
