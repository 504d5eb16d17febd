"""The pages of one dataset and of one model, and the drawing of how they came from one another."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from tests.service.conftest import sign_in

from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.ledger.digests import Digest
from olvido.ledger.facts import (
    DatasetUse,
    Documentation,
    Ending,
    Exit,
    Guarantee,
    Model,
    RequestKind,
    RequestStatus,
)
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext, receive
from olvido.service.lineage import BOX, MOST, WIDTH, Drawing, LineageNode, draw
from olvido.settings import Settings

ODD = "<b>odd</b> & 'so' \u202e"


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.ledger, key=Key.load(settings.key)) as made:
        yield made


@pytest.fixture
def team(client: TestClient, settings: Settings) -> TestClient:
    sign_in(client, Accounts.of(settings).new("auditor", "Iu")[1])
    return client


def _forgot(store: Store, parent: Model, name: str, *records: str) -> Model:
    use = DatasetUse(
        dataset=store.dataset("notes").id,
        forgotten=frozenset(records),
        guarantee=Guarantee.EMPIRICAL if records else None,
    )
    weights = Digest.of(name.encode())
    made = Model(digest=weights, path=name, learner="monolith", method="npo", parents=(parent.id,))
    return store.add_model(made, [use])


def _published(store: Store, request: str, before: Model, after: Model | None) -> None:
    for status in ("located", "planned", "approved", "running", "audited"):
        found = {"records": 1, "models": [before.id]} if status == "located" else {}
        store.advance_request(request, RequestStatus(status), found)
    answer = {
        "models": {"before": {"id": before.id}, "after": after and {"id": after.id}},
        "method": {"name": "npo"},
        "guarantee": "empirical",
        "audit": {"verdict": "pass"},
    }
    store.advance_request(request, RequestStatus.PUBLISHED, {"answer": answer})


def _parts(client: TestClient, ref: str) -> dict[str, tuple[str, str | None]]:
    found = client.get(f"/api/models/{ref}").json()["requests"]
    return {one["id"]: (one["part"], one["closure"]) for one in found}


def test_a_model_tells_what_it_came_from_and_what_requests_did_with_it(
    team: TestClient, store: Store, settings: Settings
) -> None:
    first = store.model("serving")
    second = _forgot(store, first, "second", "r1")
    third = _forgot(store, second, "third", "r2")
    store.set_alias("serving", third.id)
    _published(store, "req-0001", first, second)
    store.put_closure("req-0001", {f"model:{first.id}": Ending(None)})
    store.add_request(RequestKind.DESTROY, scope={"model": third.id})
    store.add_request(RequestKind.DESTROY, scope={"model": first.id})
    _published(store, "req-0003", first, None)
    store.put_closure("req-0003", {f"model:{second.id}": Ending(Exit.CANNOT, "kept")})
    store.tombstone_model(first.id, "destroyed for request req-0003")
    assert _parts(team, first.id) == {
        "req-0001": ("replaced", "open"),
        "req-0003": ("destroyed", None),
    }
    assert _parts(team, second.id) == {
        "req-0001": ("made", None),
        "req-0003": ("named", "cannot"),
    }
    assert _parts(team, "serving") == {"req-0002": ("named", None)}
    told = team.get(f"/api/models/{second.id}").json()
    assert (told["parents"], told["children"]) == ([first.id], [third.id])
    for model, says in (
        (first, ("destroyed for request req-0003", second.id, "was destroyed for it")),
        (second, (first.id, third.id, "1 forgotten", "npo", "this model was made for it, by npo")),
        (third, ("serving", second.id, "req-0002")),
    ):
        page = team.get(f"/models/{model.id}").text
        assert [one for one in (*says, f"Model {model.id}") if one not in page] == []
    assert "gone" in team.get("/models").text


def test_a_dataset_tells_its_counts_and_its_owners_word(
    team: TestClient, store: Store, settings: Settings
) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "text": "One.", "subject": "Pau Vila", "consent": "withdrawn", "source": "x"},
        {"id": "b", "text": "Two.", "subject": "Pau Vila", "consent": "granted", "source": "x"},
        {"id": "c", "text": "Three.", "consent": "granted", "source": "y"},
    ]
    said = Documentation(retention="two years", intended_use=ODD, licence="CC0", creator="Laia")
    first = store.dataset("notes")
    made = import_rows(
        store, settings.data, rows, name=ODD[:-2], parent=first.id, documentation=said
    ).dataset
    store.tombstone(["a"], "erasure", dataset=made.id)
    told = team.get(f"/api/datasets/{made.id}").json()
    assert (told["rows"], told["people"], told["without_subject"], told["sources"]) == (3, 1, 1, 2)
    assert told["consents"] == {"withdrawn": 1, "granted": 2}
    assert told["tombstoned"] == {"erasure": 1}
    page = team.get(f"/data/{made.id}").text
    shown = html.unescape(page)
    for says in ("two years", "CC0", "withdrawn: 1", "1: erasure", "which this was made from"):
        assert says in shown, says
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page
    assert not re.search("Laia|Pau|Vila", page)
    parent = team.get(f"/data/{first.id}").text
    assert f'href="/data/{made.id}"' in parent


def test_a_dataset_tells_which_requests_concern_it_whatever_they_are_about(
    team: TestClient, store: Store, settings: Settings
) -> None:
    rows = [
        {"id": "a", "text": "One.", "subject": "Pau Vila", "source": "x"},
        {"id": "b", "text": "Two.", "subject": "P. Vila", "source": "y"},
        {"id": "c", "text": "Three.", "subject": "Laia Roca", "source": "z"},
    ]
    other = import_rows(store, settings.data, rows, name="other").dataset
    front = StoreContext(store, settings)
    by_name = receive(front, "Laia Roca")
    by_other_name = receive(front, "Núria Puig", also=["P. Vila"])
    by_source = receive(front, source="y", kind="poison")
    by_record = receive(front, dataset="other", records=["a"], kind="outdated")
    by_mention = receive(front, "Núria Puig", kind="opt-out")
    store.put_closure(by_mention.id, {f"rows:{other.id}": Ending(None)})
    elsewhere = receive(front, model="serving", kind="destroy")
    concerned = {by_name.id, by_other_name.id, by_source.id, by_record.id, by_mention.id}
    assert set(team.get(f"/api/datasets/{other.id}").json()["requests"]) == concerned
    page = team.get("/data/other").text
    assert set(re.findall(r'href="/requests/(req-\d+)"', page)) == concerned
    notes = set(team.get("/api/datasets/notes").json()["requests"])
    assert notes == {"req-0001", by_other_name.id, by_mention.id}
    assert elsewhere.id not in concerned | notes


@pytest.mark.parametrize("where", ["/models", "/data", "/api/models", "/api/datasets"])
@pytest.mark.parametrize("name", ["Pau Vila", "<b>x", "0" * 12, "0" * 16, "a" * 199, "é%20"])
def test_what_is_unknown_is_not_repeated(team: TestClient, where: str, name: str) -> None:
    answer = team.get(f"{where}/{name}")
    assert answer.status_code == 404
    assert name not in html.unescape(answer.text)
    assert "there is no such" in answer.text
    # Who is lost finds the menu.
    assert where.startswith("/api") or 'href="/overview"' in answer.text


def test_every_link_of_lists_and_pages_leads_somewhere(team: TestClient, store: Store) -> None:
    _forgot(store, store.model("serving"), "second", "r1")
    waiting, seen = ["/models", "/data"], set[str]()
    while waiting:
        answer = team.get(path := waiting.pop())
        assert answer.status_code == 200, path
        title = re.search(r"<title>([^<]+) ·", answer.text)
        assert title is not None, path
        seen.add(path)
        if path.startswith(("/models", "/data")):
            links = set(re.findall(r'<a href="(/[^"#]*)', answer.text))
            waiting += [link for link in links - seen if link not in waiting]
    assert len([path for path in seen if path.count("/") == 2]) >= 4


@contextmanager
def _queries(client: TestClient) -> Iterator[list[str]]:
    (tenant,) = client.app.state.authenticator.tenants  # type: ignore[attr-defined]
    said: list[str] = []

    def note(*said_of: Any) -> None:
        said.append(said_of[2])

    event.listen(tenant.store._engine, "before_cursor_execute", note)
    yield said
    event.remove(tenant.store._engine, "before_cursor_execute", note)


@pytest.mark.slow
def test_a_page_asks_each_table_as_often_however_much_there_is(
    team: TestClient, store: Store
) -> None:
    def asked() -> list[int]:
        counts = []
        for path in ("/models/serving", "/data/notes", "/models", "/data"):
            team.get(path)
            with _queries(team) as said:
                assert team.get(path).status_code == 200
            counts.append(len(said))
        return counts

    few, model = None, store.model("serving")
    for number in range(12):
        few = asked() if number == 1 else few
        model = _forgot(store, model, f"version {number}", "r1")
        for name in ("Pau Vila", f"somebody {number}"):
            made = store.add_request(
                RequestKind.OPT_OUT if number % 2 else RequestKind.ERASURE,
                subject=store.key.subject(name),
                scope={"also": [str(store.key.subject(f"{name} {number}"))]},
            )
            store.advance_request(made.id, RequestStatus.LOCATED, {"models": [model.id]})
    assert asked() == few


@st.composite
def _graphs(draw_: st.DrawFn) -> tuple[dict[str, LineageNode], list[tuple[str, str]], str]:
    size = draw_(st.integers(1, 30))
    names = [f"n{number}" for number in range(size)]
    pairs = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))
    edges = {(names[a], names[b]) for a, b in draw_(st.lists(pairs, max_size=60)) if a < b}
    nodes = {name: LineageNode(name, "model", name, "monolith") for name in names}
    return nodes, sorted(edges), draw_(st.sampled_from(names))


def _segments(path: str) -> list[tuple[float, float, float, float]]:
    """A path of M, L, H, V and v, cut into straight pieces."""
    found, x, y = [], 0.0, 0.0
    for letter, numbers in re.findall(r"([MLHVv])([-\d. ]+)", path):
        values = [float(number) for number in numbers.split()]
        to = {
            "M": lambda v: (v[0], v[1]),
            "L": lambda v: (v[0], v[1]),
            "H": lambda v: (v[0], y),  # noqa: B023
            "V": lambda v: (x, v[0]),  # noqa: B023
            "v": lambda v: (x, y + v[0]),  # noqa: B023
        }[letter](values)
        if letter != "M":
            found.append((x, y, *to))
        x, y = to
    return found


def _crosses(drawing: Drawing) -> list[str]:
    """Lines that run through a box: those at whose ends they begin are only touched."""
    bad = []
    for line in drawing.lines:
        for x1, y1, x2, y2 in _segments(line):
            for part in range(1, 20):
                x, y = x1 + (x2 - x1) * part / 20, y1 + (y2 - y1) * part / 20
                if any(
                    box.x < x < box.x + BOX[0] and box.y < y < box.y + BOX[1]
                    for box in drawing.boxes
                ):
                    bad.append(line)
    return bad


@given(_graphs())
def test_a_drawing_shows_the_nearest_and_lets_nothing_overlap(
    graph: tuple[dict[str, LineageNode], list[tuple[str, str]], str],
) -> None:
    nodes, edges, asked = graph
    drawing = draw(nodes, edges, asked)
    at = {box.node.id: (box.x, box.y) for box in drawing.boxes}
    assert asked in at
    assert len(at) == len(drawing.boxes) <= 1 + 2 * MOST
    assert len(set(at.values())) == len(at)
    for x, y in at.values():
        assert 0 <= x <= WIDTH - BOX[0]
        assert 0 <= y <= drawing.height - BOX[1]
        assert all(abs(x - a) >= BOX[0] or y != b for a, b in at.values() if (a, b) != (x, y))
    shown = [(origin, made) for origin, made in edges if origin in at and made in at]
    assert len(drawing.lines) == len(shown)
    assert all(at[origin][1] < at[made][1] for origin, made in shown)
    assert _crosses(drawing) == []
    near = {one for edge in edges if asked in edge for one in edge}
    if drawing.above == drawing.below == 0:
        assert near <= at.keys()
    assert all(name in drawing.says for name in at)
