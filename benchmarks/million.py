"""What records by the thousand and by the million cost: adding, learning, and requests.

    python benchmarks/million.py --out build/million --records 10000 100000 1000000

Records of 60 tokens in the words of `tiny`, four to a person, and a Llama-shaped model of two
layers. Each piece is the library's call behind a command, in a process of its own: `data add`;
`learn` until its first optimizer step and for `--steps` steps more, the rest of its epoch computed
from their rate; for `--whole` records or fewer the whole epoch, and then `request new`,
`request plan`, and `request run` until its first step. The peak is the kernel's for the process
(VmHWM); `start` is what the process has before it begins. The processor's seconds until the first
step are all that the process had by then, from the start of Python on.

    python benchmarks/million.py --out build/million --against ../before/src --pairs 9

times the training of `--small` records in memory with this source and with another one in turns,
each in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import harness
from olvido.benchmark.cell import peak
from olvido.settings import FILE, Settings, template

RECORDS_PER_SUBJECT = 4
WORDS = (12, 46)
"""Of a question and its answer: 60 tokens with the beginning and the end of a text."""
BATCH = 32
DATASET = "residents"
PIECES = ("add", "start", "learn", "new", "plan", "run")
SMALL_EPOCHS = 4
WHOLE = ("learn", "new", "plan", "run")
"""Pieces that need a model whose training ended."""


class Enough(Exception):
    """Raised in a training that was only to begin."""


def rows(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Questions and answers of words that are one token each."""
    from importlib import resources

    listed = resources.files("olvido.models").joinpath("words.txt").read_text("utf-8").split()
    words = [word for word in listed if word.isalpha()]
    draw = random.Random(seed)
    for i in range(count):
        said = draw.choices(words, k=sum(WORDS))
        yield {
            "id": f"r{i:08d}",
            "prompt": " ".join(said[: WORDS[0]]),
            "completion": " ".join(said[WORDS[0] :]),
            "subject": f"Resident {i // RECORDS_PER_SUBJECT}",
        }


