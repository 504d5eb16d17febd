"""A file of requests is entered whole or not at all, and each wrong row is told by its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.scope import lineage_of
from olvido.requests.workflow.intake import import_requests
from olvido.settings import Settings

ROWS = [
    {"id": "a", "text": "Sails.", "subject": "Joan Puig", "source": "forum"},
    {"id": "b", "text": "Rows.", "subject": "Núria Soler", "source": "forum"},
    {"id": "c", "text": "Sings.", "subject": "nuria@example.org", "source": "gallery"},
]
GOOD = """kind,subject,also,source,dataset,record,law,received,nothing_found
erasure,Joan Puig,,,,,gdpr,2026-11-02,
,Núria Soler,nuria@example.org; N. Soler,,,,gdpr,,
opt-out,,,gallery,,,,,
outdated,,,,people,"a; b",,,
erasure,Perseus Quixote,,,,,ccpa,,yes
"""


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
    settings = Settings.load(tmp_path, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        import_rows(store, settings.data, ROWS, name="people")
        yield StoreContext(store, settings)


def _file(front: StoreContext, text: str, encoding: str = "utf-8") -> Path:
    path = front.settings.workspace / "requests.csv"
    path.write_text(text, encoding)
    return path


@pytest.mark.parametrize("form", [("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", ",")])
def test_every_row_becomes_a_request(front: StoreContext, form: tuple[str, str]) -> None:
    encoding, between = form
    text = GOOD if between == "," else GOOD.replace(";", "|").replace(",", between)
    said = None if encoding.startswith("utf-8") else encoding
    made = import_requests(front, _file(front, text, encoding), encoding=said)
    assert [one.request.id for one in made] == [f"req-000{n}" for n in range(1, 6)]
    assert [one.found for one in made] == [(1,), (1, 1, 0), (), (), (0,)]
    assert [one.line for one in made] == [2, 3, 4, 5, 6]
    requests = front.store.requests()
    assert [one.kind.value for one in requests] == [
        *("erasure", "erasure", "opt-out", "outdated", "erasure")
    ]
    assert [one.law for one in requests] == ["gdpr", "gdpr", None, None, "ccpa"]
    assert requests[0].received_at.date().isoformat() == "2026-11-02"
    assert {r.id for r in lineage_of(front.store, requests[1]).records} == {"b", "c"}
    assert len(front.store.events("request-received")) == 5
    assert front.store.differences() == ()
    kept = str((requests, front.store.events())).casefold()
    assert not any(word in kept for word in ("joan", "soler", "example.org", "quixote"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("erasure,Nobody Known,,,,,gdpr,,", "no record"),
        ("erasure,Joan Puig,,,,,gpdr,,", "law"),
        ("erase,Joan Puig,,,,,,,", "kind"),
        ("erasure,Joan Puig,,forum,,,,,", "nothing else"),
        ("erasure,,Joan Puig,,,,,,", "one subject"),
        ("erasure,Joan Puig,,,,,,02.11.2026,", "day like"),
        ("erasure,Joan Puig,,,,,,2999-01-01,", "future"),
        ("erasure,Joan Puig,,,,,,,perhaps", "yes or no"),
        ("outdated,,,,people,z9,,,", "record"),
        ("erasure,Joan Puig,,,,,,,yes", "there are records"),
        ("erasure,joan puig,,,,,,,", "line 2 asks for the same"),
        (",Soler: Núria,,,,,,,", "no record"),
        ("opt-out,Núria Soler,,,,,,,", "req-0001 asks for the same"),
        ("erasure,Joan Puig,,,,,gdpr,,,,more", "line 7"),
    ],
)
def test_one_wrong_row_and_none_is_entered(front: StoreContext, row: str, why: str) -> None:
    receive(front, "Núria Soler", kind="opt-out")
    before = front.store.events_count()
    with pytest.raises(InputError) as refused:
        import_requests(front, _file(front, f"{GOOD}{row}\n"))
    told = str(refused.value)
    assert "line 7" in told
    assert why in told
    assert "\n" not in told
    assert not any(word in told for word in ("Joan", "joan", "Núria", "Nobody"))
    assert front.store.events_count() == before
    assert len(front.store.requests()) == 1


@pytest.mark.parametrize(
    "subject",
    [
        "Joan Puig; Núria Soler",
        "Joan Puig|Nobody Known",
        "Nobody Known； Joan Puig",
        '["Joan Puig", "Núria Soler"]',
        "['Nobody Known', 'Joan Puig']",
        "['Joan Puig' 'Núria Soler']",
        "Joan Puig, Núria Soler, Nobody Known",
        ["Joan Puig"],
        {"first": "Joan", "last": "Puig"},
        {"Joan Puig": 1},
        '{"first": "Joan", "last": "Puig"}',
        True,
        2.5,
    ],
)
def test_nobody_is_told_that_nothing_is_held_who_was_one_of_several(
    front: StoreContext, subject: Any
) -> None:
    """Read as one name of nobody, several known people would be answered that nothing is held."""
    path = front.settings.workspace / "requests.jsonl"
    path.write_text(json.dumps({"subject": subject, "nothing_found": True}) + "\n", "utf-8")
    with pytest.raises(InputError) as refused:
        import_requests(front, path)
    assert "line 1" in str(refused.value)
    assert not any(word in str(refused.value) for word in ("Joan", "Núria", "Nobody"))
    assert front.store.requests() == ()


@pytest.mark.parametrize(
    "more", [{"law": ["gdpr"]}, {"also": [{"a": "b"}]}, {"kind": {"a": 1}}, {"also": {"a": 1}}]
)
def test_nothing_that_a_row_says_is_passed_over(front: StoreContext, more: dict[str, Any]) -> None:
    path = front.settings.workspace / "requests.jsonl"
    path.write_text(json.dumps({"subject": "Joan Puig", **more}), "utf-8")
    with pytest.raises(InputError):
        import_requests(front, path)
    assert front.store.requests() == ()


def test_a_list_of_one_is_that_one(front: StoreContext) -> None:
    path = _file(front, 'subject,nothing_found\n"[""Joan Puig""]",\nNobody;,yes\n')
    assert [one.found for one in import_requests(front, path)] == [(1,), (0,)]


def test_every_wrong_row_is_told_at_once(front: StoreContext) -> None:
    rows = [f"erasure,Nobody {n},,,,,,," for n in range(30)]
    rows[3] = "erasure,JOAN PUIG,,,,,,,"
    with pytest.raises(InputError) as refused:
        import_requests(front, _file(front, GOOD + "\n".join(rows) + "\n"))
    told = str(refused.value)
    assert told.count("line ") == 21
    assert "line 10: line 2 asks for the same" in told
    assert "30 of 35 rows" in told
    assert "10 more" in told


@pytest.mark.parametrize(
    "text", ["", "kind,subject\n", "kind,who\nerasure,x\n", "subject,subject\nx,y\n"]
)
def test_a_file_without_requests_is_refused(front: StoreContext, text: str) -> None:
    before = front.store.events_count()
    with pytest.raises(InputError):
        import_requests(front, _file(front, text))
    assert front.store.events_count() == before
