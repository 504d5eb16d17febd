"""Shards and slices on MNIST: what they cost in accuracy, and what a forgetting costs with them.

    python benchmarks/mnist.py --data mnist10k.npz --out docs/results/mnist.json

The file holds `images` [n, 28, 28] uint8 and `labels` [n]; OLVIDO_MNIST names it as well. Prints
Markdown tables. `--choose` compares recipes on the part that is kept for it, and stops.

Beside Olvido's stands a plain SISA, as its authors' public code does it: records are placed at
random, and each slice begins with the last one's weights but a new optimizer.
"""

from __future__ import annotations

import copy
import hashlib
import os
import random
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import harness
import olvido
from harness import interval
from olvido.learners import Placement, Recipe, Trained
from olvido.models import as_one
from olvido.tasks import Example, Labels, examples
from olvido.training.environment import deterministic
from placements import (
    REQUESTS,
    SHARDS,
    SLICES,
    Counted,
    alone,
    anywhere,
    by_prior,
    passes,
    requests,
    sequences,
    shares,
)

RECIPE = Recipe(epochs=30, batch_size=32, lr=1e-2)
CHOICES = [(20, 1e-2), (30, 1e-2), (40, 5e-3), (40, 1e-2)]
RECORDS_A_PERSON = 10
LIKELY = 0.1
"""The share of the people who are likely to leave."""
TASK = Labels(10, shape=(28, 28))


