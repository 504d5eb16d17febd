"""Trainings that never had some of the records: what influence functions are held against.

    python benchmarks/influence/truth.py town --share 0.1 --count 24 --out build/influence

One row a training in OUT/WORLD-SHARE.jsonl; those that are there are not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from worlds import WORLDS, losses

import olvido


def main() -> None:
    """Train on all records, then without each subset, and write down what the queries cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    world = WORLDS[args.world]()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{args.world}-{args.share}.jsonl"
    done = {json.loads(line)["subset"] for line in path.open()} if path.exists() else set()
    began = time.process_time()
    trained = world.train()
    print(f"trained in {time.process_time() - began:.1f} s of processor", flush=True)
    with path.open("a") as file:
        for number in range(-1, args.count):
            if number in done:
                continue
            began = time.process_time()
            model = trained.model
            if number >= 0:
                gone = world.subset(number, args.share)
                names = {record.id for record in gone}
                model = olvido.forget(
                    trained,
                    forget=gone,
                    retain=[record for record in world.records if record.id not in names],
                    task=world.task,
                    method="retrain",
                ).model
            row = {
                "subset": number,
                "losses": losses(model, world.queries, world.task),
                "seconds": time.process_time() - began,
            }
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(number, f"{row['seconds']:.1f}", flush=True)


if __name__ == "__main__":
    main()
