"""Access and rectification on the page of a request: what comes next, and what is done there."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.service.conftest import send, sign_in

from olvido.accounts import Accounts
from olvido.ledger.facts import Request, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.handlers import StoreContext
from olvido.requests.rights.access import export
from olvido.settings import Settings

PERSON = "Núria Puig"


@pytest.fixture
def front(settings: Settings) -> StoreContext:
    return StoreContext(Store.open(settings.ledger, key=Key.load(settings.key)), settings)


@pytest.fixture
def team(client: TestClient, settings: Settings) -> TestClient:
    """Somebody who decides, signed in."""
    sign_in(client, Accounts.of(settings).new("privacy", "Marta")[1])
    return client


def wrong(front: StoreContext, *, checked: bool = True) -> Request:
    """A rectification of the person's one record."""
    how = {"kind": "rectification", "dataset": "notes", "records": ["r1"]}
    asked = handlers.receive(front, PERSON, **how)
    return handlers.identify(front, asked.id, by="Marta") if checked else asked


def test_an_access_leads_on_to_its_end(
    team: TestClient, front: StoreContext, tmp_path: Path
) -> None:
    one = handlers.receive(front, PERSON, kind="access").id

    def page() -> str:
        return html.unescape(team.get(f"/requests/{one}").text)

    assert f"olvido request identify {one}" in page()
    send(team, f"/requests/{one}/identify")
    assert f"olvido request export {one} --out FOLDER" in page()
    # Nothing is closed whose answer was not written.
    assert f"/requests/{one}/close" not in page()
    refused = send(team, f"/requests/{one}/close")
    assert (refused.status_code, front.store.request(one).status.open) == (422, True)
    export(front, one, tmp_path / "out", by="Marta")
    assert f"/requests/{one}/close" in page()
    assert send(team, f"/requests/{one}/close").status_code == 303
    assert front.store.request(one).status is RequestStatus.CLOSED
    assert f"/requests/{one}/close" not in page()
    # What is closed so is nothing but an access.
    assert send(team, "/requests/req-0001/close").status_code == 422
    assert front.store.request("req-0001").status is RequestStatus.RECEIVED


ROWS = {
    "not a word of JSON": "it says Girona",
    "a list": '["r1", "Girona"]',
    "a name twice": '{"id": "r1", "id": "r1", "completion": "Girona"}',
    "too deep": "[" * 50_000,
    "no number": '{"id": "r1", "completion": NaN}',
    "another's": '{"id": "r2", "completion": "Girona"}',
    "no such column": '{"id": "r1", "Girona": "x"}',
    "twice": '{"id": "r1", "completion": "Girona"}\n{"id": "r1", "completion": "Reus"}',
    "nothing": " \n ",
}


def test_what_is_right_is_entered_on_the_page_whole_or_not_at_all(
    team: TestClient, front: StoreContext
) -> None:
    one = wrong(front).id
    before = front.store.events_count()
    for name, rows in ROWS.items():
        refused = send(team, f"/requests/{one}/correct", rows=rows)
        assert refused.status_code == 422, name
        (line,) = [line for line in refused.text.splitlines() if 'role="alert"' in line]
        assert name == "no such column" or "Girona" not in line
        assert "--" not in re.sub("'olvido [^']*'", "", html.unescape(line))
    assert front.store.events_count() == before
    right = json.dumps({"id": "r1", "completion": "In Reus\u2028by the river."}, ensure_ascii=False)
    entered = send(team, f"/requests/{one}/correct", rows=f"\r\n{right}\r\n")
    assert entered.status_code == 303
    rows = load_rows(front.store, front.settings.data, front.store.dataset("notes"))
    said = {row["id"]: row["completion"] for row in rows}
    assert said == {"r1": "In Reus\u2028by the river.", "r2": "Now."}
    told = front.store.request(one).history[-1].detail["corrected"]
    assert told["by"] == Accounts.of(front.settings).tokens()[-1].account
    page = team.get(f"/requests/{one}").text
    assert f"/requests/{one}/correct" not in page
    assert f"olvido request locate {one}" in page
    assert "notes version 1" in page


@pytest.mark.parametrize("role", ["engineer", "auditor"])
def test_both_are_for_those_who_decide(
    client: TestClient, front: StoreContext, settings: Settings, role: str
) -> None:
    Accounts.of(settings).new("privacy", "Marta")
    one = wrong(front).id
    sign_in(client, Accounts.of(settings).new(role, "Jan")[1])
    assert f"/requests/{one}/correct" not in client.get(f"/requests/{one}").text
    before = front.store.events_count()
    for act in ("correct", "close"):
        rows = '{"id": "r1", "completion": "Reus"}'
        assert send(client, f"/requests/{one}/{act}", rows=rows).status_code == 403
    assert front.store.events_count() == before


def test_who_asks_is_checked_before_anything_is_corrected(
    team: TestClient, front: StoreContext
) -> None:
    one = wrong(front, checked=False).id
    page = team.get(f"/requests/{one}").text
    assert f"/requests/{one}/correct" not in page
    rows = '{"id": "r1", "completion": "Reus"}'
    refused = send(team, f"/requests/{one}/correct", rows=rows)
    assert refused.status_code == 422
    assert "(“Identity was checked”)" in html.unescape(refused.text)
    assert front.store.dataset("notes").version == 1
