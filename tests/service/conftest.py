"""A service of two small workspaces, and somebody of each role."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from olvido.accounts import Accounts, Role
from olvido.data.importing import import_rows
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Model
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.certificate import issue
from olvido.requests.handlers import StoreContext, receive
from olvido.service.app import application
from olvido.settings import FILE, Settings, template


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a dataset, a model that learned it, and a request; to copy is faster."""
    return workspace(tmp_path_factory.mktemp("ready") / "ours", "Núria Puig").workspace


@pytest.fixture
def settings(ready: Path, tmp_path: Path) -> Settings:
    shutil.copytree(ready, tmp_path / "ours")
    return Settings.load(tmp_path / "ours", environment={})


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(application([settings]), follow_redirects=False) as made:
        yield made


@pytest.fixture
def bearer(settings: Settings) -> Callable[[str], dict[str, str]]:
    """Headers of somebody with this role."""

    def make(role: str) -> dict[str, str]:
        _, secret = Accounts.of(settings).new(role, f"somebody, {role}")
        return {"Authorization": f"Bearer {secret}"}

    return make


@pytest.fixture
def headers(bearer: Callable[[str], dict[str, str]]) -> dict[Role, dict[str, str]]:
    return {role: bearer(role) for role in Role}


def sign_in(client: TestClient, secret: str) -> Any:
    """Sign a browser in by the form for that."""
    return send(client, "/login", page="/login", token=secret)


def send(client: TestClient, path: str, *, page: str = "/laws", **fields: str) -> Any:
    """Send a form as a browser does that has just opened a page with such a form."""
    shown = client.get(page).text
    found = re.search(r'name="form" value="([^"]*)"', shown)
    assert found is not None, shown
    return client.post(path, data={**fields, "form": found[1]})


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of a service that runs until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def workspace(folder: Path, person: str) -> Settings:
    folder.mkdir()
    (folder / FILE).write_text(template(), encoding="utf-8")
    made = Settings.load(folder, environment={})
    rows = [
        {"id": "r1", "prompt": "Where?", "completion": "Here.", "subject": person},
        {"id": "r2", "prompt": "When?", "completion": "Now.", "subject": "Pau Vila"},
    ]
    with Store.create(made.ledger, key=Key.create(made.key)) as store:
        import_rows(store, made.data, rows, name="notes")
        learned = store.dataset("notes")
        store.add_model(
            Model(digest=Digest.of(b"weights"), path="m", learner="monolith"),
            [DatasetUse(dataset=learned.id)],
        )
        store.set_alias("serving", store.models()[0].id)
        receive(StoreContext(store, made), person, law="gdpr")
    return made


def answered(folder: Path, **how: bool) -> Settings:
    """A workspace with a request that was answered and certified, made of facts alone."""
    where = Path(__file__).parents[1] / "requests" / "certificate" / "conftest.py"
    spec = importlib.util.spec_from_file_location("answered_by_facts", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look themselves up by their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    folder.mkdir()
    (folder / FILE).write_text(template(), encoding="utf-8")
    case = module.answered(folder, **how)
    issue(case.workspace, "req-0001")
    settings: Settings = case.workspace.settings
    case.workspace.store.close()
    return settings
