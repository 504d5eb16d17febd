"""How fast the ledger takes data in, and how fast it finds a person's records and models.

    python benchmarks/ledger.py --records 1000000
    python benchmarks/ledger.py --against OTHER/src --records 50000 100000 200000

Prints one JSON document. Beside the import's figure stands its floor, measured in the same run: the
steps that no import can do without (decoding each line's JSON, hashing its bytes and the tree over
them, inserting the rows with sqlite3 itself). With `--against`, the import alone, in turns with
another tree's and each in a process of its own: user seconds of processor and their ratios.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
from olvido.data.importing import import_file
from olvido.ledger.digests import Digest, merkle_root
from olvido.ledger.facts import DatasetUse, Guarantee, Model
from olvido.ledger.identity import Key
from olvido.ledger.store import Store

RECORDS_PER_SUBJECT = 4
LOOKUPS = 50
SEED = 1
IMPORT = """
import resource, sys
from pathlib import Path
from olvido.ledger.identity import Key
from olvido.data.importing import import_file
from olvido.ledger.store import Store
folder = Path(sys.argv[2])
with Store.create(folder / "l.db", key=Key.create(folder / "key")) as store:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    import_file(store, folder / "data", Path(sys.argv[1]), name="x")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
"""


def rows(count: int) -> Iterator[dict[str, str]]:
    """Question and answer about a resident, some hundred characters each."""
    for i in range(count):
        yield {
            "id": f"r{i:08d}",
            "prompt": f"Where does the resident with the number {i} live?",
            "completion": f"Resident {i} lives at number {i} of the Carrer de Mallorca.",
            "subject": f"Resident {i // RECORDS_PER_SUBJECT}",
        }


def named_rows(count: int) -> Iterator[dict[str, str]]:
    """The same of residents with names of three words, ten records each, all from one source."""
    draw = random.Random(SEED)
    for i, row in enumerate(rows(count)):
        if i % 10 == 0:
            name = " ".join("".join(draw.choices("aeioulmnrst", k=6)).title() for _ in range(3))
        yield row | {"subject": name, "source": "registry"}


def compared(records: int, trees: list[str], runs: int, folder: Path) -> dict[str, Any]:
    """User seconds of this tree's import and of another's, in turns, and their ratios."""
    path = folder / f"{records}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in named_rows(records))
    taken: dict[str, list[float]] = {tree: [] for tree in trees}
    for run in range(runs):
        for tree in trees if run % 2 else trees[::-1]:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                command = [sys.executable, "-c", IMPORT, str(path), own]
                surroundings = {**os.environ, "PYTHONPATH": tree}
                said = subprocess.check_output(command, env=surroundings, text=True)
            taken[tree].append(float(said))
    this, other = (taken[tree] for tree in trees)
    ratios = sorted(a / b for a, b in zip(this, other, strict=True))
    return {
        "records": records,
        "seconds": [round(spent, 2) for spent in this],
        "seconds_of_the_other": [round(spent, 2) for spent in other],
        "median_ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in (ratios[0], ratios[-1])],
    }


def seconds_of_floor(path: Path, folder: Path) -> dict[str, float]:
    """Seconds that each unavoidable step takes by itself on this file."""
    floor = {}

    def timed(step: str, start: float) -> None:
        floor[step] = time.perf_counter() - start

    start = time.perf_counter()
    decode = json.JSONDecoder().raw_decode
    with path.open("rb") as file:
        decoded = [decode(line.decode())[0] for line in file]
    timed("decode", start)
    start = time.perf_counter()
    with path.open("rb") as file:
        digests = [hashlib.sha256(line).digest() for line in file]
    merkle_root(digests)
    timed("hash", start)
    start = time.perf_counter()
    database = sqlite3.connect(folder / "floor.db", isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA cache_size = -65536;"
        "CREATE TABLE records (pk INTEGER PRIMARY KEY, id TEXT UNIQUE, digest BLOB);"
        "CREATE TABLE links (record INTEGER, subject INTEGER, PRIMARY KEY (record, subject))"
        " WITHOUT ROWID; CREATE INDEX by_subject ON links (subject); BEGIN"
    )
    facts = zip(range(len(decoded)), (row["id"] for row in decoded), digests, strict=True)
    database.executemany("INSERT INTO records VALUES (?, ?, ?)", facts)
    links = ((i, i // RECORDS_PER_SUBJECT) for i in range(len(decoded)))
    database.executemany("INSERT INTO links VALUES (?, ?)", links)
    database.execute("COMMIT")
    database.close()
    timed("insert", start)
    return floor


def add_models(store: Store, dataset: str, count: int) -> None:
    """A base, and a chain of models that each forgot one resident of it."""
    parent = store.add_model(
        Model(digest=Digest.of(b"0"), path="0", learner="monolith"), [DatasetUse(dataset=dataset)]
    )
    for i in range(1, count):
        first = i * RECORDS_PER_SUBJECT
        gone = frozenset(f"r{r:08d}" for r in range(first, first + RECORDS_PER_SUBJECT))
        use = DatasetUse(dataset=dataset, forgotten=gone, guarantee=Guarantee.EMPIRICAL)
        digest = Digest.of(str(i).encode())
        parents = (parent.id,)
        model = Model(digest=digest, path=str(i), learner="monolith", parents=parents, method="npo")
        parent = store.add_model(model, [use])


def measured(records: int, models: int, folder: Path) -> dict[str, Any]:
    """Both figures with their floors."""
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(records))
    key = Key.create(folder / "olvido.key")
    with Store.create(folder / "ledger.db", key=key) as store:
        start, cpu = time.perf_counter(), time.process_time()
        dataset = import_file(store, folder / "data", path, name="residents").dataset
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        add_models(store, dataset.id, models)
        taken = []
        for i in range(LOOKUPS):
            subject = key.subject(f"Resident {i * (records // RECORDS_PER_SUBJECT) // LOOKUPS}")
            start = time.perf_counter()
            lineage = store.lineage(subject)
            taken.append(time.perf_counter() - start)
            assert len(lineage.records) == RECORDS_PER_SUBJECT
            assert len(lineage.models) == models
    floor = seconds_of_floor(path, folder)
    return {
        "import": {
            "records": records,
            "records_per_second": round(records / wall),
            "records_per_cpu_second": round(records / cpu),
            "floor_records_per_second": round(records / sum(floor.values())),
            "floor_seconds": {step: round(spent, 2) for step, spent in floor.items()},
            "peak_memory_gib": round(memory, 2),
        },
        "lookup": {
            "models": models,
            "median_ms": round(statistics.median(taken) * 1000, 1),
            "worst_ms": round(max(taken) * 1000, 1),
        },
    }


def main() -> None:
    """Measure, and print one JSON document."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000])
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--against", help="the src folder of another tree")
    parser.add_argument("--runs", type=int, default=3)
    args = harness.parsed(parser)
    figures = harness.header(seed=SEED, sqlite=sqlite3.sqlite_version)
    own = str(Path(__file__).parents[1] / "src")
    with tempfile.TemporaryDirectory() as folder:
        for records in args.records:
            if args.against is None:
                figures[str(records)] = measured(records, args.models, Path(folder))
            else:
                trees = [own, args.against]
                figures[str(records)] = compared(records, trees, args.runs, Path(folder))
    harness.finish(figures, args)


if __name__ == "__main__":
    main()
