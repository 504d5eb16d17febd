"""A workspace with requests that are due, a webhook and a mail server on this machine."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from olvido.ledger.facts import RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext
from olvido.requests.rights.deadlines import terms
from olvido.requests.rights.registry import find_law
from olvido.settings import Settings

SECRET = "a secret that both have"


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
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
        yield StoreContext(store, settings)


def told_to(front: StoreContext, **reminders: Any) -> StoreContext:
    """The same workspace, with reminders set."""
    return StoreContext(front.store, replace(front.settings, reminders=reminders))


@dataclass
class Hook:
    """A webhook that keeps what it was sent, and answers as it is told; after that, 200."""

    url: str
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooked() as made:
        yield made


@contextmanager
def hooked(context: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """A webhook, by https where it has a certificate."""

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
    scheme = "http"
    if context is not None:
        scheme, server.socket = "https", context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
    made = Hook(f"{scheme}://127.0.0.1:{server.server_port}/hook?team=privacy")
    with _running(server):
        yield made


@dataclass
class Postbox:
    """A mail server that keeps mails, and refuses whom and when it is told to."""

    port: int
    mails: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    codes: list[int] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    with posted() as made:
        yield made


@contextmanager
def posted(context: ssl.SSLContext | None = None, security: str = "starttls") -> Iterator[Postbox]:
    """A mail server, by TLS where it has a certificate: from the start, or when it is asked to.

    `clear` are the lines that were said to it without TLS.
    """

    class Handler(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            self.open = context is None or security == "starttls"
            if context is not None and security == "tls":
                self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                verb, _, rest = line.partition(" ")
                if self.open:
                    made.clear.append(line)
                if verb.upper() == "EHLO" and context is not None:
                    offer = "STARTTLS" if self.open else "AUTH PLAIN"
                    self.say(f"250-here\r\n250 {offer}")
                elif verb.upper() == "STARTTLS" and context is not None:
                    self.say("220 go on")
                    self.request = context.wrap_socket(self.request, server_side=True)
                    super().setup()
                    self.open = False
                elif verb.upper() == "AUTH":
                    made.logins.append(rest)
                    self.say("235 welcome")
                elif verb.upper() == "DATA":
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

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
    made = Postbox(server.server_address[1])
    with _running(server):
        yield made


@dataclass(frozen=True)
class Certified:
    """A server's certificate, and the file of who signed it."""

    context: ssl.SSLContext
    authority: Path


@pytest.fixture
def certified(tmp_path: Path) -> Callable[[str], Certified]:
    """Makes a server's certificate for a host by an authority of its own."""

    def make(host: str) -> Certified:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's own authority")])
        known: x509.GeneralName
        try:
            known = x509.IPAddress(ip_address(host))
        except ValueError:
            known = x509.DNSName(host)
        now = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([known]), critical=False)
            .sign(key, SHA256())
        )
        file, private = tmp_path / f"{host}.pem", tmp_path / f"{host}.key"
        file.write_bytes(signed.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, private)
        return Certified(context, file)

    return make


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
