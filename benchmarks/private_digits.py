"""Private training on MNIST with people as units, beside a loop made of Opacus' own parts.

Opacus has no unit but the record. The reference here is its optimizer (`DPOptimizer`: clipping,
noise, division) and its accountant, given one virtual record for each person: the mean gradient of
the person's drawn images, from `torch.func`. Nothing of Olvido's private training is in it but the
number of images of a person in a step. Both train the same network by the same recipe.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from opacus.accountants.utils import get_noise_multiplier
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

import harness
import olvido
from olvido.learners import Private, Recipe
from olvido.models.classifiers.networks import convnet
from olvido.tasks import Example, Labels, examples

EPSILONS = (8.0, 3.0, 1.0)
PEOPLE = 700
CONCENTRATION = 0.5
"""Of the Dirichlet distribution that a person's digits come from: a few digits are most of them."""
MOST = 8
"""Images of a person in a step."""
CLIP = 1.0
RECIPE = Recipe(epochs=20, batch_size=175, lr=0.01, clip=CLIP, warmup=0.0, schedule="constant")
CHOICES = ((40, 0.003), (40, 0.01), (40, 0.03), (20, 0.01), (20, 0.03))
"""Epochs and learning rates that were tried."""
TASK = Labels(10, shape=(28, 28))
Images = tuple[Tensor, Tensor]


def network(seed: int) -> nn.Module:
    """A convolutional network of 11,000 weights, which normalises each image by itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return convnet((28, 28), 10)


def split(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Seven tenths to learn, one to choose the recipe by, two to test, by a hash of the number.

    MNIST does not say who wrote what here. Each of 700 invented people has a mix of digits from a
    Dirichlet distribution, and each image goes to one of them by these mixes (Hsu et al. 2019,
    arXiv 1909.06335, without their fixed sizes).
    """
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    draw = np.random.default_rng(0)
    mixes = draw.dirichlet([CONCENTRATION] * 10, PEOPLE)
    kinds: dict[str, list[dict[str, Any]]] = {"learn": [], "choose": [], "test": []}
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        digest = hashlib.blake2b(f"mnist/split/{number}".encode(), digest_size=6).digest()
        tenth = int.from_bytes(digest) % 10
        kind = "learn" if tenth < 7 else "choose" if tenth == 7 else "test"
        row = {"id": f"{number:05}", "input": image, "label": int(label)}
        if kind == "learn":
            weights = mixes[:, label] / mixes[:, label].sum()
            row["subject"] = f"person {draw.choice(PEOPLE, p=weights)}"
        kinds[kind].append(row)
    return kinds


def tensors(rows: Sequence[Mapping[str, Any]]) -> Images:
    """Inputs [N, 28, 28] as the task makes them, and classes [N]."""
    inputs = np.stack([row["input"] for row in rows]).astype(np.float32) / 255
    return torch.from_numpy(inputs), torch.tensor([row["label"] for row in rows])


@torch.no_grad()
def accuracy(model: nn.Module, records: Sequence[Example]) -> float:
    """Share of the records whose class is the likeliest."""
    found = TASK.generate(model.eval(), records, 512)
    return fmean(name == record.completion for name, record in zip(found, records, strict=True))


def ours(
    records: Sequence[Example], epsilon: float | None, seed: int, recipe: Recipe
) -> tuple[nn.Module, dict[str, Any]]:
    """Olvido's learner; without an epsilon the monolith."""
    if epsilon is None:
        made = olvido.train(network(seed), records=records, task=TASK, recipe=recipe, seed=seed)
        return made.model, {}
    made = olvido.train(
        network(seed),
        records=records,
        task=TASK,
        recipe=recipe,
        seed=seed,
        learner=Private(epsilon=epsilon, most=MOST, noise_seed=seed),
    )
    return made.model, made.trace.spent.to_dict()


