"""How long the service's pages take over 10,000 open requests and 1,000 versions of a model.

    python benchmarks/service.py --out docs/results/service.json

Processor time of each page and API route, asked 40 times after once, in one process without a
network: median, 95th percentile and the first time, when every request's days are counted and the
log is checked. The inbox is also asked after a change each time, so that its list is made anew.
"""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

import harness
from ledger import RECORDS_PER_SUBJECT, add_models, rows
from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.ledger.facts import Ending, Exit, RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.rights.deadlines import terms
from olvido.requests.rights.registry import find_law
from olvido.service.app import application
from olvido.settings import FILE, Settings, template

SHOWN = "req-5000"
"""A request whose closure has as many lines as there are models, and a few more."""
PATHS = (
    "/",
    "/?law=gdpr&due=late&skip=50",
    "/overview",
    f"/requests/{SHOWN}",
    f"/requests/{SHOWN}/progress",
    "/models",
    "/data",
    "/laws",
    "/log",
    "/api/requests",
    f"/api/requests/{SHOWN}/closure",
    "/api/models",
)
TIMES = 40
MODELS = 1_000


def workspace(folder: Path, count: int) -> Settings:
    """One with as many open requests, received over the last forty days."""
    (folder / FILE).write_text(template(), encoding="utf-8")
    made = Settings.load(folder)
    key, now = Key.create(made.key), datetime.datetime.now(datetime.UTC)
    laws = [find_law(name, workspace=folder) for name in ("gdpr", "uk-gdpr", "ccpa")]
    with Store.create(made.ledger, key=key) as store:
        for number in range(count):
            law = laws[number % 3]
            store.add_request(
                RequestKind.ERASURE,
                subject=key.subject(f"somebody {number}"),
                law=law.name,
                detail=terms(law, made),
                received_at=now - datetime.timedelta(days=number % 40),
            )
        add_lineage(store, made)
    return made


def add_lineage(store: Store, settings: Settings) -> None:
    """A dataset, versions of a model that forgot one person after another, and a closure of all."""
    people = import_rows(store, settings.data, rows(MODELS * RECORDS_PER_SUBJECT), name="people")
    add_models(store, people.dataset.id, MODELS)
    found: dict[str, tuple[Exit | None, str | None]] = {
        f"model:{model.id}": Ending(Exit.CANNOT, "kept for an audit of last year")
        for model in store.models()
    }
    store.put_closure(SHOWN, found | dict.fromkeys(("backups", "recipients"), Ending(None)))


def asked(client: TestClient, path: str, headers: dict[str, str]) -> float:
    """Milliseconds of processor that a page takes."""
    began = time.process_time()
    assert client.get(path, headers=headers).status_code == 200
    return 1000 * (time.process_time() - began)


def figures(spent: Sequence[float]) -> dict[str, float]:
    """Of some times, the first apart."""
    first, *rest = spent
    return {
        "first_ms": first,
        "median_ms": float(np.median(rest)),
        "p95_ms": float(np.percentile(rest, 95)),
    }


def main() -> None:
    """Measure every page."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a folder to build in, or one built before")
    args = harness.parsed(parser)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        where = args.keep or Path(folder)
        made = (where / FILE).exists()
        settings = Settings.load(where) if made else workspace(where, args.requests)
        store = Store.open(settings.ledger, key=Key.load(settings.key))
        _, secret = Accounts.of(settings).new("privacy", "somebody")
        headers = {"Authorization": f"Bearer {secret}"}
        with TestClient(application([settings], asks=(10**9, 1.0))) as client:
            for path in PATHS:
                spent = []
                for _ in range(1 + TIMES):
                    spent.append(asked(client, path, headers))
                found[path] = figures(spent)
                print(path, found[path], flush=True)
            spent = []
            for number in range(1 + TIMES):
                store.advance_request(f"req-{number + 1:04d}", RequestStatus.IDENTIFIED)
                spent.append(asked(client, "/", headers))
            found["/ after a change"] = figures(spent)
            print("/ after a change", found["/ after a change"], flush=True)
    about = harness.header(requests=args.requests, models=MODELS, times=TIMES)
    harness.finish(about | {"pages": found}, args)


if __name__ == "__main__":
    main()
