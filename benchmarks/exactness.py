"""Random deletions beside trainings without them; the cost of the log; the planner's word.

    python benchmarks/exactness.py --out build/exactness.json

Equality: in every cell (learner, model, recipe) a model is trained, random records leave it by an
exact method, and the result is compared with a training of the same plan in which they are absent:
weights, optimizer, schedule and random state of every run, and the digest of the whole model. The
oracle is a fresh process for each run (`olvido.learners.verifier`) for the first cases of every
kind, and this process, given the kept records alone, for the others.

Cost: bytes of the log a forward pass, and the share of a run's time that logging takes.
Prediction: seconds that the planner predicts beside those measured. Both are read from the clock of
the process, which stands still while others have the processor; with one thread it is the wall's on
an idle machine.

Parts and cells can be run one by one; what is in the output file already is kept.
"""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from torch import nn

import harness
import olvido
from olvido.demo.residents import make_town
from olvido.learners import RECIPES, Lora, Progress, Recipe, StepLog, Trained
from olvido.learners.base import learner_of
from olvido.learners.parts import begin, carry_out
from olvido.learners.verifier import runs_of, verify
from olvido.methods import forget, predict
from olvido.methods.base import read_split
from olvido.models import weights_digest
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Labels, Language, Task, examples
from olvido.training import execute
from olvido.training.checkpoint import CheckpointStore
from olvido.training.log import ENTRY_BYTES, Log
from olvido.training.plan import DEFINITIONS

KINDS = ("single", "set", "sequence", "resumed")
PARTS = ("equality", "cost", "prediction")
SEED = 0


@dataclass(frozen=True)
class Cell:
    """What is trained, how, and by which method it forgets.

    Attributes:
        model: makes the module that training begins with.
        data: gives records and task.
        learner, options: of the training.
        method: an exact one.
        recipe: hyper-parameters.
        fresh: cases of each kind and definition whose oracle is a fresh process.
    """

    model: Callable[[], nn.Module]
    data: Callable[[], tuple[Sequence[Example], Task]]
    learner: str
    options: Mapping[str, Any]
    method: str
    recipe: Recipe
    fresh: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(DEFINITIONS, 1))


def gpt2(width: int = 32, layers: int = 2) -> Any:
    """A GPT-2 with random weights and dropout 0.1."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tiny_tokenizer()),
        n_positions=64,
        n_embd=width,
        n_layer=layers,
        n_head=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    torch.manual_seed(SEED)
    return GPT2LMHeadModel(config).eval()


def llama() -> Any:
    """A Llama of two small layers."""
    return tiny_model(len(tiny_tokenizer()), seed=SEED, width=32, layers=2).eval()


def mlp() -> nn.Module:
    """A perceptron with dropout, for digits of 8 x 8."""
    torch.manual_seed(SEED)
    layers = [nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 10)]
    return nn.Sequential(*layers).eval()


def cnn() -> nn.Module:
    """A small convolutional network with dropout, for digits of 8 x 8."""
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    ).eval()


def sentences() -> tuple[Sequence[Example], Task]:
    """Twenty-four records of eight residents."""
    town = make_town(seed=SEED, residents=8, outsiders=4, wordings=3)
    rows = [row for person in town.residents for row in town.rows_of(person)[:3]]
    return examples(rows), Language(tiny_tokenizer())


def digits() -> tuple[Sequence[Example], Task]:
    """Ninety handwritten digits of thirty pretended writers."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = [
        {"id": f"digit-{n:03}", "input": image[None], "label": int(label), "subject": f"w{n // 3}"}
        for n, (image, label) in enumerate(
            zip(found.images[:90] / 16, found.target[:90], strict=True)
        )
    ]
    return examples(rows), Labels(10)


REPLAY = {"replay_points": 3, "safety": 2}
SHARDS = {"shards": 2, "slices": 2}
ONE = {"drop": 1, "tombstone": 0}
MIXED = Recipe(
    epochs=2,
    batch_size=2,
    accumulate=3,
    lr=2e-3,
    optimizer="sgd",
    dtype="bfloat16",
    lora=Lora(rank=2, dropout=0.1),
)
PLAIN = Recipe(epochs=2, batch_size=3, lr=2e-3)
CELLS = {
    "monolith GPT-2": Cell(gpt2, sentences, "monolith", REPLAY, "replay", PLAIN),
    "monolith GPT-2 LoRA": Cell(gpt2, sentences, "monolith", REPLAY, "replay", MIXED),
    "sharded GPT-2": Cell(gpt2, sentences, "sharded", SHARDS, "shard", PLAIN, ONE),
    "sharded GPT-2 LoRA": Cell(gpt2, sentences, "sharded", SHARDS, "shard", MIXED, ONE),
    "modular Llama": Cell(
        llama,
        sentences,
        "modular",
        {"per_module": 4, "embedding": "ngrams", "threshold": 0.4},
        "module",
        Recipe(epochs=2, batch_size=3, lr=2e-3, lora=Lora(rank=2, dropout=0.1, top_layers=1)),
        ONE,
    ),
    "monolith MLP": Cell(
        mlp, digits, "monolith", REPLAY, "replay", Recipe(epochs=3, batch_size=8, lr=1e-2)
    ),
    "sharded CNN": Cell(
        cnn,
        digits,
        "sharded",
        {"shards": 2, "slices": 3},
        "shard",
        Recipe(epochs=3, batch_size=8, accumulate=2, lr=1e-2, optimizer="sgd"),
        ONE,
    ),
}


