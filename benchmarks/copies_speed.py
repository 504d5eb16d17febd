"""How many megabytes a second of one core are searched for copies of a person with many records.

    python benchmarks/copies_speed.py --out docs/results/copies_speed.json

Files of other people's words, as text, lines of JSON, CSV and Parquet, are searched for a person of
10, of 1,000 and of 10,000 records, with the name's digests and without. Time is that of the
process, whatever else the machine does; it is to grow with the bytes, not with the records.
"""

from __future__ import annotations

import csv
import io
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import harness
from copies import NAME, Row, sentence
from olvido.ledger.identity import Key
from olvido.requests.closure.search import CopySearch


def rows(rng: random.Random, count: int) -> Iterator[Row]:
    """Rows of nobody, some of which share a question."""
    for number in range(count):
        prompt = "What do you like to eat at noon?" if number % 3 else sentence(rng)
        yield {"id": str(number), "prompt": prompt, "completion": sentence(rng, 20, 60)}


def files(megabytes: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """The same rows in four formats, about as many megabytes each."""
    made = list(rows(random.Random(seed), megabytes * 3000))
    yield "text.txt", "\n".join(f"{r['prompt']} {r['completion']}" for r in made).encode()
    yield "rows.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in made).encode()
    file = io.StringIO()
    writer = csv.DictWriter(file, ("id", "prompt", "completion"))
    writer.writeheader()
    writer.writerows(made)
    yield "rows.csv", file.getvalue().encode()
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(made), packed, compression="none", use_dictionary=False)
    yield "rows.parquet", packed.getvalue()


def measure(megabytes: int, seed: int) -> list[dict[str, Any]]:
    """Seconds for each file, for persons of several sizes."""
    results = []
    key = Key(1, bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        for name, raw in files(megabytes, seed):
            path = Path(folder) / name
            path.write_bytes(raw)
            for count in (10, 1_000, 10_000):
                mine = list(rows(random.Random(f"{seed}-mine"), count))
                for named in (False, True):
                    names = key.names(NAME) if named else []
                    whole = key.whole_names(NAME) if named else []
                    search = CopySearch(mine, key=key, names=names, whole=whole)
                    began = time.process_time()
                    search.look(path)
                    spent = time.process_time() - began
                    speed = len(raw) / 1e6 / spent
                    row = {
                        "file": name,
                        "records": count,
                        "names": named,
                        "MB per core second": round(speed, 2),
                    }
                    results.append(row)
                    print(row, flush=True)
            path.unlink()
    return results


def main() -> None:
    parser = harness.arguments(__doc__, seed=7)
    parser.add_argument("--megabytes", type=int, default=20)
    args = harness.parsed(parser)
    results = measure(args.megabytes, args.seed)
    harness.finish(harness.header(megabytes=args.megabytes, results=results), args)


if __name__ == "__main__":
    main()
