"""`olvido serve` as a process, and how it bears a long inbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fastapi.testclient import TestClient

from olvido.accounts import Accounts
from olvido.ledger.facts import RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.rights.deadlines import terms
from olvido.requests.rights.registry import find_law
from olvido.settings import Settings


@pytest.mark.slow
def test_it_says_where_it_serves_and_stops_when_told(settings: Settings) -> None:
    _, secret = Accounts.of(settings).new("auditor", "Iu")
    code = "import sys; from olvido.cli import main; sys.argv[0] = 'olvido'; main()"
    command = [sys.executable, "-u", "-c", code, "serve", "--port", "0", "--json"]
    service = subprocess.Popen(
        command, cwd=settings.workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert service.stdout is not None
        lines = ""
        while not lines.rstrip().endswith("}"):
            line = service.stdout.readline()
            assert line, service.stderr and service.stderr.read()
            lines += line
        address = json.loads(lines)["address"]
        assert address.startswith("http://127.0.0.1:")
        asked = urllib.request.Request(
            f"{address}/api/models", headers={"Authorization": f"Bearer {secret}"}
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert len(json.load(answer)["models"]) == 1
    finally:
        os.kill(service.pid, signal.SIGINT)
        service.communicate(timeout=60)


@pytest.mark.slow
def test_a_long_inbox_does_not_slow_its_pages_beyond_its_length(
    client: TestClient, settings: Settings, bearer: Callable[[str], dict[str, str]]
) -> None:
    """Cost grows with the open requests, not with all that ever were, nor with laws read anew."""
    header = bearer("privacy")

    def seconds() -> float:
        spent = []
        for _ in range(5):
            began = time.process_time()
            assert client.get("/", headers=header).status_code == 200
            spent.append(time.process_time() - began)
        return float(np.median(spent))

    def fill(count: int) -> None:
        law = find_law("gdpr", workspace=settings.workspace)
        with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
            for number in range(count):
                store.add_request(
                    RequestKind.ERASURE,
                    subject=store.key.subject(f"somebody {number} of {count}"),
                    law=law.name,
                    detail=terms(law, settings),
                    received_at=datetime.now(UTC) - timedelta(days=number % 40),
                )

    fill(50)
    few = seconds()
    fill(450)
    many = seconds()
    assert client.get("/api/requests", headers=header).json()["total"] == 501
    assert many < 20 * few