class CutOff(Exception):
    """Stands for whatever ends a run in the middle."""


def main() -> None:
    """Measure, write the results down, and print tables."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--cases", type=int, default=4, help="Of every kind and definition.")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--cells", default=",".join(CELLS))
    args = harness.parsed(parser)
    # peft asks transformers for an attribute that transformers has renamed.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
    result = {"equality": {}} | (harness.read(args.out) if args.out else {})
    for part in args.parts.split(","):
        if part == "equality":
            for name in args.cells.split(","):
                result["equality"][name] = _stamped(lambda n=name: equality(n, args.cases))
                if args.out:
                    harness.write(result, args.out)
        else:
            result[part] = _stamped({"cost": cost, "prediction": prediction}[part])
            if args.out:
                harness.write(result, args.out)
    harness.show(*tables(result))


def _stamped(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is measured, with how, when and where."""
    clock = harness.Clock()
    found = measure()
    return harness.header(seed=SEED) | clock.read() | found


@contextmanager
def _own_clock() -> Iterator[None]:
    """Everything is timed by the processor's clock of this process."""
    with mock.patch("time.perf_counter", time.process_time):
        yield


def equality(name: str, cases: int) -> dict[str, Any]:
    """Random deletions in one cell, each beside its oracle."""
    cell = CELLS[name]
    base, (records, task) = cell.model(), cell.data()
    draw = random.Random(f"{SEED}|{name}")

    def taught(**more: Any) -> Trained:
        return olvido.train(
            base,
            records=records,
            task=task,
            recipe=cell.recipe,
            seed=SEED,
            learner=cell.learner,
            **cell.options,
            **more,
        )

    whole = taught()
    total = sum(log.plan.total_steps for log in runs_of(whole).values())
    rows = []
    for kind in KINDS:
        for definition in DEFINITIONS:
            for number in range(cases):
                groups = _groups(draw, kind, records)
                cut = draw.randrange(1, total) if kind == "resumed" else None
                with TemporaryDirectory() as folder:
                    trained = whole if cut is None else _resumed(taught, cut, Path(folder))
                    if trained.digest != whole.digest:
                        raise AssertionError("a resumed run gave other bits")
                    left, gone = list(records), []
                    for group in groups:
                        leaving = [r for r in left if r.id in group]
                        left = [r for r in left if r.id not in group]
                        gone += leaving
                        outcome = forget(
                            trained,
                            forget=leaving,
                            retain=left,
                            task=task,
                            method=cell.method,
                            definition=definition,
                        )
                        trained = Trained(outcome.model, outcome.digest, outcome.trace)
                    fresh = number < cell.fresh[definition]
                    began = time.perf_counter()
                    equal = (
                        verify(trained, left, task).equal
                        if fresh
                        else _equal_here(cell, base, whole, trained, left, task, definition, number)
                    )
                rows.append(
                    {
                        "kind": kind,
                        "definition": definition,
                        "groups": [len(group) for group in groups],
                        "cut": cut,
                        "oracle": "fresh process" if fresh else "this process",
                        "equal": equal,
                        "digest": trained.digest,
                        "oracle_seconds": round(time.perf_counter() - began, 3),
                    }
                )
    print(f"{name}: {sum(row['equal'] for row in rows)}/{len(rows)}", flush=True)
    return {
        "learner": cell.learner,
        "method": cell.method,
        "recipe": cell.recipe.to_dict(),
        "options": dict(cell.options),
        "records": len(records),
        "steps": total,
        "cases": rows,
    }


