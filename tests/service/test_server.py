"""The server under the application, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from uvicorn.server import ServerState

from olvido.accounts import Accounts
from olvido.errors import InputError
from olvido.service import server as under
from olvido.service.app import application
from olvido.service.server import Quiet, checked_proxies, connections, server
from olvido.settings import FILE, Settings


def _serving(app: Any, **given: Any) -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    made = server(app, **given)
    thread = threading.Thread(target=made.run, args=([listening],))
    thread.start()
    while not made.started:
        time.sleep(0.02)
    yield listening.getsockname()[1]
    made.should_exit = True
    thread.join()


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    yield from _serving(application([settings]))


def _open(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def _said(port: int, *parts: bytes) -> bytes:
    """What comes back until the other side closes."""
    with _open(port) as one:
        said = b""
        try:
            for part in parts:
                one.sendall(part)
                time.sleep(0.05)
            while more := one.recv(2**16):
                said += more
        except (ConnectionResetError, BrokenPipeError):
            pass
        return said


def _answer(one: socket.socket) -> bytes:
    """One whole answer in JSON; what is open stays open."""
    said = b""
    while not said.endswith(b"}"):
        more = one.recv(2**16)
        assert more, said
        said += more
    return said


CLOSE = b"Connection: close\r\n"
GET = b"GET /login HTTP/1.1\r\nHost: x\r\n" + CLOSE


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /login HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
        b"GET /login HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb\r\n\r\n",
        b"GET /login HTTP/1.1\r\nHost: x\r\n Content-Length: 3\r\n\r\nabc",
        b"GET /login HTTP/1.1\nHost: x\n\n",
        b"GET /login HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        b"GET /login HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
        b"GET /login HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100 * 2**10 + b"\r\n\r\n",
        b"GET /login HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET /" + b"x" * 2**15 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /login HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /login HTTP/1.1\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_may_be_read_in_two_ways_is_not_read(port: int, request_: bytes) -> None:
    said = _said(port, request_)
    assert said[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 501"), said[:80]
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_request_may_come_in_pieces_and_one_behind_another(port: int) -> None:
    whole = GET + b"\r\n"
    for cut in (1, len(whole) - 3, len(whole) - 1, whole.index(b"\r") + 1):
        assert _said(port, whole[:cut], whole[cut:]).startswith(b"HTTP/1.1 200")
    several = b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + whole
    assert _said(port, several).count(b"HTTP/1.1 200") == 3
    # And the second is looked at as the first is.
    folded = b"GET /login HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"
    said = _said(port, b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n" + folded)
    assert (said.count(b"HTTP/1.1 200"), said.count(b"HTTP/1.1 400")) == (1, 1)


def test_who_takes_too_long_is_sent_away(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under, "HEADERS_WITHIN", 0.3)
    answered = b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n"
    for sent in (b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", answered + b"GET / HT"):
        began = time.monotonic()
        _said(port, sent)
        assert time.monotonic() - began < 5, sent
    # A byte at a time does not help.
    began = time.monotonic()
    _said(port, *[b"G"] * 40)
    assert time.monotonic() - began < 5


def test_who_does_not_read_is_sent_away(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under, "READ_WITHIN", 0.3)
    asked = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50
    with _open(port) as one:
        one.settimeout(0.5)
        end = time.monotonic() + 30
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            _pour(one, asked, end)


def _pour(one: socket.socket, asked: bytes, end: float) -> None:
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            one.sendall(asked)


def test_more_connections_than_there_is_room_for_keep_nobody_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under, "CONNECTIONS", 20)
    # What is measured is who makes room, not how long this machine takes to open 60 connections.
    monkeypatch.setattr(under, "KEPT_ALIVE", 60)
    _, secret = Accounts.of(settings).new("auditor", "a")
    asked = b"GET /api/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % secret.encode()
    for port in _serving(application([settings])):
        with contextlib.ExitStack() as opened:
            known = opened.enter_context(_open(port))
            known.sendall(asked + b"\r\n")
            assert _answer(known).startswith(b"HTTP/1.1 200")
            for _ in range(60):
                opened.enter_context(_open(port))
            for round_ in range(3):
                known.sendall(asked + b"\r\n")
                assert _answer(known).startswith(b"HTTP/1.1 200"), round_
                assert _said(port, asked + CLOSE + b"\r\n").startswith(b"HTTP/1.1 200")
                for _ in range(15):
                    opened.enter_context(_open(port))


def test_who_was_known_is_known_while_the_next_request_begins(settings: Settings) -> None:
    _, secret = Accounts.of(settings).new("auditor", "a")
    asked = b"GET /api/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
    asked %= secret.encode()

    async def twice() -> list[bool]:
        config = server(application([settings])).config
        config.load()
        one = under.Connection(config, ServerState(), {})
        transport = mock.Mock(
            **{"is_closing.return_value": False, "get_extra_info": lambda _: None}
        )
        one.connection_made(transport)
        one.data_received(asked)
        before = one.trusted
        while not any(b"}" in call.args[0] for call in transport.write.call_args_list):
            await asyncio.sleep(0.01)
        one.data_received(asked)
        after = one.trusted
        one.connection_lost(None)
        return [before, after]

    assert asyncio.run(asyncio.wait_for(twice(), 30)) == [False, True]


def test_half_of_the_files_stay_for_other_things(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, expected in ((1024, 512), (256, 128), (10**6, 512), (resource.RLIM_INFINITY, 512)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections() == expected


@pytest.mark.parametrize("proxies", [(), ("127.0.0.1",), ("127.0.0.0/8", "::1")])
def test_only_a_named_proxy_says_who_asks(settings: Settings, proxies: tuple[str, ...]) -> None:
    app = application([settings], guesses=(2, 600.0))
    for port in _serving(app, proxies=proxies):
        statuses = []
        for number in range(6):
            said = _said(
                port,
                b"GET /api/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\n"
                b"X-Forwarded-For: 198.51.100.%d\r\nX-Forwarded-Proto: https\r\n%s\r\n"
                % (number, CLOSE),
            )
            statuses.append(int(said[9:12]))
            assert (b"strict-transport-security" in said.lower()) == bool(proxies)
        assert statuses == ([401] * 6 if proxies else [401] * 2 + [429] * 4)


def test_a_proxy_is_an_address(settings: Settings) -> None:
    for wrong in ("*", "proxy.example", "", "10.0.0.0/33", "127.0.0.1:80"):
        with pytest.raises(InputError, match="proxy"):
            checked_proxies([wrong])
        (settings.workspace / FILE).write_text(f'proxies = ["{wrong}"]')
        with pytest.raises(InputError, match="proxies"):
            Settings.load(settings.workspace, environment={})
    (settings.workspace / FILE).write_text('proxies = ["10.0.0.0/24", "::1"]')
    assert Settings.load(settings.workspace, environment={}).proxies == ("10.0.0.0/24", "::1")
    given = {"OLVIDO_PROXIES": "127.0.0.1, ::1"}
    assert Settings.load(settings.workspace, environment=given).proxies == ("127.0.0.1", "::1")


def test_a_log_has_few_lines_of_a_kind(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("olvido.tests.quiet")
    log.addFilter(Quiet(3, 0.3))
    for number in range(1000):
        log.warning("refused %s", number)
    log.warning("something else")
    assert len(caplog.records) == 4
    time.sleep(0.4)
    log.warning("refused %s", 1000)
    assert "997 more" in caplog.records[-1].getMessage()
    for number in range(10_000):
        log.warning(f"{number}: all of them different")
    assert len(caplog.records) < 3 * (Quiet.KINDS + 3)


@pytest.mark.slow
def test_a_soak_leaves_memory_files_and_log_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds of what `benchmarks/soak.py` does for ten minutes."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    module = importlib.import_module("soak")
    found = module.soak(tmp_path, 10.0)
    assert found["known"]["asked"] > 10
    # Who signs in is not known before, and may be sent away once; a token never is.
    assert [one for one in found["failed"] if one.startswith("_ask")] == []
    assert found["known"]["answered"] > 0.9, found["failed"]
    assert found["peak"]["files"] < module.FILES
    assert found["peak"]["memory_mib"] < found["before"]["memory_mib"] + 150
    assert found["peak"]["log_bytes"] < 2**20
    assert found["after"]["files"] < found["before"]["files"] + 20
    assert set(found["hostile"]) > {"idle", "half", "guessing", "endless", "not_reading"}
