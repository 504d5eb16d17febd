"""What the role that files requests and sees none can learn by filing: nothing."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.service.conftest import send, sign_in

from olvido.accounts import Accounts
from olvido.ledger.facts import RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.settings import Settings

LOCATED = "looked for where your data"

KNOWN, ASKED, UNKNOWN = "Pau Vila", "Núria Puig", "Perseus Quixote"
"""In the data; in the data, and asked for before; in none."""


@pytest.fixture
def requester(bearer: Callable[[str], dict[str, str]]) -> dict[str, str]:
    return bearer("requester")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.ledger, key=Key.load(settings.key)) as opened:
        yield opened


def _shape(text: str) -> str:
    """An answer without what differs each time by chance."""
    return re.sub(r"\d\d:\d\d", "TIME", re.sub(r"/status/[\w-]+", "ADDRESS", text))


def _page(client: TestClient, follow: str) -> str:
    answer = client.get(follow)
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("kind", ["erasure", "opt-out"])
def test_known_unknown_and_asked_before_are_answered_alike(
    client: TestClient, requester: dict[str, str], store: Store, kind: str
) -> None:
    answers, pages, lengths = set(), set(), set()
    others = {KNOWN: ["k@example.org"], ASKED: [ASKED.lower()]}
    for subject in (KNOWN, ASKED, UNKNOWN, UNKNOWN, KNOWN, f" {ASKED.upper()} "):
        before = store.events_count()
        sent: dict[str, Any] = {"subject": subject, "law": "gdpr", "kind": kind}
        sent["also"] = others.get(subject, [])
        answer = client.post("/api/requests", json=sent, headers=requester)
        follow = answer.json()["follow"]
        answers.add((answer.status_code, _shape(answer.text)))
        pages.add(_shape(_page(client, follow)))
        lengths.add(len(follow))
        assert store.events_count() == before + 1
    assert len(answers) == len(pages) == len(lengths) == 1
    assert answers.pop()[0] == 201
    # One request a person: who asked again is noted with the first.
    asked = [str(one.subject) for one in store.requests() if one.kind == kind]
    assert len(asked) == len(set(asked)) == 3


def test_the_page_does_the_same_by_its_form(
    client: TestClient, settings: Settings, store: Store
) -> None:
    sign_in(client, Accounts.of(settings).new("requester", "the desk")[1])
    seen = set()
    for subject in (KNOWN, ASKED, UNKNOWN, UNKNOWN):
        answer = send(client, "/requests", page="/requests/new", subject=subject, law="ccpa")
        seen.add((answer.status_code, _shape(answer.text)))
    assert len(seen) == 1
    assert seen.pop()[0] == 201


def test_time_tells_nothing(client: TestClient, requester: dict[str, str]) -> None:
    spent: dict[str, list[float]] = {}
    for subject in 6 * [KNOWN, ASKED, UNKNOWN]:
        began = time.monotonic()
        client.post("/api/requests", json={"subject": subject}, headers=requester)
        spent.setdefault(subject, []).append(time.monotonic() - began)
    medians = [statistics.median(times) for times in spent.values()]
    assert min(medians) >= 0.25
    assert max(medians) - min(medians) < 0.1, spent


def test_what_is_there_besides_people_is_not_told_either(
    client: TestClient, requester: dict[str, str], store: Store
) -> None:
    before = store.events_count()
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"kind": "destroy", "model": "serving"}, {"kind": "destroy", "model": "nothing"}),
        ({"kind": "poison", "source": "forum"}, {"kind": "poison", "source": "nothing"}),
        (
            {"kind": "outdated", "dataset": "notes", "records": ["r1"]},
            {"kind": "outdated", "dataset": "nothing", "records": ["r9"]},
        ),
        (
            {"kind": "outdated", "dataset": "notes", "records": ["r1"]},
            {"kind": "outdated", "dataset": "notes", "records": ["r1", "R1"]},
        ),
        (
            {"subject": str(store.key.subject(KNOWN))},
            {"subject": str(store.key.subject(UNKNOWN))},
        ),
        ({"subject": KNOWN, "model": "serving"}, {"subject": UNKNOWN, "model": "nothing"}),
        (
            {"subject": KNOWN, "also": [str(store.key.subject(ASKED))]},
            {"subject": UNKNOWN, "also": [str(store.key.subject(UNKNOWN))]},
        ),
        ({"subject": KNOWN, "law": "gpdr"}, {"subject": UNKNOWN, "law": "gpdr"}),
        (
            {"subject": KNOWN, "nothing_found": True, "law": "x"},
            {"subject": UNKNOWN, "nothing_found": True, "law": "x"},
        ),
    ]
    for there, not_there in pairs:
        answers = [
            client.post("/api/requests", json=sent, headers=requester)
            for sent in (there, not_there)
        ]
        assert {one.status_code for one in answers} == {422}, there
        assert answers[0].text == answers[1].text
        assert not re.search("did you mean|serving|notes|forum|req-|Known", answers[0].text)
    assert store.events_count() == before
    for sent in ({"subject": KNOWN}, {"subject": UNKNOWN}):
        sent |= {"nothing_found": True}
        assert client.post("/api/requests", json=sent, headers=requester).status_code == 201


def test_a_receipt_says_more_once_it_is_known_who_asks(
    client: TestClient, requester: dict[str, str], store: Store
) -> None:
    def file(subject: str) -> str:
        answer = client.post("/api/requests", json={"subject": subject}, headers=requester)
        return str(answer.json()["follow"])

    first, again = file(KNOWN), file(KNOWN)
    made = store.requests()[-1].id
    store.advance_request(made, RequestStatus.LOCATED)
    assert LOCATED not in _page(client, first)
    store.advance_request(made, RequestStatus.IDENTIFIED)
    store.advance_request(made, RequestStatus.LOCATED)
    assert LOCATED in _page(client, first)
    assert LOCATED not in _page(client, again)


def test_a_receipt_that_nobody_gave_is_no_page(
    client: TestClient, requester: dict[str, str]
) -> None:
    answer = client.post("/api/requests", json={"subject": KNOWN}, headers=requester)
    follow = answer.json()["follow"]
    for wrong in (
        follow[:-1],
        follow + "A",
        follow.replace(follow[20], "A" if follow[20] != "A" else "B"),
        "/status/",
        "/status/req-0001",
        "/status/" + "A" * 61,
        "/status/" + "é" * 20,
    ):
        assert client.get(wrong).status_code in (404, 422), wrong
