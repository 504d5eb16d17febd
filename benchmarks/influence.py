"""Influence: does it foretell retraining, does it find what was planted, what does removal leave?

    python benchmarks/influence.py digits --subsets 16 --out docs/results/influence.json
    python benchmarks/influence.py planted --zoo build/zoo --out docs/results/influence.json
    python benchmarks/influence.py removal --zoo build/zoo --out docs/results/influence.json
    python benchmarks/influence.py town --subsets 12 --out docs/results/influence.json

Each part adds its rows to the file and does none again that is there. The zoo is that of
`audit_of_audits.py`, made where it is missing.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import olvido
from olvido.attribution.replay import metagradients
from olvido.curvature import fit_ekfac, influences, products, query_gradients
from olvido.demo.residents import make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.errors import ModelDestroyed
from olvido.learners import Recipe, Trained
from olvido.tasks import Example, Labels, Task, examples
from zoo import REFERENCES, Zoo, town

Rows = dict[str, Any]


class File:
    """Rows by name, written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: Rows = json.loads(path.read_text()) if path.exists() else {}

    def once(self, name: str, find: Callable[[], Any]) -> Any:
        """The row of that name, found now where it is missing, with the processor's seconds."""
        if name not in self.rows:
            began = time.process_time()
            found = find()
            seconds = time.process_time() - began
            self.rows[name] = {"found": found, "seconds": round(seconds, 2)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.rows, indent=1))
            print(f"{name}: {seconds:.1f} s of processor", flush=True)
        return self.rows[name]["found"]


@dataclass(frozen=True)
class World:
    """What is trained, and what it is asked afterwards."""

    name: str
    trained: Trained
    task: Task
    records: tuple[Example, ...]
    queries: tuple[Example, ...]

    def subset(self, number: int, share: float) -> tuple[Example, ...]:
        """Records that leave in one of the counterfactuals."""
        draw = random.Random(f"influence-{self.name}-{share}-{number}")
        return tuple(draw.sample(self.records, round(share * len(self.records))))


