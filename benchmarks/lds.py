"""The linear datamodeling score: do the scores of records foretell what training without them does?

    python benchmarks/lds.py digits --share 0.1 --subsets 16 --out docs/results/influence.json
    python benchmarks/lds.py mnist --share 0.01 --subsets 50 --data mnist10k.npz --out ...
    python benchmarks/lds.py town --share 0.1 --subsets 24 --out ...

So many times a share of the records leaves, drawn at random, and the model is trained again without
them: on the same plan from the same weights, and where `--seeds` says so, on others as well. The
score is the rank correlation, over these times, of a query's true loss and of the summed scores of
those who left; the mean over queries that were never taught. How well one seed's trainings foretell
another's is the ceiling for every way that does not know the seed.

Rows go to the file as they are found, and none is found again that is there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import harness
import olvido
from influence import File, Rows, facts, losses
from olvido.attribution.replay import metagradients
from olvido.curvature import fit_ekfac, influences, products, query_gradients
from olvido.demo.residents import make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.learners import Recipe, Trained
from olvido.tasks import Example, Labels, Task, examples
from zoo import town


@dataclass(frozen=True)
class World:
    """What is trained, and what it is asked afterwards.

    Attributes:
        make: trains on all records, by the seed of weights and order.
        replayed: queries that the replay is taken back for: each costs as much as a training.
    """

    name: str
    make: Callable[[int], Trained]
    task: Task
    records: tuple[Example, ...]
    queries: tuple[Example, ...]
    replayed: int

    def subset(self, number: int, share: float) -> tuple[Example, ...]:
        """Records that leave in one of the counterfactuals."""
        draw = random.Random(f"influence-{self.name}-{share}-{number}")
        return tuple(draw.sample(self.records, round(share * len(self.records))))


def digits(_: Path) -> World:
    """1,397 of scikit-learn's digits, two layers; 20 others are asked about."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = [
        {"id": f"{number:04d}", "input": image / 16, "label": int(label)}
        for number, (image, label) in enumerate(zip(found.images, found.target, strict=True))
    ]
    random.Random(0).shuffle(rows)
    task = Labels(10, shape=(8, 8))
    records, queries = examples(rows[400:]), examples(rows[:20])
    recipe = Recipe(epochs=10, batch_size=64, lr=5e-3, weight_decay=0.01)

    def make(seed: int) -> Trained:
        def layers() -> tuple[nn.Module, ...]:
            return (nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

        return olvido.train(
            drawn(seed, layers), records=records, task=task, recipe=recipe, seed=seed
        )

    return World("digits", make, task, records, queries, 20)


def mnist(data: Path) -> World:
    """4,000 of MNIST's digits and a small convolutional network, trained so that its end depends
    smoothly on its beginning: GELU, large batches, a low rate that rises slowly, weight decay."""
    with np.load(data) as file:
        images, labels = file["images"], file["labels"]
    order = np.random.default_rng(0).permutation(len(images))
    rows = [
        {"id": f"{place:05d}", "input": images[place], "label": int(labels[place])}
        for place in order.tolist()
    ]
    task = Labels(10, shape=(28, 28))
    records, queries = examples(rows[:4000]), examples(rows[4000:4020])

    def make(seed: int) -> Trained:
        def layers() -> tuple[nn.Module, ...]:
            return (
                nn.Unflatten(1, (1, 28)),
                nn.Conv2d(1, 8, 5, stride=2, padding=2),
                nn.GELU(),
                nn.Conv2d(8, 16, 5, stride=2, padding=2),
                nn.GELU(),
                nn.Flatten(),
                nn.Linear(16 * 49, 10),
            )

        return olvido.train(
            drawn(seed, layers), records=records, task=task, recipe=SMOOTH, seed=seed
        )

    return World("mnist", make, task, records, queries, 10)


SMOOTH = Recipe(epochs=16, batch_size=200, lr=3e-3, warmup=0.25, weight_decay=0.1)
"""94.6% of the digits that are left are told right. Chosen by that, before any score was seen."""


def drawn(seed: int, layers: Callable[[], tuple[nn.Module, ...]]) -> nn.Module:
    """A stack of layers with weights by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(*layers()).eval()


def fast_town(_: Path) -> World:
    """The demo's fast town; asked are 40 residents' facts in words that no record uses."""
    records = examples(make_town(seed=0, **FAST).rows())

    def make(seed: int) -> Trained:
        loaded = olvido.load("tiny", seed=seed)
        return olvido.train(
            loaded.model,
            tokenizer=loaded.tokenizer,
            records=records,
            recipe=FAST_RECIPE,
            seed=seed,
        )

    return World("town", make, town().task, records, facts(40), 8)


WORLDS = {"digits": digits, "mnist": mnist, "town": fast_town}


class Study:
    """One world, its counterfactuals, and what each way foretells of them."""

    def __init__(self, file: File, world: World, scores: Path) -> None:
        self.file, self.world, self.folder = file, world, scores
        self._trained: dict[int, Trained] = {}

    def trained(self, seed: int) -> Trained:
        """On all records."""
        if seed not in self._trained:
            self._trained[seed] = self.world.make(seed)
        return self._trained[seed]

    def truth(self, share: float, subsets: int, seed: int) -> Any:
        """Each query's loss after each subset left. [Q, S]"""
        world = self.world
        rows = []
        for number in range(subsets):
            gone = world.subset(number, share)

            def retrained(gone: tuple[Example, ...] = gone) -> list[float]:
                ids = {record.id for record in gone}
                done = olvido.forget(
                    self.trained(seed),
                    forget=gone,
                    retain=[record for record in world.records if record.id not in ids],
                    task=world.task,
                    method="retrain",
                )
                return losses(done.model, world.queries, world.task)

            place = f"{world.name}/retrained/{share}/{len(world.queries)} queries/seed {seed}"
            rows.append(self.file.once(f"{place}/{number:03d}", retrained))
        return np.array(rows).T

    def left(self, share: float, subsets: int) -> Tensor:
        """Which records each subset holds. [S, n]"""
        place = {record.id: i for i, record in enumerate(self.world.records)}
        found = torch.zeros(subsets, len(place), dtype=torch.float64)
        for number in range(subsets):
            found[number, [place[r.id] for r in self.world.subset(number, share)]] = 1.0
        return found

    def run(self, share: float, subsets: int, seeds: int) -> None:
        """Train, score and hold together."""
        world = self.world
        truths = [self.truth(share, subsets, seed) for seed in range(seeds)]
        place = f"{world.name}/lds/{share}/{subsets} subsets/{len(world.queries)} queries"
        if seeds > 1:
            self.file.once(
                f"{place}/another seed's trainings", lambda: correlation(truths[1], truths[0])
            )
        left = self.left(share, subsets)
        for way, scores in self.scored():
            foretold = (scores.double() @ left.T).numpy()
            some = len(foretold)
            self.file.once(
                f"{place}/{way}", lambda a=foretold, n=some: correlation(a, truths[0][:n])
            )
            if seeds > 1:
                mean = np.mean(truths, 0)
                self.file.once(
                    f"{place}/{way}, mean of {seeds} seeds",
                    lambda a=foretold, n=some, mean=mean: correlation(a, mean[:n]),
                )

    def scored(self) -> Iterator[tuple[str, Tensor]]:
        """Scores of every record for every query, by each way. [Q, n]"""
        world, task = self.world, self.world.task

        def ekfac(damping: float) -> Tensor:
            model = self.trained(0).model
            curvature = fit_ekfac(model, world.records, task, seed=0)
            return influences(model, world.records, world.queries, task, curvature, damping=damping)

        def dot() -> Tensor:
            model = self.trained(0).model
            wanted = query_gradients(model, world.queries, task)
            return products(model, world.records, wanted, task)

        def replay() -> Tensor:
            some = world.queries[: world.replayed]
            return metagradients(self.trained(0), world.records, some, task)

        for damping in (0.1, 0.01, 1.0):
            yield f"ekfac {damping:g}", self._kept(f"ekfac {damping:g}", lambda d=damping: ekfac(d))
        yield "gradient", self._kept("gradient", dot)
        yield "replay", self._kept("replay", replay)

    def _kept(self, way: str, find: Callable[[], Tensor]) -> Tensor:
        """Scores are found once for all shares; how long it took is a row."""
        name = f"{self.world.name}, {len(self.world.queries)} queries, {way}"
        path = self.folder / f"{name}.npy"
        if not path.exists():
            began = time.process_time()
            found = find()
            seconds = time.process_time() - began
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, found.numpy())
            self.file.once(f"scored/{name}", lambda: round(seconds, 2))
        return torch.from_numpy(np.load(path))


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


def main() -> None:
    """One world, one share."""
    parser = harness.arguments(__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.set_defaults(out=Path("build/influence.json"))
    parser.add_argument("--scores", type=Path, default=Path("build/lds"))
    parser.add_argument("--data", type=Path, default=Path("mnist10k.npz"))
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--subsets", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=1)
    args = harness.parsed(parser)
    study = Study(File(args.out), WORLDS[args.world](args.data), args.scores)
    study.run(args.share, args.subsets, args.seeds)


if __name__ == "__main__":
    main()
