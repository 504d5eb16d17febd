"""The overview, the filters of the inbox and its search: who may use them, and what they keep."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.service.conftest import send, sign_in

from olvido.accounts import Accounts
from olvido.cli import run
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.settings import Settings

NAME = "Núria Puig"


@pytest.fixture
def team(client: TestClient, settings: Settings) -> TestClient:
    sign_in(client, Accounts.of(settings).new("privacy", "Marta")[1])
    return client


@pytest.fixture
def many(team: TestClient, bearer: Callable[[str], dict[str, str]]) -> TestClient:
    """Four requests in all: two kinds, two laws, one refused."""
    header = bearer("privacy")
    for sent in (
        {"subject": "Pau Vila", "law": "ccpa"},
        {"subject": "Pau Vila", "kind": "opt-out"},
        {"kind": "destroy", "model": "serving"},
    ):
        assert team.post("/api/requests", json=sent, headers=header).status_code == 201
    team.post("/api/requests/req-0003/refuse", json={"why": "twice"}, headers=header)
    return team


def _numbers(page: str) -> dict[str, int]:
    """The numbers of a page that lead to lists, by where they lead."""
    found = re.findall(r'<a href="(/[^"]*)"[^>]*>(\d+)</a>', page)
    return {html.unescape(where): int(number) for where, number in found}


def test_every_number_of_the_overview_leads_to_a_list_as_long(many: TestClient) -> None:
    numbers = _numbers(many.get("/overview").text)
    assert len(numbers) > 20
    assert sum(numbers.values()) > 8
    for where, number in numbers.items():
        listed = many.get(where).text
        assert re.search(rf"<p>{number} ", listed), where
        assert len(re.findall(r'href="/requests/req-', listed)) == number, where
    summary = many.get("/api/requests/summary").json()
    assert (summary["total"], summary["open"]) == (4, 3)


LISTS = [
    ("", ["req-0001", "req-0002", "req-0004"]),
    ("status=all", ["req-0001", "req-0002", "req-0003", "req-0004"]),
    ("status=refused", ["req-0003"]),
    ("kind=destroy", ["req-0004"]),
    ("kind=&law=ccpa&due=&received=&answered=&about=", ["req-0002"]),
    ("law=none", ["req-0004"]),
    ("status=all&law=none&kind=opt-out", ["req-0003"]),
    ("received=1999-01", []),
]


def test_pages_and_api_filter_alike_and_refuse_what_is_no_filter(many: TestClient) -> None:
    for query, ids in LISTS:
        page = many.get(f"/?{query}").text
        assert sorted(re.findall(r'href="/requests/(req-\d+)"', page)) == ids, query
        rows = many.get(f"/api/requests?{query}").json()
        assert (rows["total"], sorted(row["id"] for row in rows["requests"])) == (len(ids), ids)
    for query in ("status=x", "due=x", "kind=x", "received=x", "answered=2026"):
        for path in ("/", "/api/requests"):
            answer = many.get(f"{path}?{query}")
            assert answer.status_code == 422, query
            assert "expected" in answer.text
    for query, known in (("law=gdrp", "gdpr"), ("law=nolaw", "gdpr"), ("owner=nobody", "none")):
        for path in ("/", "/api/requests", "/requests.csv"):
            answer = many.get(f"{path}?{query}")
            assert (answer.status_code, known in answer.text) == (404, True), query
    assert many.get("/?law=GDPR").status_code == 200


def test_a_requester_is_offered_what_may_be_filed_and_a_way_back(
    client: TestClient, settings: Settings
) -> None:
    sign_in(client, Accounts.of(settings).new("requester", "Rita")[1])
    form = client.get("/requests/new").text
    assert (
        set(re.findall(r'<option value="([a-z-]+)"[^>]*>\w+[:-]', form))
        & {
            "rectification",
            "poison",
            "outdated",
        }
        == set()
    )
    assert 'value="erasure"' in form
    assert not re.search('name="(source|dataset|record|nothing_found)"', form)
    back = client.get("/")
    assert back.status_code == 403
    (where,) = re.findall(r'href="([^"]+)">Back to the start', back.text)
    assert client.get(where).status_code == 200


def test_what_is_about_no_person_is_entered_with_its_records_and_no_word_of_names(
    team: TestClient, settings: Settings
) -> None:
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        one = store.records(store.datasets()[0].id)[0]
        name = store.datasets()[0].name
    fields = {"kind": "outdated", "dataset": name, "record": one.id}
    made = send(team, "/requests", page="/requests/new", **fields)
    assert made.status_code == 201, made.text
    assert "It is about 1 record, of 1 person." in made.text
    assert "by each name" not in made.text


def test_a_list_can_be_had_as_a_file_without_anybody_in_it(
    many: TestClient, settings: Settings, bearer: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    marta = Accounts.of(settings).new("privacy", "=Marta+")[0].account
    sent = {"owner": marta}
    many.post("/api/requests/req-0001/owner", json=sent, headers=bearer("privacy"))
    table = many.get("/requests.csv?status=all")
    assert table.headers["Content-Disposition"] == 'attachment; filename="requests.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text)))
    document = many.get("/requests.json?status=all").json()["requests"]
    assert [row["id"] for row in rows] == [row["id"] for row in document]
    assert {row["id"]: row["owner"] for row in document}["req-0001"] == marta
    assert [
        row["id"] for row in csv.DictReader(many.get("/requests.csv?law=ccpa").text.split("\n"))
    ]
    assert not re.search("hmac|Puig|Vila|Marta", table.text + json.dumps(document))
    command = ["--workspace", str(settings.workspace), "request", "list", "--csv"]
    assert run([*command, str(tmp_path / "list.csv")]) == 0
    assert (tmp_path / "list.csv").read_bytes().decode() == table.text
    assert run([*command, str(tmp_path / "list.csv")]) == 2
    refused = many.get("/requests.csv", headers=bearer("requester"))
    assert refused.status_code == 403


@pytest.mark.slow
def test_the_command_line_lists_the_same(
    many: TestClient, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(*asked: str) -> list[str]:
        command = ["--workspace", str(settings.workspace), "request", "list", *asked, "--json"]
        assert run(command) == 0
        return [one["id"] for one in json.loads(capsys.readouterr().out)["requests"]]

    assert listed("--open") == listed("--status", "open") == ["req-0001", "req-0002", "req-0004"]
    assert listed("--law", "none") == ["req-0003", "req-0004"]
    assert listed("--about", NAME) == listed("--about", "1") == ["req-0001"]
    assert listed("--about", "Pau Vila", "--kind", "opt-out") == ["req-0003"]
    assert listed("--about", "Perseus Quixote") == listed("--received", "1999-01") == []


def _found(client: TestClient, text: str) -> Any:
    return send(client, "/search", page="/", text=text)


def test_a_person_is_found_by_name_and_the_name_is_kept_nowhere(
    many: TestClient, settings: Settings, bearer: Callable[[str], dict[str, str]]
) -> None:
    answer = _found(many, f" {NAME.upper()}")
    digest = str(Key.load(settings.key).subject(NAME))
    assert answer.status_code == 303
    assert digest in html.unescape(answer.headers["location"]).replace("%3A", ":")
    page = many.get(answer.headers["location"]).text
    assert re.findall(r'href="/requests/(req-\d+)"', page) == ["req-0001"]
    (row,) = many.post(
        "/api/requests/search", json={"text": NAME}, headers=bearer("auditor")
    ).json()["requests"]
    assert (row["id"], row["subject"]) == ("req-0001", digest)
    for text in (NAME, "Puig"):
        for file in Path(settings.workspace).rglob("*"):
            kept = file.is_file() and file.suffix != ".parquet"
            assert not (kept and text.encode() in file.read_bytes()), file


def test_a_number_leads_to_its_request_and_who_did_not_ask_to_nothing(many: TestClient) -> None:
    for text in ("4", "req-0004", " REQ-0004 "):
        answer = _found(many, text)
        assert (answer.status_code, answer.headers["location"]) == (303, "/requests/req-0004")
    for text in ("Puig", "Nuria Puch", "9999", "<b>x</b>", "\x00", "   "):
        answer = _found(many, text)
        assert answer.status_code == 200
        assert "No request has that number" in answer.text
        assert not re.search("Puig|Puch|9999|<b>x", answer.text)


def test_who_may_not_see_requests_cannot_search_filter_or_count_them(
    client: TestClient, bearer: Callable[[str], dict[str, str]]
) -> None:
    header = bearer("requester")
    for method, path, sent in (
        ("GET", "/overview", None),
        ("GET", "/?status=all", None),
        ("GET", "/api/requests/summary", None),
        ("POST", "/search", {"text": NAME}),
        ("POST", "/api/requests/search", {"text": NAME}),
        ("POST", "/api/requests/search", {"text": "Perseus Quixote"}),
    ):
        answer = client.request(method, path, json=sent, headers=header)
        assert answer.status_code == 403, path
        assert "req-" not in answer.text