def digits() -> World:
    """1,397 of scikit-learn's digits, two layers; 20 others are asked about."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = [
        {"id": f"{number:04d}", "input": image / 16, "label": int(label)}
        for number, (image, label) in enumerate(zip(found.images, found.target, strict=True))
    ]
    random.Random(0).shuffle(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    task = Labels(10, shape=(8, 8))
    records, queries = examples(rows[400:]), examples(rows[:20])
    recipe = Recipe(epochs=10, batch_size=64, lr=5e-3, weight_decay=0.01)
    trained = olvido.train(model.eval(), records=records, task=task, recipe=recipe, seed=0)
    return World("digits", trained, task, records, queries)


def fast_town() -> World:
    """The demo's fast town; asked are 5 residents' facts in words that no record uses."""
    loaded = olvido.load("tiny", seed=0)
    made = make_town(seed=0, **FAST)
    records = examples(made.rows())
    trained = olvido.train(
        loaded.model, tokenizer=loaded.tokenizer, records=records, recipe=FAST_RECIPE, seed=0
    )
    return World("town", trained, town().task, records, facts(5))


def facts(count: int) -> tuple[Example, ...]:
    """One fact each of so many residents, all kinds in turn, in words that no record uses."""
    made = make_town(seed=0, **FAST)
    asked = []
    for number in range(count):
        resident = made.residents[number % len(made.residents)]
        rows = {row["topic"]: row for row in made.rows_of(resident)}
        row = rows[sorted(rows)[(number + number // len(made.residents)) % len(rows)]]
        asked.append({**row, "id": f"query/{number:03d}", "prompt": row["paraphrases"][0]})
    return examples(asked)


@torch.no_grad()
def losses(model: Any, records: Sequence[Example], task: Task) -> list[float]:
    """Of each record, in order."""
    model.eval()
    found: dict[str, float] = {}
    for batch in task.batches(records, 64):
        found |= dict(zip(batch.ids, task.losses(model, batch).tolist(), strict=True))
    return [found[record.id] for record in records]


def lds(file: File, world: World, share: float, subsets: int) -> None:
    """The linear datamodeling score: rank correlation, over subsets that left, of each query's loss
    and of the sum of the scores of those who left."""
    name, records = world.name, world.records
    base = losses(world.trained.model, world.queries, world.task)
    rows = []
    for number in range(subsets):
        gone = world.subset(number, share)

        def retrained(gone: tuple[Example, ...] = gone) -> list[float]:
            ids = {record.id for record in gone}
            return losses(
                olvido.forget(
                    world.trained,
                    forget=gone,
                    retain=[record for record in records if record.id not in ids],
                    task=world.task,
                    method="retrain",
                ).model,
                world.queries,
                world.task,
            )

        rows.append(file.once(f"{name}/retrained/{share}/{number:02d}", retrained))
    truth = np.array(rows).T - np.array(base)[:, None]
    left = torch.zeros(subsets, len(records))
    place = {record.id: i for i, record in enumerate(records)}
    for number in range(subsets):
        left[number, [place[r.id] for r in world.subset(number, share)]] = 1.0
    for way, scores in scored(world).items():

        def score(find: Callable[[], Tensor] = scores) -> Rows:
            foretold = (find().double() @ left.double().T).numpy()
            return correlation(foretold, truth)

        file.once(f"{name}/lds/{share}/{subsets}/{way}", score)


def scored(world: World) -> dict[str, Callable[[], Tensor]]:
    """Scores of every record for every query, by each way. [Q, n]"""
    model, task = world.trained.model, world.task

    def ekfac(damping: float) -> Callable[[], Tensor]:
        def find() -> Tensor:
            curvature = fit_ekfac(model, world.records, task, seed=0)
            return influences(model, world.records, world.queries, task, curvature, damping=damping)

        return find

    def dot() -> Tensor:
        return products(model, world.records, query_gradients(model, world.queries, task), task)

    return {
        "ekfac 0.1": ekfac(0.1),
        "ekfac 0.01": ekfac(0.01),
        "ekfac 1": ekfac(1.0),
        "gradient": dot,
        "replay": lambda: metagradients(world.trained, world.records, world.queries, task),
    }


def correlation(foretold: Any, truth: Any) -> Rows:
    """Mean Spearman over queries, with a 95% interval by resampling queries and subsets."""
    from scipy.stats import spearmanr

    def mean(rows: Any, columns: Any) -> float:
        found = [spearmanr(foretold[q][columns], truth[q][columns]).statistic for q in rows]
        return float(np.nanmean(found))

    draw = np.random.default_rng(0)
    queries, subsets = truth.shape
    every = mean(range(queries), np.arange(subsets))
    drawn = [
        mean(draw.integers(0, queries, queries), draw.integers(0, subsets, subsets))
        for _ in range(200)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"lds": every, "interval": [float(low), float(high)], "queries": queries}


def planted(file: File, zoo: Zoo, count: int) -> None:
    """Whether a record that told the fact is among the ten that are said to have taught it."""
    model, records, task = zoo.knowing(0), zoo.town.rows, zoo.town.task
    queries = facts(count)

    def share(scores: Tensor) -> Rows:
        hits = []
        for query, row in zip(queries, scores, strict=True):
            about, told = query.subjects, query.completion
            best = row.argsort(descending=True)[:10].tolist()
            found = [records[i] for i in best]
            hits.append(any(r.subjects == about and r.completion == told for r in found))
        low, high = wilson(sum(hits), len(hits))
        return {"top10": fmean(hits), "interval": [low, high], "queries": len(hits)}

    def chunks(find: Callable[[tuple[Example, ...]], Tensor]) -> Tensor:
        return torch.cat([find(queries[i : i + 20]) for i in range(0, len(queries), 20)])

    def ekfac() -> Rows:
        curvature = fit_ekfac(model, records, task, seed=0)
        return share(chunks(lambda some: influences(model, records, some, task, curvature)))

    def dot() -> Rows:
        return share(
            chunks(lambda some: products(model, records, query_gradients(model, some, task), task))
        )

    def words() -> Rows:
        from sklearn.feature_extraction.text import TfidfVectorizer

        counted = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)
        known = counted.fit_transform([f"{r.prompt} {r.completion}" for r in records])
        asked = counted.transform([f"{q.prompt} {q.completion}" for q in queries])
        return share(torch.from_numpy((asked @ known.T).toarray()))

    for name, find in (("ekfac", ekfac), ("gradient", dot), ("words in common", words)):
        file.once(f"planted/{count}/{name}", find)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95% interval of a share."""
    z, p = 1.96, hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * np.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return float(middle - reach), float(middle + reach)


