"""How long the service's pages take over a ledger of 10,000 open requests.

    python benchmarks/service.py --out docs/results/service.json

Processor time of each page and API route, asked 40 times after once, in one process without a
network: median, 95th percentile and the first time, when every request's days are counted.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from olvido.documents import write_document
from olvido.ledger.facts import RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.serving.app import application
from olvido.serving.tokens import Tokens
from olvido.settings import FILE, Settings, template

PATHS = ("/", "/api/requests", "/requests/req-5000", "/laws", "/models", "/log")
TIMES = 40


def workspace(folder: Path, count: int) -> Settings:
    """One with as many open requests, received over the last forty days."""
    (folder / FILE).write_text(template(), encoding="utf-8")
    made = Settings.load(folder)
    key, now = Key.create(made.key), datetime.datetime.now(datetime.UTC)
    with Store.create(made.ledger, key=key) as store:
        for number in range(count):
            store.add_request(
                RequestKind.ERASURE,
                subject=key.subject(f"somebody {number}"),
                law=("gdpr", "uk-gdpr", "ccpa")[number % 3],
                received_at=now - datetime.timedelta(days=number % 40),
            )
    return made


def main() -> None:
    """Measure every page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = workspace(Path(folder), args.requests)
        _, secret = Tokens.of(settings).new("privacy", "somebody")
        headers = {"Authorization": f"Bearer {secret}"}
        with TestClient(application([settings], asks=(10**9, 1.0))) as client:
            for path in PATHS:
                spent = []
                for _ in range(1 + TIMES):
                    began = time.process_time()
                    assert client.get(path, headers=headers).status_code == 200
                    spent.append(1000 * (time.process_time() - began))
                first, *rest = spent
                found[path] = {
                    "first_ms": first,
                    "median_ms": float(np.median(rest)),
                    "p95_ms": float(np.percentile(rest, 95)),
                }
                print(path, found[path], flush=True)
    about = {
        "command": "python benchmarks/service.py --out docs/results/service.json",
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "requests": args.requests,
        "times": TIMES,
    }
    write_document(about | {"pages": found}, args.out)


if __name__ == "__main__":
    main()
