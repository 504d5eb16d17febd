"""Whoever writes to the workflow's tables runs nothing in the worker."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from olvido.errors import StateError
from olvido.files import write_document
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.workflow.forgetting import WORK, read_result, write_result
from olvido.requests.workflow.worker import Worker, without_pickle
from olvido.settings import Settings


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def packed(canary: Path, protocol: int | None = None) -> str:
    return base64.b64encode(pickle.dumps(Touches(canary), protocol=protocol)).decode()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An empty workspace whose worker has run once: its tables are there."""
    settings = Settings.load(tmp_path / "workspace", environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    with Worker(settings) as worker:
        assert worker.work() == ()
    return settings


def put(settings: Settings, table: str, **row: Any) -> None:
    """Insert a row; what it does not say is what DBOS would accept."""
    with sqlite3.connect(settings.workspace / WORK / "workflow.db") as connection:
        columns = {
            name: kind
            for _, name, kind, needed, default, _ in connection.execute(
                f"PRAGMA table_info({table})"
            )
            if needed and default is None
        }
        whole = {n: 0 if "INT" in kind.upper() else "x" for n, kind in columns.items()} | row
        names, marks = ", ".join(whole), ", ".join("?" * len(whole))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*whole.values()])


def pending(settings: Settings, **row: Any) -> None:
    whole = {
        "workflow_uuid": "olvido-3:req-0001:3",
        "status": "PENDING",
        "name": "answer",
        "executor_id": "worker",
        "application_version": "olvido-3",
        "serialization": "portable_json",
        "inputs": json.dumps({"positionalArgs": ["req-0001"], "namedArgs": {}}),
        "created_at": 1,
        "updated_at": 1,
        "recovery_attempts": 0,
    }
    put(settings, "workflow_status", **whole | row)


PLANTED: dict[str, Callable[[Settings, Path], None]] = {
    "a workflow's inputs": lambda s, c: pending(s, inputs=packed(c), serialization="py_pickle"),
    "inputs that do not say how they are written": lambda s, c: pending(
        s, inputs=packed(c), serialization=None
    ),
    "inputs that say they are JSON": lambda s, c: pending(s, inputs=packed(c, protocol=0)),
    "the output of a step": lambda s, c: put(
        s,
        "operation_outputs",
        workflow_uuid="olvido-3:req-0001:3",
        output=packed(c),
        serialization="py_pickle",
    ),
    "the error of a step, in the oldest protocol": lambda s, c: put(
        s, "operation_outputs", error=packed(c, protocol=0), serialization="py_pickle"
    ),
    "a message": lambda s, c: put(
        s, "notifications", message=packed(c, protocol=2), serialization="py_pickle"
    ),
    "an event": lambda s, c: put(s, "workflow_events", value=packed(c), serialization="py_pickle"),
    "the output of a workflow that has ended": lambda s, c: pending(
        s, status="SUCCESS", output=packed(c), serialization="py_pickle"
    ),
    "a serializer nobody knows": lambda s, _: pending(s, serialization="dill"),
    "a workflow of another name": lambda s, _: pending(s, name="os.system"),
    "a workflow of another name that waits in a queue": lambda s, _: pending(
        s, name="_dbos_debouncer_workflow", status="ENQUEUED"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED)
def test_what_no_worker_wrote_is_refused_and_runs_nothing(
    planted: str, settings: Settings, tmp_path: Path
) -> None:
    PLANTED[planted](settings, tmp_path / "canary")
    with pytest.raises(StateError, match="nothing was run"), Worker(settings):
        pytest.fail("the worker began")
    assert not (tmp_path / "canary").exists()


def test_a_worker_that_refused_leaves_the_next_one_free(settings: Settings) -> None:
    pending(settings, name="os.system")
    with pytest.raises(StateError, match="nothing was run"), Worker(settings):
        pytest.fail("the worker began")
    with sqlite3.connect(settings.workspace / WORK / "workflow.db") as connection:
        connection.execute("DELETE FROM workflow_status")
    with Worker(settings) as worker:
        assert worker.work() == ()


def test_a_workflow_for_a_request_that_is_none_ends_in_a_line(settings: Settings) -> None:
    pending(settings)
    with Worker(settings) as worker, pytest.raises(StateError, match="could not go on"):
        worker.work()


def test_a_row_that_changes_later_is_not_unpickled_either(tmp_path: Path) -> None:
    from dbos._serialization import DBOSPortableJSON, deserialize_args, deserialize_value

    canary = tmp_path / "canary"
    for read in (deserialize_args, deserialize_value):
        with without_pickle(), pytest.raises(StateError):
            read(packed(canary), "py_pickle", DBOSPortableJSON)
    assert not canary.exists()
    deserialize_value(packed(canary), "py_pickle", DBOSPortableJSON)
    assert canary.exists()


def approve(front: StoreContext, name: str) -> None:
    request = receive(front, name, nothing_found=True)
    for status in (RequestStatus.LOCATED, RequestStatus.PLANNED, RequestStatus.APPROVED):
        front.store.advance_request(request.id, status)


@pytest.mark.parametrize("case", ["elsewhere", "changed", "unkeyed", "another's", "approved anew"])
def test_only_the_result_that_was_written_is_published(
    case: str, settings: Settings, tmp_path: Path
) -> None:
    document: dict[str, Any] = {"requests": ["req-0001"]}
    work = settings.workspace / WORK
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        front = StoreContext(store, settings)
        for name in ("Ana Soler", "Pol Vidal"):
            approve(front, name)
        name = write_result(front, "req-0001", document)
        assert read_result(front, "req-0001", name) == document
        asked = "req-0001"
        match case:
            case "elsewhere":
                write_document(document, tmp_path / name)
                name = f"../../{name}"
            case "changed":
                write_document({"requests": ["req-0002"]}, work / name)
            case "unkeyed":
                # Who keeps the files but has no key can give a file any name but the right one.
                digest = hashlib.sha256(canonical_json(["req-0001", document])).hexdigest()
                name = f"req-0001-{digest[:32]}.json"
                write_document(document, work / name)
            case "another's":
                asked = "req-0002"
            case "approved anew":
                store.advance_request(asked, RequestStatus.APPROVED, {})
        with pytest.raises(StateError, match="nothing is published"):
            read_result(front, asked, name)


def test_a_result_survives_a_rotation_of_the_key(settings: Settings) -> None:
    document: dict[str, Any] = {"requests": ["req-0001"]}
    key = Key.load(settings.key)
    with Store.open(settings.ledger, key=key) as store:
        front = StoreContext(store, settings)
        approve(front, "Ana Soler")
        name = write_result(front, "req-0001", document)
        rotated = SimpleNamespace(key=key.next(), request=store.request)
        later: Any = SimpleNamespace(store=rotated, settings=settings)
        assert read_result(later, "req-0001", name) == document
