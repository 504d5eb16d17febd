"""What a forgetting costs by where the records lie, counted: nothing is trained for it.

A model of shards and slices is its placement here. `benchmarks/mnist.py` shows by real retrainings
that the counts are those of the learner.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean
from typing import Any

import numpy as np

from harness import interval
from olvido.learners import Recipe
from olvido.learners.placement import Home, place
from olvido.tasks import Example

SHARDS, SLICES = 5, 4
OF_REQUESTS = 0.9
"""The share of the requests that those make who are likely to leave."""
REQUESTS = 50
DRAWS, PLACEMENTS, SEQUENCES = 400, 10, 30

Homes = Mapping[str, Home]


def passes(recipe: Recipe, slices: int = SLICES) -> int:
    """Over what has come in, in each stage: as `Sharded` has it."""
    return max(1, round(2 * recipe.epochs / (slices + 1)))


def anywhere(
    records: Sequence[Example], seed: int, shards: int = SHARDS, slices: int = SLICES
) -> dict[str, Home]:
    """Every record somewhere at random, whoever it is about: shards and slices evenly filled."""
    order = [record.id for record in records]
    random.Random(seed).shuffle(order)
    return {
        i: Home(at % shards, (at // shards) * slices * shards // len(order))
        for at, i in enumerate(order)
    }


def by_person(records: Sequence[Example], seed: int) -> dict[str, Home]:
    """People kept whole, nothing known of who will leave."""
    unknown = [Example(r.id, "", r.completion, {"subject": r.subjects[0]}) for r in records]
    return place(unknown, shards=SHARDS, slices=SLICES, seed=seed)


def by_prior(records: Sequence[Example], seed: int) -> dict[str, Home]:
    """People kept whole, those likely to leave last."""
    return place(records, shards=SHARDS, slices=SLICES, seed=seed)


class Counted:
    """A model of shards and slices of which only the placement is there: it counts examples.

    Leaving costs, in each shard concerned, every stage from the first slice that somebody left:
    each stage sees everybody who has come in by then and is still there, `epochs` times.
    """

    def __init__(self, homes: Homes, epochs: int) -> None:
        self.homes, self.epochs = homes, epochs
        self.shards = 1 + max(home.shard for home in homes.values())
        self.slices = 1 + max(home.slice for home in homes.values())
        self.held = np.zeros((self.shards, self.slices), dtype=np.int64)
        for home in homes.values():
            self.held[home.shard, home.slice] += 1
        self._placed = self.held.copy()

    @property
    def full(self) -> int:
        """Examples of a training of everybody who is there."""
        return self.epochs * int(self.held.cumsum(1).sum())

    def forget(self, ids: Iterable[str]) -> int:
        """Examples trained on again so that these are forgotten."""
        first: dict[int, int] = {}
        for home in map(self.homes.__getitem__, ids):
            self.held[home.shard, home.slice] -= 1
            first[home.shard] = min(first.get(home.shard, home.slice), home.slice)
        stages = self.held.cumsum(1)
        again = sum(int(stages[shard, slice_:].sum()) for shard, slice_ in first.items())
        return self.epochs * again

    def restore(self) -> None:
        """Everybody is back."""
        self.held = self._placed.copy()


def expected(shards: int, slices: int, leaving: int) -> float:
    """Share of a full training for so many deletions at random: C(S, R, k)."""
    return sum(
        2 * j / (slices * (slices + 1)) * (1 - (1 - j / (slices * shards)) ** leaving)
        for j in range(1, slices + 1)
    )


def shares(records: Sequence[Example], recipe: Recipe) -> list[dict[str, Any]]:
    """Counted beside the formula, over random deletions of records that are about nobody."""
    nobody = [Example(r.id, "", r.completion) for r in records]
    ids = [r.id for r in nobody]
    found = []
    for shards, slices in ((1, 4), (5, 4), (20, 4), (50, 4)):
        models = [
            Counted(place(nobody, shards=shards, slices=slices, seed=seed), passes(recipe, slices))
            for seed in range(PLACEMENTS)
        ]
        for leaving in (1, 10, 50):
            counts = []
            for seed in range(DRAWS):
                model = models[seed % PLACEMENTS]
                model.restore()
                full = model.full
                counts.append(model.forget(random.Random(seed).sample(ids, leaving)) / full)
            formula = expected(shards, slices, leaving)
            found.append(
                {
                    "shards": shards,
                    "slices": slices,
                    "leaving": leaving,
                    "formula": formula,
                    **interval(counts),
                    "off": fmean(counts) / formula - 1,
                }
            )
    return found


def requests(records: Sequence[Example], seed: int) -> list[list[str]]:
    """One person after the other, most of them of those who are likely to leave."""
    draw = random.Random(f"requests/{seed}")
    kinds: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
    for record in records:
        likely = record.fields["prior"] == 1.0
        kinds[likely].setdefault(record.subjects[0], []).append(record.id)
    asked = []
    for _ in range(REQUESTS):
        kind = kinds[draw.random() < OF_REQUESTS]
        asked.append(kind.pop(draw.choice(sorted(kind))))
    return asked


def sequences(records: Sequence[Example], recipe: Recipe) -> list[dict[str, Any]]:
    """Full trainings' worth of examples for the same requests, by placement and by batching."""
    ways: dict[str, Callable[[Sequence[Example], int], Homes]] = {
        "records at random (plain SISA)": anywhere,
        "people whole": by_person,
        "people whole, likely data subjects last": by_prior,
    }
    found = []
    for name, way in ways.items():
        counts: dict[int, list[float]] = {1: [], 10: [], REQUESTS: []}
        for seed in range(SEQUENCES):
            model, asked = Counted(way(records, seed), passes(recipe)), requests(records, seed)
            for size, totals in counts.items():
                model.restore()
                full = model.full
                batches = (asked[at : at + size] for at in range(0, REQUESTS, size))
                totals.append(sum(model.forget(chain(*batch)) for batch in batches) / full)
        found.append({"placement": name, **{str(s): interval(v) for s, v in counts.items()}})
    return found


def alone(records: Sequence[Example]) -> list[Example]:
    """The same records, each of somebody else: the case in which plain SISA scatters nobody."""
    return [replace(r, fields={**r.fields, "subject": f"person {r.id}"}) for r in records]
