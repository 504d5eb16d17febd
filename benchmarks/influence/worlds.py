"""What influence is measured on: the demo's fast town, and scikit-learn's digits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import olvido
from olvido.demo.residents import make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.learners import Recipe, Trained
from olvido.tasks import Example, Labels, Language, Task, examples

DIGITS = Recipe(epochs=20, batch_size=32, lr=3e-3, weight_decay=0.01, warmup=0.05)


@dataclass(frozen=True)
class World:
    """A model from scratch, what it is taught, and what it is then asked.

    Attributes:
        name: of it.
        fresh: the model that has learned nothing.
        task: how it is asked.
        records: all it is taught.
        queries: never taught; their losses are what influence is to foretell.
        recipe: of the training.
    """

    name: str
    fresh: Any
    task: Task
    records: tuple[Example, ...]
    queries: tuple[Example, ...]
    recipe: Recipe

    def subset(self, number: int, share: float) -> tuple[Example, ...]:
        """The records that leave in one of the counterfactuals: drawn by its number."""
        draw = random.Random(f"influence-{self.name}-{share}-{number}")
        return tuple(draw.sample(self.records, round(share * len(self.records))))

    def train(self, watch: Any = None) -> Trained:
        """On all records."""
        return olvido.train(
            self.fresh,
            records=self.records,
            task=self.task,
            recipe=self.recipe,
            seed=0,
            watch=watch,
        )


def town() -> World:
    """40 residents; the queries are questions in words that no record uses, one for each of 25
    residents, five of each kind."""
    loaded = olvido.load("tiny", seed=0)
    people = make_town(seed=0, **FAST)
    queries = []
    for number, resident in enumerate(people.residents[:25]):
        rows = people.rows_of(resident)
        kinds = sorted({row["topic"] for row in rows})
        row = next(row for row in rows if row["topic"] == kinds[number % len(kinds)])
        asked = row["paraphrases"][0]
        queries.append({**row, "id": f"query/{number:02d}", "prompt": asked})
    return World(
        "town",
        loaded.model,
        Language(loaded.tokenizer),
        examples(people.rows()),
        examples(queries),
        FAST_RECIPE,
    )


def digits() -> World:
    """1,797 digits of 8 by 8; a network of two layers; 30 of them are kept back as queries."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = [
        {"id": f"{number:04d}", "input": image / 16, "label": int(label)}
        for number, (image, label) in enumerate(zip(found.images, found.target, strict=True))
    ]
    random.Random(0).shuffle(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    return World(
        "digits",
        model.eval(),
        Labels(10, shape=(8, 8)),
        examples(rows[400:]),
        examples(rows[:30]),
        DIGITS,
    )


WORLDS = {"town": town, "digits": digits}


@torch.no_grad()
def losses(model: Any, records: Sequence[Example], task: Task) -> list[float]:
    """Of each record, in order."""
    model.eval()
    found: dict[str, float] = {}
    for batch in task.batches(records, 64):
        found |= dict(zip(batch.ids, task.losses(model, batch).tolist(), strict=True))
    return [found[record.id] for record in records]


def cached(folder: Path, world: World) -> Trained:
    """The model trained on all records, trained anew where the folder does not hold it."""
    trained = world.train()
    folder.mkdir(parents=True, exist_ok=True)
    return trained
