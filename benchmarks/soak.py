"""What hostile neighbours do to the service, and what those with a token notice of it.

    python benchmarks/soak.py --seconds 600 --out docs/results/soak.json

`olvido serve` runs in a process of its own that may open 1,024 files, on this machine's loopback
alone. Beside somebody who asks with a token on a new connection each time, and somebody who signs
in and out, there are: 1,100 connections that say nothing, requests cut off in their headers,
headers of a byte a second, wrong tokens with forged X-Forwarded-For, bodies without end and without
a token, 100 KiB of headers, two lengths in one request, and readers who do not read. Each second
the service's memory, its open files and its log are looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

import harness
from olvido.accounts import Accounts
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.settings import FILE, Settings, template

FILES = 1024
"""That the service may open."""
IDLE = 1100
"""Connections that say nothing."""
PATIENCE = 10.0
"""Seconds after which somebody with a token gives up."""

_Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hostile:
    """Clients without a token, each kind of which begins anew when it was sent away.

    Args:
        port: of the service on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.begun: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._over = False

    async def run(self, seconds: float) -> None:
        """Go on for as long."""
        kinds: list[tuple[int, _Act]] = [
            (IDLE, self.idle),
            (50, self.half),
            (20, self.dripping),
            (4, self.guessing),
            (4, self.endless),
            (2, self.signing_in_at_length),
            (4, self.headers),
            (2, self.two_lengths),
            (20, self.not_reading),
        ]
        tasks = [
            asyncio.create_task(self._again(act)) for count, act in kinds for _ in range(count)
        ]
        await asyncio.sleep(seconds)
        # Cancelling may be lost inside a wait; who was lost ends by this.
        self._over = True
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=30)

    async def _again(self, act: _Act) -> None:
        while not self._over:
            with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                opened = asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = await asyncio.wait_for(opened, 20)
                self.begun[act.__name__] += 1
                try:
                    await act(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.2)

    async def idle(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        """Say nothing."""
        await reader.read()

    async def half(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a request and leave it."""
        writer.write(b"GET /api/models HTTP/1.1\r\nHost: x\r\nX-")
        await reader.read()

    async def dripping(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A byte of a header each second."""
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        while not reader.at_eof() and not self._over:
            writer.write(b"x")
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1), 1)

    async def guessing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wrong tokens, each from another address if one believes it."""
        for _ in range(50):
            number = next(self._numbers)
            writer.write(
                b"GET /api/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer olvido_%d\r\n"
                b"X-Forwarded-For: 10.%d.%d.%d\r\n\r\n"
                % (number, number >> 16 & 255, number >> 8 & 255, number & 255)
            )
            await asyncio.wait_for(reader.readuntil(b"}"), 20)
            await asyncio.sleep(0.02)

    async def endless(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A body without an end and without a token."""
        writer.write(
            b"POST /api/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        await self._pour(reader, writer)

    async def signing_in_at_length(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A file where a token is expected."""
        writer.write(
            b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        await self._pour(reader, writer)

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(300):
            if reader.at_eof():
                return
            writer.write(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
            await asyncio.wait_for(writer.drain(), 20)

    async def headers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Headers of 100 KiB."""
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100 * 2**10 + b"\r\n\r\n")
        await asyncio.wait_for(reader.read(), 20)

    async def two_lengths(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A request that may be read as another one."""
        writer.write(
            b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        await asyncio.wait_for(reader.read(), 20)

    async def not_reading(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask for much, and read none of it."""
        writer.transport.pause_reading()
        for _ in range(200):
            writer.write(b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(writer.drain(), 20)
            await asyncio.sleep(0.1)


class Known:
    """Somebody with a token, on a new connection each time, until told to stop.

    Args:
        port: of the service on 127.0.0.1.
        secret: the token.
    """

    def __init__(self, port: int, secret: str) -> None:
        self._port, self._secret = port, secret
        self.took: list[float] = []
        self.failed: list[str] = []
        self._over = threading.Event()
        acts = ((self._ask, 0.25), (self._sign_in_and_out, 3.0))
        self._threads = [threading.Thread(target=self._go_on, args=act) for act in acts]

    def __enter__(self) -> Known:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, act: Callable[[], None], every: float) -> None:
        while not self._over.wait(every):
            began = time.monotonic()
            try:
                act()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failed.append(f"{act.__name__}: {type(error).__name__} {error}"[:200])
            else:
                self.took.append(time.monotonic() - began)

    def _ask(self) -> None:
        self._one("GET", "/api/requests", 200, {"Authorization": f"Bearer {self._secret}"})

    def _sign_in_and_out(self) -> None:
        text, cookie = self._one("GET", "/login", 200, {})
        _, cookie = self._send("/login", text, cookie, token=self._secret)
        text, _ = self._one("GET", "/laws", 200, {"Cookie": cookie})
        self._send("/logout", text, cookie)

    def _send(self, path: str, text: str, cookie: str, **fields: str) -> tuple[str, str]:
        found = re.search(r'name="form" value="([^"]*)"', text)
        assert found is not None
        body = urllib.parse.urlencode({**fields, "form": found[1]})
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        return self._one("POST", path, 303, kind, body)

    def _one(
        self, method: str, path: str, status: int, headers: dict[str, str], body: str | None = None
    ) -> tuple[str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == status, f"{path} {answer.status}"
            return text, (answer.headers["set-cookie"] or "").partition(";")[0]
        finally:
            connection.close()


def soak(folder: Path, seconds: float) -> dict[str, Any]:
    """Figures of a service among hostile clients for so long."""
    settings = _workspace(folder)
    _, secret = Accounts.of(settings).new("privacy", "somebody")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3 * IDLE <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 * IDLE, hard))
    log = folder / "service.log"
    code = "import sys; from olvido.cli import main; sys.argv[0] = 'olvido'; main()"
    with log.open("wb") as writes:
        service = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--port", "0", "--json"],
            cwd=settings.workspace,
            stdout=subprocess.PIPE,
            stderr=writes,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )
    try:
        port = _port(service)
        hostile = Hostile(port)
        with Known(port, secret) as alone:
            time.sleep(min(20.0, seconds / 5))
        before = _looked(service.pid, log)
        seen: list[dict[str, int]] = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(1.0):
                seen.append(_looked(service.pid, log))

        watching = threading.Thread(target=look)
        watching.start()
        with Known(port, secret) as known:
            asyncio.run(hostile.run(seconds))
        over.set()
        watching.join()
        assert service.poll() is None, "the service ended"
        # What strangers held is given back.
        time.sleep(15.0)
        after = _looked(service.pid, log)
    finally:
        os.kill(service.pid, signal.SIGINT)
        service.communicate(timeout=60)
    half = len(seen) // 2
    return {
        "seconds": seconds,
        "before": before,
        "peak": {name: max(one[name] for one in seen) for name in before},
        "first_half_peak": {name: max(one[name] for one in seen[:half]) for name in before},
        "after": after,
        "alone": _figures(alone),
        "known": _figures(known),
        "failed": known.failed[:20],
        "hostile": dict(hostile.begun),
    }


