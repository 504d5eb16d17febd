"""A classifier answers over the API, to those who may work with models alone."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from olvido.accounts import Accounts
from olvido.data.arrays.values import stored
from olvido.data.importing import import_rows
from olvido.learners import Recipe
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.service.app import application
from olvido.settings import Settings
from olvido.workspace import Workspace

Ask = Callable[..., Any]
PATH = "/api/models/serving/answer"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose serving model tells which of two numbers is the larger."""
    folder = tmp_path_factory.mktemp("classifier") / "ours"
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    draw = np.random.default_rng(0).normal(size=(40, 2))
    rows = [{"input": one, "label": "first" if one[0] > one[1] else "second"} for one in draw]
    with Workspace(settings) as workspace:
        import_rows(workspace.store, settings.data, rows, name="numbers")
        recipe = Recipe(epochs=20, batch_size=8, lr=1e-2)
        made = workspace.learn(["numbers"], model="mlp", recipe=recipe)
        workspace.serve(made.id)
    return folder


@pytest.fixture
def ask(place: Path) -> Iterator[Ask]:
    settings = Settings.load(place, environment={})
    with TestClient(application([settings])) as client:

        def call(sent: Any, role: str = "engineer", path: str = PATH) -> Any:
            _, secret = Accounts.of(settings).new(role, f"somebody, {role}")
            return client.post(path, json=sent, headers={"Authorization": f"Bearer {secret}"})

        yield call


def test_every_form_of_an_input_gets_the_model_s_answer(ask: Ask, place: Path) -> None:
    with Workspace(Settings.load(place, environment={})) as workspace:
        loaded = workspace.load("serving")
    task: Any = loaded.task
    for value in ([3.0, -3.0], [-3.0, 3.0]):
        expected = task.probabilities(loaded.trained.model, task.asked(value))
        for sent in (value, stored(np.array(value))):
            answer = ask({"input": sent}).json()
            assert answer["probabilities"] == expected
            assert answer["answer"] == ("first" if value[0] > 0 else "second")
            assert answer["model"] == loaded.fact.id


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "one of text, input and picture, got none"),
        ({"input": [1, 2], "text": "x"}, "got text, input"),
        ({"input": [1, 2, 3]}, "has the shape"),
        ({"input": ["x", "y"]}, "must hold numbers"),
        ({"input": {"dtype": "|O", "shape": [1], "data": ""}}, "no array of type"),
        ({"picture": "no base64!"}, "no base64"),
        ({"picture": base64.b64encode(b"no picture").decode()}, "no picture can be read"),
        ({"text": "Who?"}, "must hold numbers"),
        ({"more": 1}, "not permitted"),
    ],
)
def test_what_is_no_input_is_refused(ask: Ask, sent: Any, words: str) -> None:
    answer = ask(sent)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["error"]


def test_who_may_not_work_with_models_gets_no_answer(ask: Ask) -> None:
    for role in ("requester", "auditor"):
        assert ask({"input": [1, 2]}, role).status_code == 403
    assert ask({"input": [1, 2]}, path="/api/models/nothing/answer").status_code == 404
