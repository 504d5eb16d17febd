"""Influence: does it find what was planted, and what does its removal leave?

    python benchmarks/influence.py planted --zoo build/zoo --out docs/results/influence.json
    python benchmarks/influence.py removal --zoo build/zoo --out docs/results/influence.json
    python benchmarks/influence.py factors --zoo build/zoo --out docs/results/influence.json

Each part adds its rows to the file and does none again that is there. The zoo is that of
`audit_of_audits.py`, made where it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import harness
import olvido
from olvido.curvature import fit_ekfac, influences, products, query_gradients, store_ekfac
from olvido.demo.residents import make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.errors import ModelDestroyed
from olvido.tasks import Example, Task, examples
from zoo import REFERENCES, Zoo, town

Rows = dict[str, Any]


class File:
    """Rows by name, written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: Rows = harness.read(path)

    def once(self, name: str, find: Callable[[], Any]) -> Any:
        """The row of that name, found now where it is missing, with the processor's seconds."""
        if name not in self.rows:
            began = time.process_time()
            found = find()
            seconds = time.process_time() - began
            self.rows[name] = {"found": found, "seconds": round(seconds, 2)}
            # Several scripts fill one file: each is described once.
            about = harness.read(self.path).get("about", {})
            about |= {harness.command(): harness.header()}
            harness.write(harness.read(self.path) | self.rows | {"about": about}, self.path)
            print(f"{name}: {seconds:.1f} s of processor", flush=True)
        return self.rows[name]["found"]


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


def planted(file: File, zoo: Zoo, count: int) -> None:
    """Whether a record that states the fact is among the ten that are said to have taught it."""
    model, records, task = zoo.knowing(0), zoo.town.rows, zoo.town.task
    queries = facts(count)

    def share(scores: Tensor) -> Rows:
        hits = []
        for query, row in zip(queries, scores, strict=True):
            about, answer = query.subjects, query.completion
            best = row.argsort(descending=True)[:10].tolist()
            found = [records[i] for i in best]
            hits.append(any(r.subjects == about and r.completion == answer for r in found))
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
SHELVED: dict[str, tuple[str, Rows, int]] = {
    "halves, 0.01": ("influence", {"damping": 0.01}, 8),
    "halves, 0.003": ("influence", {"damping": 0.003}, 8),
    "halves, 0.001": ("influence", {"damping": 0.001}, 8),
    "sample of 256": ("influence", {}, 8),
    "ascent": ("ascent", {}, 8),
    "all, 0.001": ("influence", {"damping": 0.001}, 8),
}
"""Likewise, by where the curvature is taken from and how it is damped."""


class Removal:
    """One subject leaves a model that knew everybody; how far is it then from models that never
    learned them?"""

    def __init__(self, file: File, zoo: Zoo) -> None:
        self.file, self.zoo, self.town = file, zoo, zoo.town
        self.never = [zoo.never(n) for n in range(REFERENCES)]
        paraphrased = [
            e.asked(prompt, f"p{i}")
            for e in self.town.forget[::5]
            for i, prompt in enumerate(e.fields["paraphrases"])
        ]
        self.groups = {
            "forgotten": self.town.forget,
            "reworded": paraphrased,
            "near": self.town.neighbours,
            "others": self.town.retain[::7],
        }
        self.again = FAST_RECIPE.epochs * sum(map(self.town.task.width, self.town.retain))
        """Tokens of a retraining."""

    def measured(self, model: Any, never: Sequence[Any]) -> Rows:
        """Loss of each group, and how far the never-trained are from the model."""
        task = self.town.task
        return {
            name: {
                "loss": fmean(losses(model, group, task)),
                "divergence": fmean(divergence(one, model, group, task) for one in never),
            }
            for name, group in self.groups.items()
        }

    def forgotten(self, seed: int, method: str, every: int, options: Rows) -> Rows:
        """What a method leaves of a model that knew everybody."""
        began = time.process_time()
        try:
            done = olvido.forget(
                self.zoo.knowing(seed),
                forget=self.town.forget,
                retain=self.town.retain,
                holdout=self.town.outsiders[::every],
                task=self.town.task,
                method=method,
                **options,
            )
        except ModelDestroyed as error:
            done = error.outcome
        seconds = time.process_time() - began
        share = done.cost.tokens / self.again
        found = self.measured(done.model, self.never)
        return {**found, "share": share, "processor": seconds, "why": done.stopped}

    def ways(self) -> None:
        """Every way, on one model."""
        self.file.once("removal/before", lambda: self.measured(self.zoo.knowing(0), self.never))
        for n, one in enumerate(self.never):
            others = [other for m, other in enumerate(self.never) if m != n]
            self.file.once(f"removal/never {n}", lambda a=one, b=others: self.measured(a, b))
        for name, (method, options, every) in WAYS.items():
            self.file.once(
                f"removal/{name}", lambda m=method, e=every, o=options: self.forgotten(0, m, e, o)
            )

    def with_factors(self, seeds: int, folder: Path) -> None:
        """With the curvature measured when the model had been trained, those who leave among its
        records, over several models: on all together, or on two halves of the people."""
        records, task = self.town.rows, self.town.task
        self.file.rows["factors/making"] = 2 * sum(map(task.width, records)) / self.again
        for seed in range(seeds):
            model = self.zoo.knowing(seed)
            own = folder / f"knowing-{seed:02d}"
            kinds: dict[str, Callable[[], Any]] = {
                "all": lambda m=model, o=own: fit_ekfac(m, records, task, folder=o / "all"),
                "halves": lambda m=model, o=own: store_ekfac(m, records, task, o / "halves"),
            }
            self.file.once(f"factors/{seed}/before", lambda m=model: self.measured(m, self.never))
            for name, (method, options, every) in SHELVED.items():
                kind = name.partition(",")[0]
                given = options
                if kind in kinds:
                    given = {**options, "factors": str(own / kind)}
                    self.file.once(
                        f"factors/{seed}/made, {kind}", lambda make=kinds[kind]: bool(make())
                    )
                self.file.once(
                    f"factors/{seed}/{name}",
                    lambda s=seed, m=method, e=every, g=given: self.forgotten(s, m, e, g),
                )


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
    parser = harness.arguments(__doc__)
    parser.add_argument("part", choices=("planted", "removal", "factors"))
    parser.set_defaults(out=Path("build/influence.json"))
    parser.add_argument("--zoo", type=Path, default=Path("build/zoo"))
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--factors", type=Path, default=Path("build/factors"))
    args = harness.parsed(parser)
    file = File(args.out)
    zoo = Zoo(town(), args.zoo)
    if args.part == "planted":
        planted(file, zoo, args.facts)
    elif args.part == "removal":
        Removal(file, zoo).ways()
    else:
        Removal(file, zoo).with_factors(args.seeds, args.factors)


if __name__ == "__main__":
    main()