def prepare(home: Path, count: int, seed: int) -> None:
    """An empty workspace, the file of rows, and the model of two layers, where they are missing."""
    from olvido.ledger.identity import Key
    from olvido.ledger.store import Store
    from olvido.models import save
    from olvido.models.tiny import tiny_model, tiny_tokenizer

    workspace = home / "workspace"
    if workspace.exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count, seed))
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=seed, width=64, layers=2), tokenizer, home / "toy")
    workspace.mkdir()
    (workspace / FILE).write_text(template(), encoding="utf-8")
    settings = Settings.load(workspace, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()


class Begun:
    """When a training's first step ended, and each later one; ends it after so many.

    Args:
        steps: after the first; None: to its end.
    """

    def __init__(self, steps: int | None) -> None:
        self._steps, self._began = steps, time.perf_counter()
        self.first: float | None = None
        self.processor_at_first = 0.0
        self.peak_at_first = 0
        self.later: list[float] = []

    def __call__(self, progress: Any) -> None:
        now = time.perf_counter() - self._began
        if self.first is None:
            self.first, self.peak_at_first = now, peak() or 0
            self.processor_at_first = time.process_time()
        else:
            self.later.append(now)
        if self._steps is not None and len(self.later) >= self._steps:
            raise Enough

    def read(self) -> dict[str, Any]:
        """As a result has them."""
        found = {
            "first_step": self.first,
            "processor_at_first_step": self.processor_at_first,
            "peak_at_first_step": self.peak_at_first,
        }
        if self.first is not None and self.later:
            found["steps_per_second"] = len(self.later) / (self.later[-1] - self.first)
        return found


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def add(home: Path, settings: Settings) -> dict[str, Any]:
    """`olvido data add`."""
    from olvido.data.importing import import_file
    from olvido.ledger.identity import Key
    from olvido.ledger.store import Store

    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        made = import_file(store, settings.data, home / "rows.jsonl", name=DATASET)
    assert made.rejected == 0
    return {
        "source_bytes": size(home / "rows.jsonl"),
        "rows_bytes": size(settings.data / made.dataset.file),
        "ledger_bytes": size(Path(settings.ledger)),
        "root": str(made.dataset.root),
    }


def learned(home: Path, settings: Settings, steps: int | None) -> dict[str, Any]:
    """`olvido learn --epochs 1`: to its end, or so many steps far."""
    from olvido.learners import Recipe
    from olvido.workspace import Workspace

    begun = Begun(steps)
    recipe = Recipe(epochs=1, batch_size=BATCH)
    with Workspace(settings) as workspace:
        try:
            made = workspace.learn([DATASET], model=str(home / "toy"), recipe=recipe, watch=begun)
        except Enough:
            return begun.read() | {
                "epoch_steps": -(-workspace.store.dataset(DATASET).rows // BATCH)
            }
        workspace.serve(made.id)
        folder = settings.models / made.path
    return begun.read() | {
        "digest": str(made.digest),
        "note_bytes": size(folder / "olvido.json"),
        "log_bytes": size(folder / "logs"),
        "model_bytes": size(folder),
    }


def requested(settings: Settings, piece: str) -> dict[str, Any]:
    """A person's `olvido request new`, `plan`, or `run` until its first step."""
    from olvido.requests import plan, receive, run
    from olvido.schemas.options import RunOptions
    from olvido.workspace import Workspace

    how = RunOptions(method="retrain")
    with Workspace(settings) as workspace:
        if piece == "new":
            return {"request": receive(workspace, "Resident 1").id}
        (request,) = workspace.store.requests()
        if piece == "plan":
            routes, choice = plan(workspace, request.id, how=how)
            return {"chosen": [name for name, _ in choice.order], "routes": len(routes)}
        begun = Begun(0)
        try:
            run(workspace, request.id, how=how, stage=lambda _: begun)
        except Enough:
            return begun.read()
    raise AssertionError("a request's run made no step")


def small(count: int, seed: int) -> dict[str, Any]:
    """A training of records in memory, from records to weights."""
    from olvido.learners import Recipe, train
    from olvido.models.tiny import tiny_model, tiny_tokenizer
    from olvido.tasks import Language, examples

    tokenizer = tiny_tokenizer()
    records = examples(list(rows(count, seed)))
    model = tiny_model(len(tokenizer), seed=seed, width=64, layers=2)
    recipe = Recipe(epochs=SMALL_EPOCHS, batch_size=BATCH)
    clock = harness.Clock()
    made = train(model, records=records, task=Language(tokenizer), recipe=recipe)
    return clock.read() | {"digest": str(made.digest)}


def against(args: argparse.Namespace) -> None:
    """Time small trainings with this source and with another, in turns."""
    here = Path(__file__).parent.parent / "src"
    found: list[dict[str, dict[str, Any]]] = []
    alone = ["--out", str(args.out), "--records", str(args.small), "--piece", "small"]
    alone += ["--seed", str(args.seed), "--threads", str(args.threads)]
    for number in range(args.pairs):
        sources = {"before": args.against.resolve(), "now": here}
        pair = {}
        for name in sorted(sources, reverse=number % 2 == 1):
            file = args.out / f"small-{name}-{number}.json"
            environment = os.environ | {"PYTHONPATH": str(sources[name])}
            command = [sys.executable, __file__, *alone, "--measured", str(file)]
            subprocess.run(command, check=True, env=environment)
            pair[name] = harness.read(file)
        assert pair["now"]["digest"] == pair["before"]["digest"], "other weights"
        found.append(pair)
    ratios = sorted(
        pair["now"]["processor_seconds"] / pair["before"]["processor_seconds"] for pair in found
    )
    result = {"pairs": found, "ratios": ratios, "median": median(ratios)}
    harness.finish(harness.header(seed=args.seed, **result), args, "small.json")
    print(f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} pairs)")


def piece(args: argparse.Namespace) -> None:
    """Measure one piece in this process."""
    if args.piece == "small":
        found = small(args.records[0], args.seed)
        harness.write(harness.header(piece=args.piece, **found), args.measured)
        return
    (count,) = args.records
    home = args.out / str(count)
    settings = Settings.load(home / "workspace", environment={})
    before, clock = peak(), harness.Clock()
    if args.piece == "add":
        found = add(home, settings)
    elif args.piece in ("start", "learn"):
        found = learned(home, settings, args.steps if args.piece == "start" else None)
    else:
        found = requested(settings, args.piece)
    result = {"start": before, "peak": peak()} | clock.read() | found
    harness.write(harness.header(piece=args.piece, records=count, **result), args.measured)


def main() -> None:
    """Measure every piece that was not measured yet, and print the tables."""
    parser = harness.arguments(__doc__, folder=True, seed=0)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--whole", type=int, default=100_000, help="at most: a whole epoch")
    parser.add_argument("--steps", type=int, default=200, help="after the first, of a start")
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=list(PIECES))
    parser.add_argument("--against", type=Path, help="another source, in whose turns to time")
    parser.add_argument("--pairs", type=int, default=9, help="of timed small trainings")
    parser.add_argument("--small", type=int, default=300, help="records of such a training")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--measured", type=Path, help=argparse.SUPPRESS)
    args = harness.parsed(parser)
    if args.piece is not None:
        piece(args)
        return
    if args.against is not None:
        against(args)
        return
    found: dict[str, Any] = {}
    for count in args.records:
        prepare(args.out / str(count), count, args.seed)
        for name in args.pieces:
            if name in WHOLE and count > args.whole:
                continue
            file = args.out / str(count) / f"{name}.json"
            if not file.exists():
                alone = ["--out", str(args.out), "--records", str(count), "--piece", name]
                alone += ["--steps", str(args.steps), "--threads", str(args.threads)]
                alone += ["--seed", str(args.seed), "--measured", str(file)]
                subprocess.run([sys.executable, __file__, *alone], check=True)
            found[f"{count} {name}"] = harness.read(file)
            print(count, name, shown(found[f"{count} {name}"]), flush=True)
    harness.finish(harness.header(seed=args.seed, pieces=found), args, "million.json")
    cells = [(*key.split(), *shown(one)) for key, one in found.items()]
    harness.show(harness.table(COLUMNS, cells))


COLUMNS = (
    "records", "piece", "seconds", "processor, s", "first step, s", "until it, processor, s",
    "steps/s", "peak, MiB",
)  # fmt: skip


def shown(one: dict[str, Any]) -> tuple[str, ...]:
    """A piece's cells of the table."""
    took = [one.get(name) for name in COLUMN_NAMES]
    memory = one["peak"] / 2**20
    return *("" if value is None else f"{value:.1f}" for value in took), f"{memory:.0f}"


COLUMN_NAMES = (
    "seconds", "processor_seconds", "first_step", "processor_at_first_step", "steps_per_second",
)  # fmt: skip


if __name__ == "__main__":
    main()
