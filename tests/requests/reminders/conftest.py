"""A workspace with requests that are due, a webhook and a mail server on this machine."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from olvido.ledger.facts import RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.calendar import terms
from olvido.requests.desk import Front
from olvido.requests.laws import find_law
from olvido.settings import Settings

SECRET = "a secret that both have"


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """One request that is late, one due in three days, one in thirty, and one without a law."""
    settings = Settings.load(tmp_path, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        law = find_law("gdpr", workspace=tmp_path)
        for name, days in (("Ana Soler", 40), ("Joan Puig", 27), ("Pau Vila", 1)):
            store.add_request(
                RequestKind.ERASURE,
                subject=store.key.subject(name),
                law=law.name,
                detail=terms(law, settings),
                received_at=datetime.now(UTC) - timedelta(days=days),
            )
        store.add_request(RequestKind.POISON, scope={"source": "forum"})
        secret = settings.key.with_name("webhook-secret")
        secret.write_text(f"{SECRET}\n")
        secret.chmod(0o600)
        yield Front(store, settings)


def told_to(front: Front, **reminders: Any) -> Front:
    """The same workspace, with reminders set."""
    return Front(front.store, replace(front.settings, reminders=reminders))


@dataclass
class Hook:
    """A webhook that keeps what it was sent, and answers as it is told; after that, 200."""

    url: str
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            made.got.append((dict(self.headers), self.rfile.read(length)))
            self.send_response(made.answers.pop(0) if made.answers else 200)
            self.send_header("Location", made.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    made = Hook(f"http://127.0.0.1:{server.server_port}/hook?team=privacy")
    with _running(server):
        yield made


@dataclass
class Postbox:
    """A mail server that keeps mails, and refuses whom and when it is told to."""

    port: int
    mails: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    codes: list[int] = field(default_factory=list)


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                verb, _, rest = line.partition(" ")
                if verb.upper() == "DATA":
                    self.say("354 go on")
                    kept = []
                    while (text := self.rfile.readline().decode()) != ".\r\n":
                        kept.append(text)
                    made.mails.append("".join(kept))
                    self.say("250 kept")
                elif verb.upper() == "QUIT":
                    self.say("221 bye")
                    return
                elif verb.upper() == "MAIL" and made.codes:
                    self.say(f"{made.codes.pop(0)} not now")
                elif verb.upper() == "RCPT" and any(one in rest for one in made.refused):
                    self.say("550 nobody@here is no reader")
                else:
                    self.say("250 yes")

        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    made = Postbox(server.server_address[1])
    with _running(server):
        yield made


class _running:
    def __init__(self, server: socketserver.BaseServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def nowhere() -> int:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def naps() -> list[float]:
    """The pauses that were made, in place of making them."""
    return []


@pytest.fixture
def sleep(naps: list[float]) -> Callable[[float], None]:
    return naps.append
