"""Modules behind a router on SmolLM2-135M and TOFU, beside a monolith of the same trainable size.

    python benchmarks/modules.py --tofu FOLDER --out build/modules

Trains, for each seed, (a) the modular learner on 20 TOFU authors (180-199): ten modules of two
authors, rank 16 on the top 8 layers; (b) one adapter of rank 160 on the same layers and the same
records, always on. Both are asked every second trained question, a paraphrase of every fourth, and
every third world fact. Then one author is forgotten from the modular model, exactly, and the result
is compared bit for bit with a module that never had her records. Every finished piece is written at
once and not done again when the script is started again. `--router` measures the router alone, over
all 200 authors.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

import harness
import olvido
from olvido.audits import ScoredModel
from olvido.audits.base import rephrased
from olvido.audits.knowledge.recall import probability, rouge
from olvido.data import tofu
from olvido.learners import Lora, Placement, Progress, Trained
from olvido.learners.modular import train_adapter
from olvido.learners.parts import again, carry_out
from olvido.models.router import RoutedQuestion, Router
from olvido.tasks import Example, Language, examples

AUTHORS = range(180, 200)
LEAVER = 198
PER_MODULE = 2
MODULES = len(AUTHORS) // PER_MODULE
RANK = 16
RECIPE = olvido.Recipe(
    epochs=8, batch_size=4, lr=3e-3, dtype="bfloat16", lora=Lora(rank=RANK, top_layers=8)
)
WIDE = Lora(rank=RANK * MODULES, alpha=2 * RANK * MODULES, top_layers=8)
ARMS = {
    "modular": RECIPE,
    "monolith": replace(RECIPE, lr=1e-3, lora=WIDE),
}
"""A wider adapter moves further at the same rate, and ten times as many steps: it has its own."""
DRAWS = 2000


def main() -> None:
    """Run the experiment."""
    parser = harness.arguments(__doc__, folder=True)
    parser.add_argument("--tofu", default=None, help="folder or hub id of TOFU")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--router", action="store_true", help="the router alone, all authors")
    parser.add_argument("--summary", action="store_true", help="of what is there already")
    args = harness.parsed(parser)
    if args.router:
        harness.finish(harness.header() | _routing(args.tofu), args, "router.json")
        return
    if args.summary:
        harness.finish(harness.header() | _together(args.out, args.seeds), args, "modules.json")
        return
    base = olvido.load("smollm2")
    # In its template: without it the base answers nothing at all, and modules leave it as it is.
    task = Language(base.tokenizer, chat=True)
    records = examples(tofu.rows(args.tofu, authors=AUTHORS), "tofu")
    world = examples(tofu.world_facts(args.tofu), "world")
    for seed, arm in product(range(args.seeds), ARMS):

        def run(arm: str = arm, seed: int = seed) -> dict[str, Any]:
            trained, seconds = _trained(arm, base.model, records, task, seed, args.threads)
            found = harness.header(arm=arm, seed=seed, seconds=seconds)
            if arm == "modular":
                found["forgetting"] = _forgotten(trained, records, task)
            return found | {"asked": _asked(trained, records, world, task)}

        harness.once(args.out / f"{arm}-{seed}.json", run, lambda _: f"{arm}, seed {seed}")  # noqa: B023
    harness.finish(harness.header() | _together(args.out, args.seeds), args, "modules.json")


def _trained(
    arm: str,
    model: torch.nn.Module,
    records: Sequence[Example],
    task: Language,
    seed: int,
    threads: int,
) -> tuple[Trained, float]:
    began = time.perf_counter()
    if arm == "modular":
        options: dict[str, Any] = {"per_module": PER_MODULE}
    else:
        # One module that everything is sent to is one adapter that is always on.
        options = {"per_module": len(AUTHORS), "threshold": -1.0}
    trained = olvido.train(
        model,
        records=records,
        task=task,
        recipe=ARMS[arm],
        seed=seed,
        learner="modular",
        threads=threads,
        watch=_say,
        **options,
    )
    return trained, time.perf_counter() - began


def _forgotten(trained: Trained, records: Sequence[Example], task: Language) -> dict[str, Any]:
    """One author leaves: what it costs, and whether it equals never having been taught."""
    assert isinstance(trained.trace, Placement)
    gone = {r.id for r in records if _author(r) == LEAVER}
    kept = [r for r in records if r.id not in gone]
    outcome = olvido.forget(
        trained,
        forget=[r for r in records if r.id in gone],
        retain=kept,
        task=task,
        method="module",
    )
    hit = trained.trace.hit(gone)
    (part,) = [p for p in trained.trace.parts if p.name in hit]
    # From the start and with her records, and what was computed of them, out of reach.
    fresh = replace(part.log, checkpoints=None)
    job = again(fresh, gone, kept, task, from_start=True, trainer=train_adapter)
    (never,) = carry_out([job])
    assert isinstance(outcome.trace, Placement)
    (after,) = [p for p in outcome.trace.parts if p.name == part.name]
    others = [p.log.final for p in outcome.trace.parts if p.name != part.name]
    before = [p.log.final for p in trained.trace.parts if p.name != part.name]
    began = time.perf_counter()
    served: Any = outcome.model
    served.without_module(part.name)
    dropping = time.perf_counter() - began
    predicted = olvido.methods.predict(
        trained,
        olvido.methods.read_split([r for r in records if r.id in gone], kept),
        task,
        method="module",
        options={},
    )
    return {
        "seconds": outcome.cost.seconds,
        "predicted_seconds": predicted.seconds,
        "share_of_retraining_tokens": outcome.cost.retraining,
        "training_seconds": trained.trace.seconds + sum(p.log.setup for p in trained.trace.parts),
        "equal_to_never_taught": dict(after.log.final) == dict(never.log.final),
        "other_modules_untouched": others == before,
        "dropping_a_module_seconds": dropping,
    }


def _asked(
    trained: Trained, records: Sequence[Example], world: Sequence[Example], task: Language
) -> dict[str, Any]:
    scored = ScoredModel(trained.model, task)
    found: dict[str, Any] = {}
    paraphrased = [p for r in records[::4] for p in rephrased([r])[:1]]
    probes = {"trained": records[::2], "paraphrased": paraphrased, "world": world[::3]}
    for name, asked in probes.items():
        began = time.perf_counter()
        found[name] = {
            "author": [_author(r) if name != "world" else n for n, r in enumerate(asked)],
            "rouge": rouge(scored, asked),
            "probability": probability(scored, asked),
            "seconds": time.perf_counter() - began,
        }
        print(f"  {name}: ROUGE-L recall {fmean(found[name]['rouge']):.3f}", flush=True)
    return found


def _together(out: Path, seeds: int) -> dict[str, Any]:
    """Means over seeds and authors, with intervals from drawing authors again."""
    arms = {
        arm: [
            harness.read(path)
            for path in (out / f"{arm}-{seed}.json" for seed in range(seeds))
            if path.is_file()
        ]
        for arm in ARMS
    }
    table: dict[str, Any] = {}
    for probe in ("trained", "paraphrased", "world"):
        for metric in ("rouge", "probability"):
            by = {arm: _by_author(runs, probe, metric) for arm, runs in arms.items()}
            table[f"{probe} {metric}"] = {
                **{arm: _interval(values) for arm, values in by.items()},
                "difference": _interval(by["modular"] - by["monolith"]),
            }
    forgetting = [run["forgetting"] for run in arms["modular"]]
    return {
        "recipes": {arm: recipe.to_dict() for arm, recipe in ARMS.items()},
        "seeds": {arm: [run["seed"] for run in runs] for arm, runs in arms.items()},
        "modules": MODULES,
        "records": len(arms["modular"][0]["asked"]["trained"]["rouge"]),
        "table": table,
        "forgetting": forgetting,
        "training_seconds": {arm: [run["seconds"] for run in runs] for arm, runs in arms.items()},
    }


def _by_author(runs: list[dict[str, Any]], probe: str, metric: str) -> np.ndarray:
    """Mean over seeds and questions for each author. [A]"""
    owners = np.array(runs[0]["asked"][probe]["author"])
    values = np.mean([run["asked"][probe][metric] for run in runs], axis=0)
    return np.array([values[owners == owner].mean() for owner in np.unique(owners)])


def _interval(values: np.ndarray) -> dict[str, float]:
    """The mean with its 95% bootstrap interval over authors."""
    draws = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def _routing(where: str | None) -> dict[str, Any]:
    """Where the questions of all 200 authors go, and those about the world."""
    records = examples(tofu.rows(where), "tofu")
    began = time.perf_counter()
    router = Router("minilm").add(
        RoutedQuestion(r.id, r.prompt, f"module-{_author(r) // PER_MODULE:03}") for r in records
    )
    built = time.perf_counter() - began
    paraphrased = [p for r in records for p in rephrased([r])]
    world = examples([*tofu.world_facts(where)], "world")
    real = examples([*tofu.real_authors(where)], "real")

    def right(asked: Sequence[Example]) -> float:
        expected = [f"module-{_author(r) // PER_MODULE:03}" for r in asked]
        routes = router.route([r.prompt for r in asked])
        return fmean(a == b for a, b in zip(routes, expected, strict=True))

    def to_base(asked: Sequence[Example]) -> float:
        return fmean(route is None for route in router.route([r.prompt for r in asked]))

    return {
        "rows": len(records),
        "threshold": router.threshold,
        "trained_right": right(records),
        "paraphrased": len(paraphrased),
        "paraphrased_right": right(paraphrased),
        "world": len(world),
        "world_to_base": to_base(world),
        "real_authors": len(real),
        "real_authors_to_base": to_base(real),
        "seconds_to_build": built,
    }


def _author(record: Example) -> int:
    return int(record.id.split("-")[1])


def _say(progress: Progress) -> None:
    if progress.step % 100 == 0:
        left = progress.seconds / progress.step * (progress.total - progress.step)
        print(f"  step {progress.step}/{progress.total}, {left / 60:.1f} min left", flush=True)


if __name__ == "__main__":
    main()
