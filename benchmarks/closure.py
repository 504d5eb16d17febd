"""How long it takes from a person to the map of all that holds them, in a large ledger.

    python benchmarks/closure.py --out docs/results/closure.json

A million records of four to a person, and 1,000 versions of a model, each with its folder, that
forgot one person after another. Each look-up is of another person, who was asked for and whose
request was answered: subject to lineage, rows, near copies, models, checkpoints, exports and files.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import harness
from ledger import RECORDS_PER_SUBJECT, add_models, rows
from olvido.data.importing import import_file
from olvido.ledger.facts import RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.closure import closure
from olvido.requests.handlers import StoreContext
from olvido.settings import FILE, Settings, template

PEOPLE = 20
_S = RequestStatus
WAY = (_S.LOCATED, _S.PLANNED, _S.APPROVED, _S.RUNNING, _S.AUDITED, _S.PUBLISHED)


def build(settings: Settings, records: int, models: int) -> None:
    """The ledger, the models' folders, and an answered request for each of some people."""
    (settings.workspace / FILE).write_text(template(), encoding="utf-8")
    source = settings.workspace.parent / "rows.jsonl"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(records))
    key = Key.create(settings.key)
    with Store.create(settings.ledger, key=key) as store:
        dataset = import_file(store, settings.data, source, name="residents").dataset
        add_models(store, dataset.id, models)
        for model in store.models():
            folder = settings.models / model.path
            folder.mkdir(parents=True)
            for name in ("card.json", "config.json", "tokenizer.json", "model.safetensors"):
                (folder / name).write_bytes(hashlib.sha256(name.encode()).digest())
            step = f"step-000000010-{hashlib.sha256(model.id.encode()).hexdigest()}.pt"
            (folder / step).write_bytes(b"0" * 64)
            store.note("model-exported", {"model": model.id, "path": f"/nowhere/{model.id}"})
        people = records // RECORDS_PER_SUBJECT
        for i in range(PEOPLE):
            made = store.add_request(
                RequestKind.ERASURE, subject=key.subject(f"Resident {1 + i * (people // PEOPLE)}")
            )
            for status in WAY:
                store.advance_request(made.id, status)
    source.unlink()


def measured(settings: Settings) -> dict[str, Any]:
    """Seconds of a closure map, the first apart: it may have to make an index."""
    wall, processor, items = [], [], 0
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        context = StoreContext(store, settings)
        for request in store.requests():
            began, used = time.perf_counter(), time.process_time()
            found = closure(context, request.id)
            wall.append(time.perf_counter() - began)
            processor.append(time.process_time() - used)
            items = max(items, len(found))
            print(request.id, len(found), round(wall[-1], 3), round(processor[-1], 3), flush=True)
    return {"people": len(wall), "most_items": items} | {
        name: {
            "first_s": spent[0],
            "median_s": float(np.median(spent[1:])),
            "p95_s": float(np.percentile(spent[1:], 95)),
            "worst_s": max(spent[1:]),
        }
        for name, spent in (("wall", wall), ("processor", processor))
    }


def main() -> None:
    """Build what is not there yet, measure, and write one document."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--keep", type=Path, help="a folder to build in, or one built before")
    args = harness.parsed(parser)
    with tempfile.TemporaryDirectory() as folder:
        workspace = (args.keep or Path(folder)) / "workspace"
        workspace.mkdir(parents=True, exist_ok=True)
        settings = Settings.load(workspace, environment={})
        if not Path(settings.ledger).exists():
            build(settings, args.records, args.models)
        found = measured(settings)
    about = harness.header(records=args.records, models=args.models)
    harness.finish(about | found, args)


if __name__ == "__main__":
    main()
