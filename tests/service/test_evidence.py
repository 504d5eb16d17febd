"""What the pages and the command line say of an answered request: one verdict everywhere."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.service.conftest import answered, send, sign_in

from olvido.accounts import Accounts
from olvido.cli import run
from olvido.ledger.facts import Ending, Exit, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.guidance import concluded_as
from olvido.service.rendering import EXITS
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


def wrong(answer: Any) -> str:
    """What a page says that was wrong."""
    (line,) = [line for line in answer.text.splitlines() if 'role="alert"' in line] or [""]
    return html.unescape(line)


def _store(settings: Settings) -> Store:
    return Store.open(settings.ledger, key=Key.load(settings.key))


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


def test_what_is_published_waits_with_its_clock_until_it_is_closed(
    team: TestClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> list[dict[str, Any]]:
        command = ["--workspace", str(settings.workspace), "request", "list", "--open", "--json"]
        assert run(command) == 0
        return list(json.loads(capsys.readouterr().out)["requests"])

    (row,) = team.get("/api/requests").json()["requests"]
    (told,) = listed()
    assert row["days_left"] == told["days_left"] > 0
    assert told["due"]
    inbox, page = team.get("/").text, team.get("/requests/req-0001").text
    assert "req-0001" in inbox
    assert "its closure is open" in inbox
    assert "olvido request close req-0001" in page
    assert "none needed" not in page
    with _store(settings) as store:
        outside = dict.fromkeys(
            ("backups", "recipients"), Ending(Exit.ERASED, "none", by_word=True)
        )
        store.put_closure("req-0001", outside)
        store.advance_request("req-0001", RequestStatus.CLOSED)
    assert team.get("/api/requests").json()["requests"] == listed() == []
    assert "Nobody waits for an answer" in team.get("/").text
    assert "none needed: it is closed" in team.get("/requests/req-0001").text


@pytest.mark.parametrize(
    ("item", "exit", "said", "why"),
    [
        ("backups", "awaiting-expiry", {"until": "2020-01-01"}, "a day to come"),
        ("backups", "awaiting-expiry", {"until": "soon"}, "2026-12-31"),
        ("backups", "awaiting-expiry", {"why": "they rotate"}, "until when it lasts"),
        ("backups", "cannot", {"why": "  "}, "why it stays"),
        ("model:0123456789ab", "erased", {"why": "by hand"}, "--erase model:0123456789ab"),
        ("recipients", "cannot", {"why": "x"}, "has its exit already"),
        ("log", "cannot", {"why": "x"}, "item of the closure"),
        ("backups", "lost", {"why": "x"}, "awaiting-expiry"),
    ],
)
def test_an_exit_that_cannot_be_is_told_and_not_noted(
    team: TestClient, settings: Settings, item: str, exit: str, said: dict[str, str], why: str
) -> None:
    found: dict[str, tuple[Exit | None, str | None]] = {
        "backups": Ending(None),
        "model:0123456789ab": Ending(None),
        "recipients": Ending(Exit.CANNOT, "they were told"),
    }
    with _store(settings) as store:
        store.put_closure("req-0001", found)
        before = store.events_count()
        answer = send(team, "/requests/req-0001/exit", item=item, exit=exit, **said)
        assert answer.status_code in (404, 422)
        assert why in html.unescape(answer.text)
        assert store.events_count() == before


@pytest.mark.slow
def test_what_nobody_could_make_out_is_called_unrelated_on_the_page_as_by_command(
    team: TestClient, settings: Settings
) -> None:
    (file := settings.workspace / "scan.pdf").write_bytes(b"%PDF-1.7 " + bytes(range(256)))
    item, rows = "unread:scan.pdf", None

    def say(about: str, why: str) -> Any:
        fields = {"item": about, "exit": "unrelated", "why": why}
        return send(team, "/requests/req-0001/exit", **fields)

    with _store(settings) as store:
        rows = f"rows:{store.datasets()[0].id}"
        store.put_closure("req-0001", dict.fromkeys((item, rows, "backups"), Ending(None)))
        before = store.events_count()
        for about, why in ((rows, "theirs"), ("backups", "theirs"), (item, " "), ("unread:x", "y")):
            answer = say(about, why)
            assert answer.status_code in (404, 422), about
            assert (f"“{EXITS[Exit.CANNOT]}”" in wrong(answer)) is (about in (rows, "backups"))
        file.unlink()
        gone = say(item, "theirs")
        assert gone.status_code == 422
        for exit in (Exit.CANNOT, Exit.ERASED):
            assert f"“{EXITS[exit]}”" in wrong(gone)
        # What only the command line can do is named as a command, and nothing else is.
        assert "--" not in re.sub("'olvido [^']*'", "", wrong(gone))
        assert store.events_count() == before
        file.write_bytes(b"%PDF-1.7 " + bytes(range(256)))
        assert 'value="unrelated"' in team.get("/requests/req-0001").text
        assert say(item, "a manual of the printer").status_code == 303
        told = {one.item: one.exit for one in store.closure("req-0001")}
        assert (told[item], told[rows]) == (Exit.UNRELATED, None)
        (entry,) = store.events("closure-unrelated")
        assert entry.detail["by"] == Accounts.of(settings).tokens()[-1].account
    assert 'value="unrelated"' not in team.get("/requests/req-0001").text


def test_an_exit_and_a_letter_are_for_those_who_decide(
    client: TestClient, settings: Settings
) -> None:
    sign_in(client, Accounts.of(settings).new("engineer", "Jan")[1])
    page = client.get("/requests/req-0001").text
    assert "/requests/req-0001/letter" not in page
    for act in ("exit", "letter"):
        assert send(client, f"/requests/req-0001/{act}", kind="partly-done").status_code == 403
    # What is an engineer's is told as a command.
    assert "olvido request close req-0001" in page


def test_a_letter_that_would_be_untrue_is_refused_on_the_page(
    team: TestClient, settings: Settings
) -> None:
    with _store(settings) as store:
        before = store.events_count()
        for kind in ("refused", "received", "extension", "done", "needs-information"):
            reason = {"reason": "x"} if kind in ("refused", "extension") else {}
            answer = send(team, "/requests/req-0001/letter", kind=kind, **reason)
            assert answer.status_code == 422, kind
        assert store.events_count() == before
        written = send(team, "/requests/req-0001/letter", kind="partly-done", language="ca")
        assert written.status_code == 200
        assert "req-0001-partly-done-ca.txt" in written.text
        (entry,) = store.events("notice-written")
        assert (entry.detail["kind"], entry.detail["language"]) == ("partly-done", "ca")


def test_the_certificate_and_the_report_can_be_had_as_files(
    team: TestClient, settings: Settings
) -> None:
    (issued,) = settings.certificates.iterdir()
    for path, file in (
        ("certificate.json", issued),
        ("report.json", settings.reports / "req-0001.json"),
    ):
        answer = team.get(f"/requests/req-0001/{path}")
        assert answer.json() == json.loads(file.read_text("utf-8"))
        assert answer.headers["Content-Disposition"].startswith("attachment")


def test_who_asked_is_said_to_be_checked_or_not_wherever_it_matters(
    team: TestClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(settings.workspace), "request", "show", "req-0001"]) == 0
    seen = [capsys.readouterr().out]
    seen += [team.get(f"/requests/req-0001{path}").text for path in ("", "/certificate")]
    assert ["not checked: nobody has noted" in text for text in seen] == [True] * 3


@pytest.mark.parametrize("path", ["/", "/models"])
def test_who_skips_past_the_end_is_on_the_last_page(team: TestClient, path: str) -> None:
    first = team.get(path).text
    for skip in (1, 50, 9999, 2**31):
        assert team.get(f"{path}?skip={skip}").text == first
