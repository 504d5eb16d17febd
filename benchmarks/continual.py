"""MNIST in five periods of two digits each: what plain training forgets, and what replay keeps.

Class-incremental: one network tells all ten digits, and is never told which period an image is of.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

import harness
import olvido
from olvido.benchmark import Periods
from olvido.learners import Recipe, replayed
from olvido.models.classifiers.networks import convnet
from olvido.tasks import Example, Labels, examples

SHARES = (0.0, 0.01, 0.05)
"""Of what was learned before, taught again; 0: plain training."""
PERIODS = 5
RECIPE = Recipe(epochs=4, batch_size=32, lr=0.003)
TASK = Labels(10, shape=(28, 28))
Period = tuple[tuple[Example, ...], tuple[Example, ...]]


def split(path: Path) -> list[Period]:
    """Of each period seven tenths to learn and three to test, by a hash of the image's number."""
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    rows: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]
    rows = [([], []) for _ in range(PERIODS)]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        digest = hashlib.blake2b(f"mnist/split/{number}".encode(), digest_size=6).digest()
        tested = int.from_bytes(digest) % 10 >= 7
        row = {"id": f"{number:05}", "input": image, "label": int(label)}
        rows[int(label) * PERIODS // 10][tested].append(row)
    return [(examples(learn, "learn"), examples(test, "test")) for learn, test in rows]


@torch.no_grad()
def accuracies(model: Any, periods: list[Period]) -> list[float]:
    """Of each period's test part, the share whose digit is the likeliest of all ten."""
    found = []
    for _, test in periods:
        said = TASK.generate(model.eval(), test, 512)
        found.append(fmean(a == r.completion for a, r in zip(said, test, strict=True)))
    return found


def run(periods: list[Period], share: float, seed: int) -> dict[str, Any]:
    """Train on one period after another, and test on all after each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = convnet((28, 28), 10)
    before, rows = accuracies(model, periods), []
    old: tuple[Example, ...] = ()
    for new, _ in periods:
        again = replayed(model.trace, old, share=share, seed=seed) if old and share else ()
        records = (*new, *again)
        model = olvido.train(model, records=records, task=TASK, recipe=RECIPE, seed=seed)
        rows.append(accuracies(model.model, periods))
        old = (*old, *new)
    found = Periods(rows, before)
    measures = ("average", "backward", "forward", "forgetting")
    return {"before": before, "accuracies": rows} | {m: getattr(found, m) for m in measures}


def tables(result: Mapping[str, Any]) -> Iterator[str]:
    """The table of docs/results/continual.md."""
    names = ("average", "forgetting", "backward", "forward")
    rows = [
        [share, *(harness.plus_minus(found[name], unit=100) for name in names)]
        for share, found in result["rows"].items()
    ]
    yield harness.table(["replayed", *(f"{name}, %" for name in names)], rows)


def main() -> None:
    """Measure, print the table, and write the figures down."""
    parser = harness.arguments(__doc__, seed=0)
    parser.add_argument("--data", type=Path, default=os.environ.get("OLVIDO_MNIST"))
    parser.add_argument("--seeds", type=int, default=3)
    args = harness.parsed(parser)
    if args.data is None or not Path(args.data).is_file():
        parser.error(
            "MNIST is not here: name a file with `images` and `labels` by --data or OLVIDO_MNIST"
        )
    clock = harness.Clock()
    periods = split(Path(args.data))
    rows: dict[str, Any] = {}
    for share in SHARES:
        runs = [run(periods, share, seed) for seed in range(args.seed, args.seed + args.seeds)]
        measures = ("average", "backward", "forward", "forgetting")
        rows[f"{share:g}"] = {m: harness.interval([one[m] for one in runs]) for m in measures}
        rows[f"{share:g}"]["each"] = runs
        print(share, [one["forgetting"] for one in runs], file=sys.stderr, flush=True)
    result = harness.header(seed=args.seed, seeds=args.seeds) | {
        "recipe": RECIPE.to_dict(),
        "records": [[len(learn), len(test)] for learn, test in periods],
        "rows": rows,
        **clock.read(),
    }
    harness.show(*tables(result))
    if args.out:
        harness.finish(result, args)


if __name__ == "__main__":
    main()
