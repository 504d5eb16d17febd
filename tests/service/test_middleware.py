"""Bodies: how much, how long, and that nobody's is read before it is known who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from olvido.service import server as middleware
from olvido.settings import Settings

Header = dict[str, str]


@pytest.fixture
def header(bearer: Callable[[str], Header]) -> Header:
    return bearer("privacy")


class Sender:
    """Asks an application as a server would, and counts what it took of the body."""

    def __init__(self, app: Any) -> None:
        self.app, self.taken, self.sent = app, 0, list[dict[str, Any]]()

    def ask(
        self, path: str, headers: Header, chunks: Iterator[bytes], *, wait: float = 0.0
    ) -> dict[str, Any]:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(wait)
            chunk = next(chunks, None)
            self.taken += len(chunk or b"")
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "client": ("192.0.2.1", 1),
            "server": ("testserver", 80),
            "state": {},
        }
        asyncio.run(self.app(scope, receive, send))
        start = self.sent[0]
        return {"status": start["status"], "headers": dict(start["headers"])}


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 2**16


CHUNKED = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
SAID = {"Content-Length": str(300 * 2**20), "Content-Type": "application/json"}


@pytest.mark.parametrize("said", [CHUNKED, SAID])
@pytest.mark.parametrize("path", ["/api/requests", "/requests", "/requests/req-0001/wait"])
@pytest.mark.parametrize("who", [{}, {"Authorization": "Bearer olvido_x"}, {"Cookie": "olvido=x"}])
def test_not_a_byte_is_taken_from_who_is_not_known(
    client: TestClient, said: Header, path: str, who: Header
) -> None:
    sender = Sender(client.app)
    answer = sender.ask(path, {"Host": "testserver", **said, **who}, _endless())
    cookie_api = path.startswith("/api") and "Cookie" in who
    assert answer["status"] == (403 if cookie_api else 401 if path.startswith("/api") else 303)
    assert answer["headers"][b"connection"] == b"close"
    assert sender.taken == 0


@pytest.mark.parametrize("said", [CHUNKED, SAID])
@pytest.mark.parametrize("path", ["/login", "/logout", "/nowhere", "/style.css", "/api/nowhere"])
def test_where_no_token_is_asked_for_a_body_is_small(
    client: TestClient, said: Header, path: str
) -> None:
    sender = Sender(client.app)
    answer = sender.ask(path, {"Host": "testserver", **said}, _endless())
    assert answer["status"] == 413
    assert sender.taken <= 2 * 2**16


@pytest.mark.parametrize("said", [CHUNKED, SAID])
@pytest.mark.parametrize("path", ["/api/requests", "/requests", "/requests/req-0001/wait"])
def test_who_is_known_may_send_so_much(
    client: TestClient, header: Header, said: Header, path: str
) -> None:
    sender = Sender(client.app)
    answer = sender.ask(path, {"Host": "testserver", **said, **header}, _endless())
    assert answer["status"] == 413
    assert sender.taken <= middleware.DRAINED + 2**21
    header = {**header, "Content-Type": "application/json"}
    long = b'{"subject": "' + b"x" * 2**20 + b'"}'
    for body, status in ((long, 413), (long[:-100], 422)):
        assert client.post("/api/requests", content=body, headers=header).status_code == status
    almost = b'{"subject": "Pau Vila"' + b" " * (2**20 - 23) + b"}"
    assert client.post("/api/requests", content=almost, headers=header).status_code == 201


def test_a_body_that_does_not_come_is_not_waited_for(
    client: TestClient, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "PATIENCE", 0.2)
    slow = iter([b" "] * 10**6)
    for path, who in (("/login", {}), ("/api/requests", header)):
        sender = Sender(client.app)
        answer = sender.ask(path, {"Host": "testserver", **CHUNKED, **who}, slow, wait=0.02)
        assert answer["status"] == 408
        assert answer["headers"][b"connection"] == b"close"


def test_two_lengths_are_refused(client: TestClient, header: Header) -> None:
    for both in ({"Content-Length": "5"}, {"Content-Length": "0"}):
        sender = Sender(client.app)
        answer = sender.ask("/api/requests", {"Host": "h", **CHUNKED, **both, **header}, iter(()))
        assert answer["status"] == 400


def test_what_lies_where_is_not_told(
    client: TestClient, header: Header, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tenant,) = client.app.state.authenticator.tenants
    url = "postgresql+psycopg://olvido@db.example/olvido"

    def gone(*_: object, **__: object) -> None:
        from olvido.errors import OutOfReach

        raise OutOfReach(f"the ledger {url} could not be used")

    monkeypatch.setattr(type(tenant.store), "models", gone)
    for path in ("/api/models", "/models"):
        answer = client.get(path, headers=header)
        assert answer.status_code == 503
        assert "db.example" not in answer.text
        assert "postgresql" not in answer.text