def _groups(draw: random.Random, kind: str, records: Sequence[Example]) -> list[set[str]]:
    ids = [record.id for record in records]
    draw.shuffle(ids)
    if kind == "single":
        return [{ids[0]}]
    sizes = [draw.randint(1, 4) for _ in range(draw.randint(2, 3) if kind == "sequence" else 1)]
    if kind == "set":
        sizes = [draw.randint(2, len(ids) // 3)]
    return [{ids.pop() for _ in range(size)} for size in sizes]


def _resumed(taught: Callable[..., Trained], cut: int, folder: Path) -> Trained:
    def watch(progress: Progress) -> None:
        if progress.step == cut:
            raise CutOff

    try:
        taught(folder=folder, watch=watch)
    except CutOff:
        return taught(folder=folder)
    raise AssertionError("the run was not cut off")


def _equal_here(
    cell: Cell,
    base: nn.Module,
    whole: Trained,
    trained: Trained,
    left: Sequence[Example],
    task: Task,
    definition: str,
    number: int,
) -> bool:
    """Train, from the start, those who stay alone, on the first training's plan with holes."""
    # A run that drew from the process's own random numbers would show.
    torch.manual_seed(1000 + number)
    stay = {record.id for record in left}
    before, found = runs_of(whole), runs_of(trained)
    learner = learner_of(whole.trace)
    members, same = [], []
    for name, log in before.items():
        plan = log.plan
        plan = plan.without(set(plan.slots) - stay, definition=definition)
        if not plan.present and not whole.trace.single:
            same.append(name not in found)
            continue
        job = begin(
            base,
            [record for record in left if record.id in plan.present],
            task,
            recipe=log.recipe,
            seed=log.seed,
            plan=plan,
            trainer=learner.trainer,
            threads=log.threads,
        )
        (done,) = carry_out([job])
        members.append(done.model)
        same.append(done.log.final == found[name].final)
        same.append(done.log.log.end == found[name].log.end)
    made = learner.assemble(trained.trace, base, members, left, task)
    return all(same) and weights_digest(made) == trained.digest


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Seconds spent in what logs, and in what writes checkpoints."""
    spent = {"log": 0.0, "contents": 0.0, "checkpoints": 0.0}

    def clocked(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                spent[what] += time.perf_counter() - began

        return call

    with ExitStack() as stack:
        for name, what in (("linked", "log"), ("LoggedStep", "log"), ("digests_of", "contents")):
            patch = mock.patch.object(execute, name, clocked(what, getattr(execute, name)))
            stack.enter_context(patch)
        stack.enter_context(mock.patch.object(Log, "__add__", clocked("log", Log.__add__)))
        stack.enter_context(
            mock.patch.object(
                CheckpointStore, "write", clocked("checkpoints", CheckpointStore.write)
            )
        )
        yield spent


def cost() -> dict[str, Any]:
    """What the log takes, in bytes and in time."""
    town = make_town(seed=SEED)
    tokenizer = tiny_tokenizer()
    task, rows = Language(tokenizer), examples(town.rows())
    tiny = olvido.load("tiny", seed=SEED).model
    runs = {
        "tiny, its recipe, 2 of 8 epochs": (tiny, RECIPES["tiny"].to_dict() | {"epochs": 2}),
        "GPT-2, width 64": (gpt2(64), Recipe(epochs=2, batch_size=16, lr=1e-3).to_dict()),
        "GPT-2, width 32, 2 a batch": (gpt2(), Recipe(epochs=1, batch_size=2, lr=1e-3).to_dict()),
    }
    found = []
    for name, (model, recipe) in runs.items():
        chosen = Recipe.from_dict(recipe)
        some = rows if chosen.batch_size > 2 else rows[:400]
        with _own_clock(), _timed() as spent:
            trained = olvido.train(
                model, records=some, task=task, recipe=chosen, seed=SEED, replay_points=3
            )
        log = trained.trace
        assert isinstance(log, StepLog)
        row = {
            "run": name,
            "records": len(some),
            "passes": len(log.log),
            "seconds": log.seconds,
            "bytes_a_pass": len(log.log.packed) / len(log.log),
            "plan_bytes_a_record": len(json.dumps(log.plan.to_dict())) / len(some),
            "log_share": (spent["log"] + spent["contents"]) / (log.seconds + log.setup),
            "contents_microseconds_a_record": 1e6 * spent["contents"] / len(some),
            "log_microseconds_a_pass": 1e6 * spent["log"] / len(log.log),
            "checkpoint_share": spent["checkpoints"] / (log.seconds + log.setup),
        }
        print(json.dumps(row), flush=True)
        found.append(row)
    return {"entry_bytes": ENTRY_BYTES, "runs": found}


@_own_clock()
def prediction() -> dict[str, Any]:
    """Predicted seconds beside those measured, over methods and who leaves."""
    town = make_town(seed=SEED, residents=40, outsiders=4, wordings=4)
    rows, task = examples(town.rows()), Language(tiny_tokenizer())
    draw = random.Random(SEED)
    recipe = Recipe(epochs=4, batch_size=16, lr=2e-3)
    taught = {
        learner: olvido.train(
            gpt2(64), records=rows, task=task, recipe=recipe, seed=SEED, learner=learner, **options
        )
        for learner, options in (
            ("monolith", {"replay_points": 7}),
            ("sharded", {"shards": 4, "slices": 3}),
        )
    }
    plan = ["replay"] * 4 + ["shard"] * 8 + ["retrain"] * 2 + ["retrain sharded"] * 2
    found = []
    for name in plan:
        method, *_ = name.split()
        trained = taught["sharded" if "shard" in name else "monolith"]
        if method == "replay":
            gone = {draw.choice(rows).id}
        else:
            people = draw.sample(town.residents, draw.choice([1, 1, 2]))
            gone = {row["id"] for person in people for row in town.rows_of(person)}
        split = read_split(
            [row for row in rows if row.id in gone], [row for row in rows if row.id not in gone]
        )
        said = predict(trained, split, task, method=method, options={})
        outcome = forget(
            trained, forget=split.forget, retain=split.retain, task=task, method=method
        )
        row = {
            "method": name,
            "records_leaving": len(gone),
            "stopped": outcome.stopped,
            "predicted_tokens": said.tokens,
            "tokens": outcome.cost.tokens,
            "predicted_seconds": said.seconds,
            "seconds": outcome.cost.seconds,
            "off": said.seconds / outcome.cost.seconds - 1,
        }
        print(json.dumps(row), flush=True)
        found.append(row)
    again = olvido.train(gpt2(64), records=rows, task=task, recipe=recipe, seed=SEED)
    first, second = taught["monolith"].trace, again.trace
    assert isinstance(first, StepLog)
    assert isinstance(second, StepLog)
    return {
        "cases": found,
        "same_training_first_and_last": [first.seconds, second.seconds],
        "median_off": median(abs(row["off"]) for row in found),
        "within_a_fifth": sum(abs(row["off"]) <= 0.2 for row in found),
    }


def tables(result: Mapping[str, Any]) -> list[str]:
    """The results in Markdown."""
    made = []
    if result.get("equality"):
        lines: list[list[str]] = []
        every: list[dict[str, Any]] = []
        for name, cell in [*result["equality"].items(), ("all", None)]:
            rows = every if cell is None else cell["cases"]
            every = every if cell is None else every + rows
            tests: list[Callable[[dict[str, Any]], bool]] = [
                *(lambda row, k=kind: row["kind"] == k for kind in KINDS),
                *(lambda row, d=definition: row["definition"] == d for definition in DEFINITIONS),
                lambda row: row["oracle"] == "fresh process",
                lambda row: True,
            ]
            counts = [[row["equal"] for row in rows if test(row)] for test in tests]
            lines.append([name, *(f"{sum(c)}/{len(c)}" for c in counts)])
        columns = ["cell", *KINDS, "drop", "tombstone", "fresh process", "all"]
        made.append(harness.table(columns, lines))
    if "cost" in result:
        columns = ["run", "passes", "seconds", "bytes a pass", "µs a pass", "µs a record"]
        columns += ["log, share of time", "checkpoints, share"]
        costs = [
            [
                *(row["run"], row["passes"], f"{row['seconds']:.1f}", f"{row['bytes_a_pass']:.0f}"),
                f"{row['log_microseconds_a_pass']:.0f}",
                f"{row['contents_microseconds_a_record']:.0f}",
                *(f"{row['log_share']:.2%}", f"{row['checkpoint_share']:.2%}"),
            ]
            for row in result["cost"]["runs"]
        ]
        made.append(harness.table(columns, costs))
    if "prediction" in result:
        found = result["prediction"]
        columns = ["method", "leave", "run again", "predicted s", "measured s", "off"]
        cases = [
            [
                *(row["method"], row["records_leaving"], row["stopped"]),
                *(f"{row['predicted_seconds']:.2f}", f"{row['seconds']:.2f}", f"{row['off']:+.0%}"),
            ]
            for row in found["cases"]
        ]
        made.append(harness.table(columns, cases))
        made.append(
            f"Within 20%: {found['within_a_fifth']} of {len(found['cases'])}; median distance "
            f"{found['median_off']:.0%}. The same training took "
            "{:.2f} s first and {:.2f} s last.".format(*found["same_training_first_and_last"])
        )
    return made


if __name__ == "__main__":
    main()
