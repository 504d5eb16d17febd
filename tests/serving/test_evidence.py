"""What the pages and the command line say of an answered request: one verdict everywhere."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.serving.conftest import answered, sign_in

from olvido.accounts import Accounts
from olvido.cli import run
from olvido.requests.conclusion import concluded_as
from olvido.settings import Settings

KINDS = {
    "tested": {"exact": False},
    "exact": {"exact": True},
    "undecided": {"exact": True, "undecided": True},
}
"""Answers that were published, by what they rest on."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("answered")
    return {name: answered(folder / name, **how).workspace for name, how in KINDS.items()}


@pytest.fixture
def settings(made: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """A copy of one of them; `tested` where a test does not say which."""
    shutil.copytree(made[getattr(request, "param", "tested")], tmp_path / "ours")
    return Settings.load(tmp_path / "ours", environment={})


@pytest.fixture
def team(client: TestClient, settings: Settings) -> Iterator[TestClient]:
    """Somebody who decides, signed in."""
    sign_in(client, Accounts.of(settings).new("privacy", "Marta")[1])
    return client


@pytest.mark.parametrize("settings", KINDS, indirect=True)
def test_every_place_says_the_same_of_an_answer(
    team: TestClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads((settings.reports / "req-0001.json").read_text("utf-8"))
    says = concluded_as(report["attempts"][-1])
    assert not says.startswith("not published")
    pages = {
        path: html.unescape(team.get(f"/requests/req-0001{path}").text)
        for path in ("", "/certificate")
    }
    assert [path for path, text in pages.items() if says not in text] == []
    for command in ("request report", "certificate show"):
        assert run(["--workspace", str(settings.workspace), *command.split(), "req-0001"]) == 0
        assert says in capsys.readouterr().out, command
    audit = team.get("/requests/req-0001/audit")
    assert audit.status_code == (200 if report["attempts"][-1]["audit"] else 409)
    # A badge of red or of nothing claimed beside one of green is what nobody could read.
    assert "did not pass" not in audit.text
    assert "does not bear that out" not in audit.text