class Wobble(nn.Module):
    """Turns, stretches and shifts digits by constants chosen beforehand, while training."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, 28, 28] to [B, 1, 28, 28]."""
        images = images[:, None]
        if not self.training:
            return images
        turn, wide, high, across, down = torch.rand(5, len(images)) * 2 - 1
        turn, wide, high = 0.2 * turn, 1 + 0.1 * wide, 1 + 0.1 * high
        rows = [
            torch.stack([wide * turn.cos(), -high * turn.sin(), across / 7], -1),
            torch.stack([wide * turn.sin(), high * turn.cos(), down / 7], -1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)


def network(seed: int) -> nn.Module:
    """A small convolutional network; every normalisation is within one image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            Wobble(),
            nn.Conv2d(1, 8, 5, stride=2, padding=2),
            nn.GroupNorm(4, 8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 5, stride=2, padding=2),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(16 * 49, 10),
        )


def split(path: Path) -> dict[str, tuple[Example, ...]]:
    """Seven tenths to learn, one to choose the recipe by, two to test, by a hash of the number.

    MNIST does not say who wrote what here: each image is given to one of as many invented people
    as gives ten images to each, and a tenth of the people are likely to leave.
    """
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    kinds: dict[str, list[dict[str, Any]]] = {"learn": [], "choose": [], "test": []}
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        tenth = _draw(f"split/{number}") % 10
        kind = "learn" if tenth < 7 else "choose" if tenth == 7 else "test"
        kinds[kind].append({"id": f"{number:05}", "input": image, "label": int(label)})
    people = len(kinds["learn"]) // RECORDS_A_PERSON
    for row in kinds["learn"]:
        person = _draw(f"person/{row['id']}") % people
        likely = _draw(f"likely/{person}") % 1000 < 1000 * LIKELY
        row |= {"subject": f"person {person}", "prior": 1.0 if likely else 0.1}
    return {kind: examples(rows, kind) for kind, rows in kinds.items()}


def _draw(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"mnist/{name}".encode(), digest_size=6).digest())


@torch.no_grad()
def accuracy(model: nn.Module, records: Sequence[Example]) -> float:
    """Share of the records whose class is the likeliest."""
    found = TASK.generate(model.eval(), records, 512)
    return fmean(name == record.completion for name, record in zip(found, records, strict=True))


def learned(
    records: Sequence[Example], learner: str, seed: int, recipe: Recipe, **options: Any
) -> tuple[Trained, float]:
    """A trained model, and the seconds of CPU it took."""
    began = time.process_time()
    trained = olvido.train(
        network(seed),
        records=records,
        task=TASK,
        recipe=recipe,
        seed=seed,
        learner=learner,
        **options,
    )
    return trained, time.process_time() - began


def plain_sisa(records: Sequence[Example], seed: int, recipe: Recipe) -> nn.Module:
    """SISA without what Olvido adds: random placement, a new AdamW at each slice."""
    homes = anywhere(records, seed)
    epochs = passes(recipe)
    members = []
    draw = random.Random(seed)
    with deterministic(1):
        torch.manual_seed(seed)
        for shard in range(SHARDS):
            member = copy.deepcopy(network(seed)).train()
            for stage in range(SLICES):
                mine = [
                    r for r in records if homes[r.id].shard == shard and homes[r.id].slice <= stage
                ]
                optimizer = torch.optim.AdamW(
                    member.parameters(),
                    lr=recipe.lr,
                    betas=(recipe.beta1, recipe.beta2),
                    weight_decay=recipe.weight_decay,
                    fused=True,
                )
                steps = epochs * -(-len(mine) // recipe.batch_size)
                done = 0
                for _ in range(epochs):
                    draw.shuffle(mine)
                    for batch in TASK.batches(mine, recipe.batch_size):
                        for group in optimizer.param_groups:
                            group["lr"] = recipe.rate(done, steps)
                        TASK.losses(member, batch).mean().backward()
                        nn.utils.clip_grad_norm_(member.parameters(), recipe.clip)
                        optimizer.step()
                        optimizer.zero_grad(set_to_none=True)
                        done += 1
            members.append(member.eval())
    return as_one(members)


def confirmed(trained: Trained, records: Sequence[Example], seed: int) -> dict[str, Any]:
    """Real retrainings: one person, then nine more, beside one from the start without all ten."""
    asked = requests(records, seed)[:10]
    count = Counted(by_prior(records, seed), passes(RECIPE))
    full = count.full
    now, steps = trained, []
    for batch in (asked[:1], asked[1:]):
        gone = set(chain(*batch))
        steps.append({"people": len(batch), "counted": count.forget(gone)})
        now, done = _without(now, gone, records, "shard")
        steps[-1] |= done
    oracle, whole = _without(trained, set(chain(*asked)), records, "retrain")
    return {
        "full": full,
        "trained": trained.trace.tokens if isinstance(trained.trace, Placement) else None,
        "steps": steps,
        "retrain": whole,
        "equal": now.digest == oracle.digest,
    }


def _without(
    trained: Trained, gone: Collection[str], records: Sequence[Example], method: str
) -> tuple[Trained, dict[str, Any]]:
    assert isinstance(trained.trace, Placement)
    held = set(trained.trace.present)
    began = time.process_time()
    outcome = olvido.forget(
        trained,
        forget=[r for r in records if r.id in gone],
        retain=[r for r in records if r.id in held - set(gone)],
        task=TASK,
        method=method,
    )
    spent = time.process_time() - began
    after = Trained(outcome.model, outcome.digest, outcome.trace)
    return after, {"examples": int(outcome.cost.tokens), "cpu_seconds": spent}


def choose(parts: Mapping[str, Sequence[Example]]) -> None:
    """Accuracy of a few recipes on the part that is kept for choosing."""
    rows = []
    for epochs, lr in CHOICES:
        recipe = Recipe(epochs=epochs, batch_size=RECIPE.batch_size, lr=lr)
        mono, _ = learned(parts["learn"], "monolith", 0, recipe)
        sharded, _ = learned(parts["learn"], "sharded", 0, recipe, shards=SHARDS, slices=SLICES)
        scores = [accuracy(m.model, parts["choose"]) for m in (mono, sharded)]
        rows.append([epochs, f"{lr:g}", *(f"{score:.2%}" for score in scores)])
    harness.show(harness.table(["epochs", "rate", "monolith", "sharded"], rows))


def accuracies(
    parts: Mapping[str, Sequence[Example]], seeds: int
) -> tuple[dict[str, Any], Trained]:
    """Of the monolith, the shards and a plain SISA; and the shards of seed 0."""
    found: dict[str, Any] = {"monolith": [], "sharded": [], "plain": []}
    first: Trained | None = None
    for seed in range(seeds):
        mono, mono_seconds = learned(parts["learn"], "monolith", seed, RECIPE)
        sharded, seconds = learned(
            parts["learn"], "sharded", seed, RECIPE, shards=SHARDS, slices=SLICES
        )
        plain = plain_sisa(parts["learn"], seed, RECIPE)
        for name, model in (("monolith", mono.model), ("sharded", sharded.model), ("plain", plain)):
            found[name].append(accuracy(model, parts["test"]))
        first = first or sharded
        print(
            f"seed {seed}: {found['monolith'][-1]:.2%} in {mono_seconds:.0f} s, "
            f"{found['sharded'][-1]:.2%} in {seconds:.0f} s, plain {found['plain'][-1]:.2%}",
            file=sys.stderr,
            flush=True,
        )
    assert first is not None
    gap = [m - s for m, s in zip(found["monolith"], found["sharded"], strict=True)]
    beside = [s - p for s, p in zip(found["sharded"], found["plain"], strict=True)]
    return {
        "each": found,
        **{name: interval(values) for name, values in found.items()},
        "gap": interval(gap),
        "beside plain": interval(beside),
    }, first


def tables(result: Mapping[str, Any]) -> Iterator[str]:
    """The tables of docs/results/mnist.md."""
    scores, said = result["accuracy"], partial(harness.plus_minus, unit=100)
    names = {name: name for name in ("monolith", "sharded", "plain")}
    names |= {"monolith minus sharded": "gap", "sharded minus plain": "beside plain"}
    rows = [[name, said(scores[key])] for name, key in names.items()]
    yield harness.table(["model", "accuracy, %"], rows)
    yield harness.table(
        ["S", "R", "k", "counted, %", "formula, %", "off"],
        [
            [
                *(row["shards"], row["slices"], row["leaving"], said(row)),
                *(f"{100 * row['formula']:.2f}", f"{row['off']:+.1%}"),
            ]
            for row in result["shares"]
        ],
    )
    sizes = ("1", "10", str(REQUESTS))
    for name in ("sequences", "sequences of single records"):
        yield name
        yield harness.table(
            ["placement", "one by one", "by tens", "all at once"],
            [
                [row["placement"], *(harness.plus_minus(row[size]) for size in sizes)]
                for row in result[name]
            ],
        )
    real = result["real"]
    whole = {"people": "from the start", "counted": None, **real["retrain"]}
    yield harness.table(
        ["real retraining", "examples", "counted", "CPU seconds"],
        [
            [
                step["people"] if step is whole else f"{step['people']} leaving",
                *("" if step[n] is None else f"{step[n]:,}" for n in ("examples", "counted")),
                f"{step['cpu_seconds']:.1f}",
            ]
            for step in [*real["steps"], whole]
        ],
    )
    yield f"Same bytes as from the start: {'yes' if real['equal'] else 'NO'}"


def main() -> None:
    """Measure, print the tables, and write the figures down."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("OLVIDO_MNIST"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--choose", action="store_true")
    args = harness.parsed(parser)
    if args.data is None or not Path(args.data).is_file():
        parser.error(
            "MNIST is not here: name a file with `images` and `labels` by --data or OLVIDO_MNIST"
        )
    clock = harness.Clock()
    parts = split(Path(args.data))
    if args.choose:
        choose(parts)
        return
    scores, first = accuracies(parts, args.seeds)
    result = harness.header() | {
        "recipe": RECIPE.to_dict(),
        "records": {name: len(records) for name, records in parts.items()},
        "people": len({r.subjects[0] for r in parts["learn"]}),
        "likely": len({r.subjects[0] for r in parts["learn"] if r.fields["prior"] == 1.0}),
        "accuracy": scores,
        "shares": shares(parts["learn"], RECIPE),
        "sequences": sequences(parts["learn"], RECIPE),
        "sequences of single records": sequences(alone(parts["learn"]), RECIPE),
        "real": confirmed(first, parts["learn"], 0),
        **clock.read(),
    }
    harness.show(*tables(result))
    if args.out:
        harness.finish(result, args)


if __name__ == "__main__":
    main()