def peer(
    rows: Sequence[Mapping[str, Any]], epsilon: float, seed: int, recipe: Recipe
) -> tuple[nn.Module, dict[str, Any]]:
    """The loop made of Opacus' parts: one virtual record for each person."""
    inputs, labels = tensors(rows)
    owned: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        owned[row["subject"]].append(place)
    people = [np.array(places) for places in owned.values()]
    rate = recipe.batch_size / len(people)
    steps = max(1, round(recipe.epochs / rate))
    delta = 1 / (10 * len(people))
    noise = get_noise_multiplier(
        target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, accountant="prv",
        epsilon_tolerance=min(0.01, epsilon / 100),
    )  # fmt: skip
    model, draw = network(seed).train(), np.random.default_rng(10_000 + seed)
    optimizer = DPOptimizer(
        torch.optim.AdamW(
            model.parameters(),
            lr=recipe.lr,
            betas=(recipe.beta1, recipe.beta2),
            weight_decay=recipe.weight_decay,
        ),
        noise_multiplier=noise,
        max_grad_norm=recipe.clip,
        expected_batch_size=recipe.batch_size,
        generator=torch.Generator().manual_seed(10_000 + seed),
    )
    named = dict(model.named_parameters())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, weights, (image[None],)), label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    for step in range(steps):
        drawn = [
            p if len(p) <= MOST else draw.choice(p, MOST, replace=False)
            for p in people
            if draw.random() < rate
        ]
        places = torch.from_numpy(np.concatenate(drawn))
        person = torch.repeat_interleave(
            torch.arange(len(drawn)), torch.tensor([len(p) for p in drawn])
        )
        share = 1 / torch.tensor([float(len(p)) for p in drawn])
        weights = {name: value.detach() for name, value in named.items()}
        for name, gradients in each(weights, inputs[places], labels[places]).items():
            means = torch.zeros(len(drawn), *gradients.shape[1:]).index_add_(0, person, gradients)
            named[name].grad_sample = means * share.view(-1, *[1] * (gradients.dim() - 1))
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, steps)
        optimizer.step()
        optimizer.zero_grad()
    return model, {"noise": noise, "delta": delta, "units": len(people), "steps": steps}


def run(
    name: str, rows: Sequence[Mapping[str, Any]], test: Sequence[Example],
    epsilon: float | None, seed: int, recipe: Recipe = RECIPE,
) -> dict[str, Any]:  # fmt: skip
    """One training, and its accuracy on the test part."""
    records = examples(rows, "learn")
    began = time.process_time()
    if name == "peer":
        assert epsilon is not None
        model, said = peer(rows, epsilon, seed, recipe)
    else:
        model, said = ours(records, epsilon, seed, recipe)
    spent = time.process_time() - began
    return {"accuracy": accuracy(model, test), "cpu_seconds": spent, "promise": said}


def choose(parts: Mapping[str, list[dict[str, Any]]]) -> None:
    """Accuracy of a few recipes at epsilon 3, on the part that is kept for choosing."""
    test, rows = examples(parts["choose"], "choose"), []
    for epochs, lr in CHOICES:
        recipe = Recipe(**{**RECIPE.to_dict(), "epochs": epochs, "lr": lr})
        both = [run(name, parts["learn"], test, 3.0, 100, recipe) for name in ("ours", "peer")]
        rows.append([epochs, f"{lr:g}", *(f"{one['accuracy']:.2%}" for one in both)])
        print(rows[-1], [round(one["cpu_seconds"]) for one in both], file=sys.stderr, flush=True)
    harness.show(harness.table(["epochs", "rate", "Olvido", "Opacus' parts"], rows))


def tables(result: Mapping[str, Any]) -> Iterator[str]:
    """The table of docs/results/private-digits.md."""
    rows = []
    for label, found in result["rows"].items():
        cells = [found.get(name) for name in ("ours", "peer", "difference")]
        rows.append([label, *("" if c is None else harness.plus_minus(c, unit=100) for c in cells)])
    yield harness.table(["epsilon", "Olvido, %", "Opacus' parts, %", "difference"], rows)


def main() -> None:
    """Measure, print the table, and write the figures down."""
    parser = harness.arguments(__doc__, seed=0)
    parser.add_argument("--data", type=Path, default=os.environ.get("OLVIDO_MNIST"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epsilon", type=float, nargs="+", help="these alone, and no monolith")
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
    test = examples(parts["test"], "test")
    owned: dict[str, int] = defaultdict(int)
    for row in parts["learn"]:
        owned[row["subject"]] += 1
    rows: dict[str, Any] = {}
    for epsilon in args.epsilon or (None, *EPSILONS):
        found: dict[str, Any] = {}
        for name in ("ours",) if epsilon is None else ("ours", "peer"):
            seeds = range(args.seed, args.seed + args.seeds)
            runs = [run(name, parts["learn"], test, epsilon, seed) for seed in seeds]
            scores = [one["accuracy"] for one in runs]
            seconds = fmean(one["cpu_seconds"] for one in runs)
            found[f"each {name}"], found[name] = scores, harness.interval(scores)
            found[f"cpu_seconds {name}"] = seconds
            found[f"promise {name}"] = runs[0]["promise"]
            print(epsilon, name, scores, round(seconds), file=sys.stderr, flush=True)
        if epsilon is not None:
            pairs = zip(found["each ours"], found["each peer"], strict=True)
            found["difference"] = harness.interval([a - b for a, b in pairs])
        rows["none" if epsilon is None else f"{epsilon:g}"] = found
    result = harness.header(seed=args.seed, seeds=args.seeds) | {
        "recipe": RECIPE.to_dict(),
        "records": {kind: len(some) for kind, some in parts.items()},
        "people": len(owned),
        "images of a person": [min(owned.values()), median(owned.values()), max(owned.values())],
        "rows": rows,
        **clock.read(),
    }
    harness.show(*tables(result))
    if args.out:
        harness.finish(result, args)


if __name__ == "__main__":
    main()