def _figures(known: Known) -> dict[str, Any]:
    asked = len(known.took) + len(known.failed)
    return {
        "asked": asked,
        "answered": len(known.took) / max(1, asked),
        "p50_ms": 1000 * float(np.median(known.took)) if known.took else None,
        "p99_ms": 1000 * float(np.percentile(known.took, 99)) if known.took else None,
        "max_ms": 1000 * max(known.took, default=float("nan")),
    }


def _looked(pid: int, log: Path) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    resident = re.search(r"VmRSS:\s*(\d+)", status)
    assert resident is not None
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return {
        "memory_mib": int(resident[1]) // 1024,
        "files": files,
        "log_bytes": log.stat().st_size,
    }


def _port(service: subprocess.Popen[bytes]) -> int:
    assert service.stdout is not None
    said = b""
    while not said.rstrip().endswith(b"}"):
        line = service.stdout.readline()
        assert line, "the service did not begin"
        said += line
    return int(json.loads(said)["address"].rpartition(":")[2])


def _workspace(folder: Path) -> Settings:
    (folder / FILE).write_text(template(), encoding="utf-8")
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    return settings


def main() -> None:
    """Soak the service."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    args = harness.parsed(parser)
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), args.seconds)
    harness.finish(harness.header() | found, args)


if __name__ == "__main__":
    main()