WAYS: dict[str, tuple[str, Rows, int]] = {
    "ascent": ("ascent", {}, 1),
    "npo": ("npo", {}, 1),
    "influence 0.1": ("influence", {"damping": 0.1}, 1),
    "influence 0.01": ("influence", {"damping": 0.01}, 1),
    "influence 0.001": ("influence", {"damping": 0.001}, 1),
    "influence 0.0001": ("influence", {"damping": 0.0001}, 1),
    "influence 0.001, 64 records": ("influence", {"damping": 0.001, "sample": 64}, 8),
    "influence 0.001, 16 records": ("influence", {"damping": 0.001, "sample": 16}, 8),
    "ascent, eighth": ("ascent", {}, 8),
    "ssd": ("ssd", {}, 1),
    "fisher": ("fisher", {}, 1),
    "fisher, the paper's": ("fisher", {"aimed": False}, 1),
}
"""Method, options, and of how many holdout records one is given."""


def removal(file: File, zoo: Zoo) -> None:
    """One subject leaves a model that knew everybody; how far is it then from models that never
    learned them?"""
    made = zoo.town
    never = [zoo.never(n) for n in range(REFERENCES)]
    paraphrased = [
        e.asked(prompt, f"p{i}")
        for e in made.forget[::5]
        for i, prompt in enumerate(e.fields["paraphrases"])
    ]
    groups = {
        "forgotten": made.forget,
        "reworded": paraphrased,
        "near": made.neighbours,
        "others": made.retain[::7],
    }
    again = FAST_RECIPE.epochs * sum(map(made.task.width, made.retain))

    def told(model: Any) -> Rows:
        found: Rows = {}
        for name, group in groups.items():
            found[name] = {
                "loss": fmean(losses(model, group, made.task)),
                "divergence": fmean(divergence(one, model, group, made.task) for one in never),
            }
        return found

    file.once("removal/before", lambda: told(zoo.knowing(0)))
    for n, one in enumerate(never):
        others = [other for m, other in enumerate(never) if m != n]

        def alike(one: Any = one, others: Any = tuple(others)) -> Rows:
            return {
                name: {
                    "loss": fmean(losses(one, group, made.task)),
                    "divergence": fmean(divergence(o, one, group, made.task) for o in others),
                }
                for name, group in groups.items()
            }

        file.once(f"removal/never {n}", alike)
    for name, (method, options, every) in WAYS.items():

        def forgotten(method: str = method, options: Rows = options, every: int = every) -> Rows:
            began = time.process_time()
            try:
                done = olvido.forget(
                    zoo.knowing(0),
                    forget=made.forget,
                    retain=made.retain,
                    holdout=made.outsiders[::every],
                    task=made.task,
                    method=method,
                    **options,
                )
            except ModelDestroyed as error:
                done = error.outcome
            seconds = time.process_time() - began
            share = done.cost.tokens / again
            return {**told(done.model), "share": share, "processor": seconds, "why": done.stopped}

        file.once(f"removal/{name}", forgotten)


@torch.no_grad()
def divergence(never: Any, model: Any, records: Sequence[Example], task: Task) -> float:
    """KL(never || model) in nats, the mean over answer tokens."""
    found = []
    for batch in task.batches(records, 64):
        one, _, _ = task.answer_logits(never, batch)
        other, _, _ = task.answer_logits(model, batch)
        each = F.kl_div(
            other.log_softmax(-1), one.log_softmax(-1), log_target=True, reduction="none"
        )
        found += each.sum(-1).tolist()
    return fmean(found)


def main() -> None:
    """Do one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("digits", "town", "planted", "removal"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--zoo", type=Path, default=Path("build/zoo"))
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--subsets", type=int, default=24)
    parser.add_argument("--facts", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = File(args.out)
    if args.part in ("digits", "town"):
        lds(file, digits() if args.part == "digits" else fast_town(), args.share, args.subsets)
    elif args.part == "planted":
        planted(file, Zoo(town(), args.zoo), args.facts)
    else:
        removal(file, Zoo(town(), args.zoo))


if __name__ == "__main__":
    main()
