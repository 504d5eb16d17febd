"""Requests over HTTP: entered, followed and decided on, by programs and by people."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from markupsafe import escape
from tests.service.conftest import send, sign_in

from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.ledger.facts import Ending, Exit, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.rights.language import languages
from olvido.requests.scope import lineage_of
from olvido.requests.workflow.order import ordered, waiting
from olvido.schemas.options import RunOptions
from olvido.service import status as following
from olvido.service.app import application
from olvido.service.rendering import ACTS
from olvido.settings import Settings

Bearer = Callable[[str], dict[str, str]]

CHOSEN = {"order": ["retrain"], "because": "it is the only one"}


@pytest.fixture
def privacy(bearer: Bearer) -> dict[str, str]:
    return bearer("privacy")


@pytest.fixture
def browser(client: TestClient, settings: Settings) -> TestClient:
    """Somebody who decides, signed in."""
    _, secret = Accounts.of(settings).new("privacy", "Marta")
    sign_in(client, secret)
    return client


def test_a_request_is_entered_and_followed_by_whoever_asked(
    client: TestClient, bearer: Bearer
) -> None:
    made = client.post(
        "/api/requests", json={"subject": "Pau Vila", "law": "GDPR"}, headers=bearer("privacy")
    )
    assert made.status_code == 201
    followed = client.get(made.json()["follow"])
    assert followed.status_code == 200
    assert "We have your request." in followed.text
    assert "Answer due by" in followed.text
    # It shows how far it has come, and not about whom or what it is.
    assert "Pau" not in followed.text
    assert "hmac" not in followed.text
    other = made.json()["follow"].replace(made.json()["id"], "req-0001")
    assert client.get(other).status_code == 404
    address = made.json()["follow"]
    assert client.get(address[:-1] + ("b" if address[-1] == "a" else "a")).status_code == 404


def test_what_is_wrong_is_told_without_the_name_and_enters_nothing(
    client: TestClient, privacy: dict[str, str]
) -> None:
    before = client.get("/api/requests", headers=privacy).json()["total"]
    for sent, status in (
        ({"subject": "Nobody Known"}, 422),
        ({"subject": "Pau Vila", "law": "gpdr"}, 404),
        ({"subject": "Pau Vila", "kind": "erase"}, 422),
        ({"subject": "Pau Vila", "sorce": "x"}, 422),
        ({"kind": "destroy", "model": "no-such-model"}, 404),
        ({"subject": "Pau Vila", "law": "Nobody Known"}, 404),
        ({"subject": "Pau Vila", "kind": "Nobody Known"}, 422),
        ({"subject": "Pau Vila", "Nobody Known": "x"}, 422),
        ({"kind": "destroy", "model": "Nobody Known"}, 404),
        ({"kind": "outdated", "dataset": "Nobody Known", "records": ["x"]}, 404),
        ({"kind": "outdated", "dataset": "notes", "records": ["Nobody Known"]}, None),
        ({"kind": "opt-out", "source": "Nobody Known"}, 422),
        ({"subject": ""}, 422),
        ({}, 422),
        ([], 422),
    ):
        answer = client.post("/api/requests", json=sent, headers=privacy)
        assert answer.status_code in ((404, 422) if status is None else (status,)), answer.text
        assert "Nobody Known" not in answer.text
        assert "Pau Vila" not in answer.text
        assert answer.json()["error"]
    for wrong in ("kind=", "law=", "due=", "received=", "status=", "owner=", "sort="):
        answer = client.get(f"/api/requests?{wrong}Nobody%20Known", headers=privacy)
        assert "Nobody Known" not in answer.text, wrong
    for path in ("requests", "models", "datasets", "certificates", "runs"):
        answer = client.get(f"/api/{path}/Nobody%20Known", headers=privacy)
        assert answer.status_code in (404, 422), path
        assert "Nobody" not in answer.text, path
    assert client.get("/api/requests", headers=privacy).json()["total"] == before


def test_decisions_move_a_request_and_are_kept_with_who_made_them(
    client: TestClient, privacy: dict[str, str]
) -> None:
    def post(act: str, **sent: Any) -> Any:
        return client.post(f"/api/requests/req-0001/{act}", json=sent, headers=privacy).json()

    assert post("identify")["status"] == "identity-checked"
    waiting = post("wait", why="the passport's copy cannot be read", need="clarification")
    assert waiting["status"] == "needs-input"
    assert post("resume")["status"] == "identity-checked"
    extended = post("extend", why="many models")
    assert "extended by 2 calendar months" in extended["because"]
    assert extended["days_left"] > waiting["days_left"]
    refused = post("refuse", why="it is somebody else's")
    assert (refused["status"], refused["open"], refused["days_left"]) == ("refused", False, None)
    by = [step["detail"].get("by") for step in refused["history"]]
    assert any(who and who.startswith("acct-") for who in by)


@pytest.mark.parametrize(
    ("act", "sent", "status"),
    [
        ("approve", {}, 422),
        ("resume", {}, 422),
        ("wait", {"why": "x", "need": "luck"}, 422),
        ("wait", {"why": "   "}, 422),
        ("refuse", {}, 422),
        ("extend", {"why": "x", "informed_on": "2001-01-01"}, 422),
    ],
)
def test_a_decision_that_cannot_be_is_told_and_changes_nothing(
    client: TestClient, privacy: dict[str, str], act: str, sent: dict[str, str], status: int
) -> None:
    before = client.get("/api/requests/req-0001", headers=privacy).json()
    answer = client.post(f"/api/requests/req-0001/{act}", json=sent, headers=privacy)
    assert answer.status_code == status, answer.text
    assert client.get("/api/requests/req-0001", headers=privacy).json() == before


def test_those_with_the_fewest_days_left_come_first(
    client: TestClient, privacy: dict[str, str]
) -> None:
    for law in ("uk-gdpr", "popia", None):
        sent = {"subject": "Pau Vila", "law": law} | ({} if law else {"kind": "opt-out"})
        client.post("/api/requests", json=sent, headers=privacy)
        last = client.get("/api/requests", headers=privacy).json()["requests"][-1]["id"]
        if law:
            client.post(f"/api/requests/{last}/cancel", json={"why": "again"}, headers=privacy)
    rows = client.get("/api/requests", headers=privacy).json()["requests"]
    days = [row["days_left"] for row in rows]
    assert days == sorted(days, key=lambda d: (d is None, d))
    assert None in days
    assert (
        client.get("/api/requests?limit=1&skip=1", headers=privacy).json()["requests"] == rows[1:2]
    )


def test_the_pages_do_all_of_it_without_a_script(browser: TestClient, settings: Settings) -> None:
    filed = send(browser, "/requests", subject="Pau Vila", law="ccpa")
    assert filed.status_code == 201
    assert re.search(r"/status/req-0002/[a-z2-7]{32}", filed.text)
    inbox = browser.get("/").text
    assert inbox.index("req-0001") < inbox.index("req-0002")
    one = browser.get("/requests/req-0001").text
    assert "General Data Protection Regulation" in one
    assert "Identity was checked" in one
    moved = send(browser, "/requests/req-0001/identify")
    assert (moved.status_code, moved.headers["location"]) == (303, "/requests/req-0001")
    assert "identity-checked" in browser.get("/requests/req-0001").text
    refused = send(browser, "/requests/req-0001/refuse", why=" ")
    assert refused.status_code == 422
    assert "say why" in refused.text
    wrong = send(browser, "/requests/req-0001/wait", why="x", until="tomorrow")
    assert wrong.status_code == 422
    assert "2026-12-31" in wrong.text
    assert send(browser, "/requests/req-0001/destroy").status_code == 404
    assert browser.get("/requests/req-9999").status_code == 404
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        assert [r.status.value for r in store.requests()] == ["identity-checked", "received"]


def test_whoever_may_not_decide_is_shown_no_decision(
    client: TestClient, settings: Settings
) -> None:
    _, secret = Accounts.of(settings).new("auditor", "Iu")
    sign_in(client, secret)
    page = client.get("/requests/req-0001").text
    assert "Identity was checked" not in page
    assert send(client, "/requests/req-0001/identify").status_code == 403


def test_every_law_is_on_its_page_with_its_confidence(browser: TestClient) -> None:
    page = browser.get("/laws").text
    assert page.count("confidence: ") >= 10
    for name in ("gdpr", "ccpa", "lgpd"):
        assert f'id="{name}"' in page


def test_names_that_look_like_markup_are_text(browser: TestClient, settings: Settings) -> None:
    Accounts.of(settings).new("auditor", "<script>alert(1)</script>")
    answer = send(browser, "/requests", subject="<b>Nobody</b>")
    assert answer.status_code == 422
    assert "<b>" not in answer.text


def test_the_closure_is_shown_with_its_blanks(
    browser: TestClient, settings: Settings, privacy: dict[str, str]
) -> None:
    found = {"rows:notes": Ending(Exit.ERASED, "2 rows"), "backups": Ending(None)}
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        store.put_closure("req-0001", found)
    page = browser.get("/requests/req-0001").text
    assert page.count('class="blank"') == 1
    assert "<td>open</td>" in page
    items = browser.get("/api/requests/req-0001/closure", headers=privacy).json()["items"]
    assert {item["item"]: item["exit"] for item in items} == {
        "rows:notes": "erased",
        "backups": None,
    }


def test_what_is_not_there_yet_is_told(client: TestClient, privacy: dict[str, str]) -> None:
    for what in ("report", "certificate"):
        answer = client.get(f"/api/requests/req-0001/{what}", headers=privacy)
        assert answer.status_code == 409, answer.text
        assert "yet" in answer.json()["error"]
        assert client.get(f"/api/requests/req-9999/{what}", headers=privacy).status_code == 404


def test_the_inbox_follows_what_happens_to_a_request(
    client: TestClient, privacy: dict[str, str]
) -> None:
    def left() -> Any:
        return client.get("/api/requests", headers=privacy).json()["requests"][0]["days_left"]

    before = left()
    client.post("/api/requests/req-0001/extend", json={"why": "many"}, headers=privacy)
    assert left() > before


def test_what_is_approved_waits_for_the_worker_with_its_order(
    client: TestClient, settings: Settings, privacy: dict[str, str]
) -> None:
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        serving = store.model("serving").id
        store.advance_request("req-0001", RequestStatus.LOCATED, {"records": 1})
        plan = {"model": serving, "routes": [], "chosen": CHOSEN}
        store.advance_request("req-0001", RequestStatus.PLANNED, plan)
        approved = client.post("/api/requests/req-0001/approve", headers=privacy)
        assert approved.json()["status"] == "approved", approved.text
        order = ordered(store.request("req-0001"))
        assert [one.id for one in waiting(store)] == ["req-0001"]
    assert order == RunOptions(model=serving)


def test_a_plan_is_approved_with_options_or_not_at_all(
    client: TestClient, settings: Settings, privacy: dict[str, str]
) -> None:
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        serving, name = store.model("serving").id, store.datasets()[0].name
        store.advance_request("req-0001", RequestStatus.LOCATED, {"records": 1})
        plan = {"model": serving, "routes": [], "chosen": CHOSEN}
        store.advance_request("req-0001", RequestStatus.PLANNED, plan)
        before = store.events_count()
        for wrong in (
            {"level": "deep"},
            {"seed": 2**64},
            {"references": 0},
            {"references": "many"},
            {"methd": "npo"},
            {"method": "npoo"},
            {"method": "npo", "options": {"lrr": 1}},
            {"options": {"lr": 1e-4}},
            {"holdout": "nothing"},
            {"model": "nobody"},
        ):
            said = client.post("/api/requests/req-0001/approve", json=wrong, headers=privacy)
            assert said.status_code in (404, 422), (wrong, said.text)
            assert store.events_count() == before
        how = {"method": "retrain", "level": "quick", "seed": 3, "holdout": name}
        said = client.post("/api/requests/req-0001/approve", json=how, headers=privacy)
        assert said.json()["status"] == "approved", said.text
        order = ordered(store.request("req-0001"))
    assert order == RunOptions(model=serving, method="retrain", level="quick", seed=3, holdout=name)


def test_who_is_in_no_data_can_ask_too(client: TestClient, privacy: dict[str, str]) -> None:
    sent = {"subject": "Perseus Quixote", "law": "gdpr"}
    assert client.post("/api/requests", json=sent, headers=privacy).status_code == 422
    made = client.post("/api/requests", json=sent | {"nothing_found": True}, headers=privacy)
    assert made.status_code == 201
    assert "Perseus" not in client.get("/api/requests", headers=privacy).text


def test_owner_and_notes_are_kept_by_account_and_found(
    client: TestClient, settings: Settings, bearer: Callable[[str], dict[str, str]]
) -> None:
    accounts = Accounts.of(settings)
    header, auditor = bearer("engineer"), bearer("auditor")
    marta = accounts.new("privacy", "Marta")[0].account

    def told(path: str, sent: dict[str, Any], by: dict[str, str] = header) -> Any:
        return client.post(f"/api/requests/req-0001/{path}", json=sent, headers=by)

    assert told("owner", {"owner": "marta"}).json()["owner"] == {"id": marta, "label": "Marta"}
    assert told("notes", {"text": "the copy of the card is blurred"}).status_code == 200
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        # Said again, it is nothing new; and after the end, a note still is.
        before = store.events_count()
        assert told("owner", {"owner": marta}).status_code == 200
        assert store.events_count() == before
        store.advance_request("req-0001", RequestStatus.REFUSED, {"why": "twice"})
        assert told("notes", {"text": "sent by post"}).status_code == 200
        request = store.request("req-0001")
        assert request.owner == marta
        assert [note.text for note in request.notes] == [
            None,
            "the copy of the card is blurred",
            "sent by post",
        ]
        kept = [entry.detail for entry in store.events("request-noted")]
        assert [len(one) for one in kept] == [3, 3, 3]
        assert "Marta" not in json.dumps(kept)
        assert store.verify_log().sound
        assert store.differences() == ()
        # Names, addresses and numbers are not kept, nor what is no note.
        before = store.events_count()
        for text in (
            "called Núria Puig",
            "PUIG, NURIA is angry",
            "wrote to nuria@example.org.",
            "call +34600123456",
            "her DNI (12345678Z)",
            " ",
        ):
            assert told("notes", {"text": text}).status_code == 422, text
        rita = accounts.new("requester", "Rita, who files")[0].account
        for owner in ("Nobody Known", "Rita, who files", rita):
            refused = told("owner", {"owner": owner})
            assert refused.status_code in (404, 422)
            assert not re.search("Nobody|Rita", refused.text), owner
        assert told("notes", {"text": "x"}, auditor).status_code == 403
        assert told("owner", {"owner": None}, auditor).status_code == 403
        assert store.events_count() == before
    rows = [
        client.get(f"/api/requests?status=all&owner={owner}", headers=header).json()["total"]
        for owner in (marta, "none")
    ]
    assert rows == [1, 0]
    assert client.get("/api/requests?owner=acct-0", headers=header).status_code == 404
    assert told("owner", {"owner": None}).json()["owner"] is None


@pytest.mark.parametrize("act", ["wait", "refuse", "cancel", "extend"])
def test_no_reason_names_the_person(client: TestClient, privacy: dict[str, str], act: str) -> None:
    for why in ("Núria Puig asked twice", "see puig, nuria", "as n.puig@example.org wrote"):
        sent = {"why": why}
        answer = client.post(f"/api/requests/req-0001/{act}", json=sent, headers=privacy)
        assert answer.status_code == 422
        assert "kept" in answer.json()["error"]
        assert "uig" not in answer.json()["error"].replace("requires", "")


REACHED: dict[str, tuple[RequestStatus, dict[str, Any], dict[str, str]]] = {
    "received": (RequestStatus.RECEIVED, {}, {"refused": "refuse", "extension": "extend"}),
    "needs-information": (
        RequestStatus.NEEDS_INPUT,
        {"for": "fee", "why": "x"},
        {"refused": "refuse"},
    ),
    "extension": (
        RequestStatus.LOCATED,
        {"extended": "2026-11-30", "why": "x"},
        {"needs-information": "wait"},
    ),
    "refused": (RequestStatus.REFUSED, {"why": "x"}, {}),
}
"""How far a request is that a letter fits, and which do not yet, by the act that comes first."""


@pytest.mark.parametrize("kind", REACHED)
def test_a_letter_asks_for_a_reason_where_it_says_one_and_names_the_act_that_comes_first(
    browser: TestClient, settings: Settings, kind: str
) -> None:
    status, detail, others = REACHED[kind]
    if detail:
        with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
            store.advance_request("req-0001", status, detail)
    page = browser.get("/requests/req-0001").text
    forms = re.findall(r'action="/requests/req-0001/letter">.*?</form>', page, re.DOTALL)
    asks = {re.findall('name="kind" value="([^"]*)"', one)[0]: 'name="reason"' in one
            for one in forms}  # fmt: skip
    assert asks == {one: one != "received" for one in {kind, *asks}}
    for other, act in others.items():
        refused = send(browser, "/requests/req-0001/letter", kind=other, reason="x")
        (line,) = [line for line in refused.text.splitlines() if 'role="alert"' in line]
        assert f"(“{ACTS[act]}”)" in html.unescape(line)
        assert "olvido" not in line


def test_near_names_are_offered_before_anything_is_entered(
    browser: TestClient, settings: Settings, privacy: dict[str, str]
) -> None:
    rows = [
        {"id": f"m{n}", "text": f"Sails boat {n}.", "subject": name}
        for n, name in enumerate(("Hans Müller", "Hans Mueller", "Hans Mueller"))
    ]
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        import_rows(store, settings.data, rows, name="boats")
        offered = send(browser, "/requests", page="/requests/new", subject="Hans Müller")
        assert offered.status_code == 200
        assert "Nothing is entered yet" in offered.text
        assert len(store.requests()) == 1
        (other,) = re.findall(r'name="same" value="([^"]+)"', offered.text)
        assert other == str(store.key.subject("Hans Mueller"))
        assert "2 records" in offered.text
        entered = send(
            browser,
            "/requests",
            page="/requests/new",
            subject="Hans Müller",
            also="hans@example.org\n\n  Pau Vila ",
            same=other,
            looked="yes",
        )
        assert entered.status_code == 201
        found = re.findall(r"<li>([^<]+): (\d) record", entered.text)
        assert found == [("Hans Müller", "1"), ("hans@example.org", "0"), ("Pau Vila", "1")]
        assert len(lineage_of(store, store.request("req-0002")).records) == 4
        shown = browser.get("/requests/req-0002").text
        assert other in shown
        assert "Hans" not in shown
        sent = {"subject": "Pau Vila", "also": ["Nobody At All"], "kind": "opt-out"}
        told = browser.post("/api/requests", json=sent, headers=privacy).json()
        assert told["found"] == [1, 0]
        for name in ("Hans Mueller", "Pau Vila", "hans@example.org"):
            listed = browser.post("/api/requests/search", json={"text": name}, headers=privacy)
            assert "req-0002" in listed.text


@pytest.mark.parametrize(
    ("query", "accepted", "code"),
    [
        ("", "ca", "ca"),
        ("", "fr-CA, es-MX;q=0.8, en;q=0.5", "es"),
        ("", "es;q=0, en;q=0.1", "en"),
        ("", "de, zh-TW", "en"),
        ("", ";;q=x,,es;q=nan", "en"),
        ("", "", "en"),
        ("?lang=ca", "es", "ca"),
        ("?lang=../en", "es", "es"),
    ],
)
def test_whoever_asked_reads_in_their_language_whom_to_write_and_where_to_turn(
    settings: Settings, query: str, accepted: str, code: str
) -> None:
    settings = replace(settings, contact="privacy@example.org <b>")
    with TestClient(application([settings])) as client:
        with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
            where = following.path(store.key, "req-0001")
        text = client.get(where + query, headers={"Accept-Language": accepted}).text
    words = languages()[code]
    assert f'<html lang="{code}">' in text
    for said in (words.page["title"], words.states["received"], words.recourse["gdpr"]):
        assert str(escape(said)) in text
    assert "privacy@example.org &lt;b&gt;" in text
    for other in languages():
        assert (f"?lang={other}" in text) is (other != code)


def test_a_long_entry_of_the_log_is_folded_and_a_short_one_is_not(
    browser: TestClient, settings: Settings
) -> None:
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        short = len(store.suppressed())
        store.suppress(f"{n:064x}" for n in range(50))
        assert len(store.suppressed()) == short + 50
    text = browser.get("/log").text
    row = next(row for row in text.split("<tr>") if "suppressed" in row)
    assert "<summary>digests: 50</summary>" in row
    assert f"{7:064x}" in row
    assert "<details>" not in next(row for row in text.split("<tr>") if "alias" in row)


def test_a_plan_shows_what_the_training_bounds_if_it_bounds_anything(
    browser: TestClient, settings: Settings
) -> None:
    says = "A test of its weights recognises at most 2.8% of those who took part"
    nothing = dict.fromkeys(
        ("units", "epsilon", "delta", "accountant", "false_positives", "true_positives")
    )
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        serving = store.model("serving").id
        store.advance_request("req-0001", RequestStatus.LOCATED)
        plan = {"model": serving, "routes": [], "chosen": CHOSEN}
        store.advance_request("req-0001", RequestStatus.PLANNED, plan)
    page = browser.get("/requests/req-0001")
    assert page.status_code == 200
    assert says not in page.text
    promise = {"refusal": None, **nothing, "says": says}
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        plan = {**plan, "chosen": {**CHOSEN, "promise": promise}}
        store.advance_request("req-0001", RequestStatus.PLANNED, plan)
    assert says in browser.get("/requests/req-0001").text
