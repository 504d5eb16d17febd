"""A model with a base: which start and which target forget as if never learned, and stay so?

    python benchmarks/origins.py --out build/origins --seed 0
    python benchmarks/origins.py --out build/origins-ten --scene ten --seed 0
    python benchmarks/origins.py --out build/origins --summary

A tiny model learns a city and half of a town, which makes the base; then the other half. Two of
those people leave, unless a scene says otherwise. Each replicate has its own town, people, original
and retrained model. Each setting is a piece of its own and not done again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from torch.nn import Module

import harness
from olvido.audits.attacks.quantization import quantized
from olvido.audits.attacks.relearn_sets import halves, unrelated
from olvido.demo.residents import make_town
from olvido.errors import ModelDestroyed, NothingChanged
from olvido.learners import Lora, Recipe, Trained, train
from olvido.methods import Split, forget
from olvido.methods.origin.sketch import sketch
from olvido.methods.origin.weights import origin_for
from olvido.methods.proxies import observe
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples
from olvido.tasks.scoring import losses_of

BASE = Recipe(epochs=12, batch_size=16, lr=2e-3)
FINE = Recipe(epochs=8, batch_size=16, lr=2e-3)
LEARNED = 20
"""People whom the fine-tuning teaches."""


@dataclass(frozen=True)
class Scene:
    """Who leaves, and how they were learned.

    Attributes:
        leavers: how many people leave.
        one_by_one: each from what the one before left, in place of all at once.
        known: whether the base was taught them too, so that it is no clean origin. The retrained
            model has a base of its own that never was.
        lora: whether the fine-tuning trained adapters, for three times as long and at twice the
            rate.
    """

    leavers: int = 2
    one_by_one: bool = False
    known: bool = False
    lora: bool = False


SCENES = {
    "two": Scene(),
    "ten": Scene(10),
    "one by one": Scene(10, one_by_one=True),
    "known": Scene(known=True),
    "lora": Scene(lora=True),
}
RELEARN = Recipe(epochs=1, batch_size=5, lr=1e-3, schedule="constant", warmup=0.0)
RELEARNED, LOOKS = 25, (10, 40, 100)
"""Records of one half of the forgotten and steps of relearning them, after which the other half is
asked for."""
KEPT_STEPS = 60
"""Steps of learning retained records, after which the forgotten are asked for."""
SETTINGS: Mapping[str, tuple[str, dict[str, Any]] | None] = {
    "original": None,
    "retrained": None,
    "npo projected, target of holdout": ("npo", {"project": True}),
    "npo projected, target of base": ("npo", {"project": True, "reference": "base"}),
    "distillation": ("distillation", {}),
    "arithmetic of the forgotten alone": ("arithmetic", {"beside": 0}),
    "arithmetic, no repair": ("arithmetic", {"steps": 0}),
    "arithmetic": ("arithmetic", {}),
    "arithmetic, 10 steps": ("arithmetic", {"steps": 10}),
    "redistil": ("redistil", {}),
}
MEASURES = (
    "forgotten", "kept", "exact", "half", "half 10", "half 40", "half 100", "kept 60", "int4",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """One replicate."""

    base: Module
    original: Trained
    retrained: Module
    split: Split
    task: Language
    scene: Scene


@cache
def world(seed: int, scene: Scene) -> World:
    """Make the models of a replicate."""
    tokenizer = tiny_tokenizer()
    task = Language(tokenizer)
    town = make_town(seed=seed, residents=2 * LEARNED, outsiders=6, wordings=5)

    def of(people: Any) -> tuple[Example, ...]:
        return tuple(e for person in people for e in examples(town.rows_of(person)))

    city = tuple(e for e in examples(town.rows()) if not e.subjects)
    gone, kept = (
        of(town.residents[: scene.leavers]),
        of(town.residents[scene.leavers : LEARNED]),
    )
    fresh = tiny_model(len(tokenizer), seed=seed, width=96, layers=2).eval()
    known = (*city, *of(town.residents[LEARNED:]))

    def based(records: tuple[Example, ...]) -> Module:
        return train(fresh, records=records, task=task, recipe=BASE, seed=seed).model

    clean = based(known)
    base = based((*known, *gone)) if scene.known else clean
    adapters = replace(FINE, lora=Lora(rank=16, alpha=32), epochs=24, lr=4e-3)
    fine = adapters if scene.lora else FINE
    original = train(base, records=(*gone, *kept), task=task, recipe=fine, seed=seed)
    retrained = train(clean, records=kept, task=task, recipe=fine, seed=100 + seed).model
    origin = origin_for(original, None, [e.id for e in gone])
    split = Split(gone, kept, of(town.outsiders), origin=origin)
    return World(base, original, retrained, split, task, scene)


def probability(model: Module, records: tuple[Example, ...], task: Language) -> float:
    """Mean probability of a token of the answers, a record's geometric mean."""
    return fmean(math.exp(-loss) for loss in losses_of(model, records, task, 64).values())


def measured(model: Module, here: World, seed: int) -> dict[str, float]:
    """What is left, kept, and brought back."""
    split, task = here.split, here.task
    one, other = halves(split.forget, seed)
    one = one[:: max(1, len(one) // RELEARNED)]
    found = {
        "forgotten": probability(model, split.forget, task),
        "loss": fmean(losses_of(model, split.forget, task, 64).values()),
        "kept": probability(model, split.retain, task),
        "exact": fmean(s.recalled for s in observe(model, split.retain, task).values()),
        "half": probability(model, other, task),
        "int4": probability(quantized(model, 4), split.forget, task),
    }
    each, done, now = math.ceil(len(one) / RELEARN.batch_size), 0, model
    for look in LOOKS:
        recipe = replace(RELEARN, epochs=(look - done) // each)
        now = train(now, records=one, task=task, recipe=recipe, seed=seed).model
        found[f"half {look}"], done = probability(now, other, task), look
    some = unrelated(split.retain, split.forget, 50, seed)
    recipe = replace(RELEARN, epochs=KEPT_STEPS // 10)
    now = train(model, records=some, task=task, recipe=recipe, seed=seed).model
    found["kept 60"] = probability(now, split.forget, task)
    return found


def piece(name: str, seed: int, scene: Scene) -> dict[str, Any]:
    """One setting of one replicate."""
    here = world(seed, scene)
    clock, setting = harness.Clock(), SETTINGS[name]
    if setting is None:
        model = here.original.model if name == "original" else here.retrained
        found: dict[str, Any] = {"share": float(name == "retrained"), "stopped": ""}
        return found | measured(model, here, seed) | clock.read()
    method, options = setting
    options = {k: here.base if k == "reference" else v for k, v in options.items()}
    split = here.split
    # Without its trace a model has no origin, and the target is that of the holdout records.
    given = here.original.model if name.endswith("holdout") else here.original
    spent, stopped, requests = 0.0, [], leaving(here)
    for number, gone in enumerate(requests):
        # Who leaves later is kept until then.
        later = tuple(record for request in requests[number + 1 :] for record in request)
        taught = [e.id for e in split.forget]
        try:
            outcome = forget(
                given,
                forget=gone,
                retain=(*split.retain, *later),
                holdout=split.holdout if method == "npo" else (),
                task=here.task,
                method=method,
                seed=seed,
                **options,
            )
        except ModelDestroyed as error:
            if error.outcome is None:
                raise
            outcome = error.outcome
        except NothingChanged as error:
            # It is the model that was to forget, whatever was spent on it.
            stopped = [*stopped, str(error)]
            continue
        spent, stopped = spent + outcome.cost.tokens, [*stopped, outcome.stopped]
        given = Trained(outcome.model, outcome.digest, outcome.trace)
    took = clock.read()
    again = len(requests) * here.original.trace.tokens_without(taught)
    found = {"share": spent / again, "stopped": stopped}
    return found | measured(given.model, here, seed) | took


def leaving(here: World) -> list[tuple[Example, ...]]:
    """The records of each request."""
    if not here.scene.one_by_one:
        return [here.split.forget]
    people: dict[str, tuple[Example, ...]] = {}
    for record in here.split.forget:
        (person,) = record.subjects
        people[person] = (*people.get(person, ()), record)
    return list(people.values())


def estimates(seed: int, scene: Scene) -> dict[str, float]:
    """What each estimate of never learned says, beside the retrained model's loss."""
    here = world(seed, scene)
    made = sketch(here.original, here.split, here.task, seed=0).model
    rows = {
        "retrained": (here.retrained, here.split.forget),
        "base": (here.base, here.split.forget),
        "sketch": (made, here.split.forget),
        "holdout": (here.original.model, here.split.holdout),
    }
    return {
        name: fmean(losses_of(model, records, here.task, 64).values())
        for name, (model, records) in rows.items()
    }


def summary(folder: Path) -> dict[str, Any]:
    """Print the tables: each measure as its difference to the retrained model's."""
    runs = {
        name: {
            file.stem: harness.read(file / f"{_file(name)}.json")
            for file in sorted(folder.iterdir())
            if (file / f"{_file(name)}.json").exists()
        }
        for name in SETTINGS
    }
    gold = runs["retrained"]
    rows, found = [], {}
    for name, each in runs.items():
        if not (seeds := sorted(gold.keys() & each.keys())):
            continue
        cells = {
            measure: harness.interval([each[s][measure] - gold[s][measure] for s in seeds])
            for measure in MEASURES
        }
        share = harness.interval([each[s]["share"] for s in seeds])
        found[name] = cells | {"share": share, "n": len(seeds)}
        shown = [harness.plus_minus(cells[measure], "+.3f") for measure in MEASURES]
        rows.append([name, len(seeds), *shown, f"{share['mean']:.0%}"])
    told = [harness.read(file) for file in sorted(folder.glob("*/estimates.json"))]
    known = {
        name: harness.interval([one[name] for one in told]) for name in (told[0] if told else ())
    }
    harness.show(
        harness.table(["setting", "replicates", *MEASURES, "tokens"], rows),
        harness.table(
            ["estimate", "nats a token"],
            [[name, harness.plus_minus(value)] for name, value in known.items()],
        ),
    )
    return {"rows": found, "estimates": known}


def _file(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def main() -> None:
    """Make the pieces of one replicate, or show what there is."""
    parser = harness.arguments(__doc__, folder=True, seed=0, threads=1)
    parser.add_argument("--summary", action="store_true", help="show the tables of all pieces")
    parser.add_argument("--scene", choices=list(SCENES), default="two")
    parser.add_argument("--settings", default="", help="with semicolons; all where left out")
    args = harness.parsed(parser)
    if args.summary:
        found = summary(args.out)
        harness.write(harness.header(**found), args.out.with_suffix(".json"))
        return
    folder = args.out / f"{args.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    harness.once(folder / "estimates.json", lambda: estimates(args.seed, SCENES[args.scene]))
    for name in args.settings.split(";") if args.settings else SETTINGS:
        harness.once(
            folder / f"{_file(name)}.json",
            lambda name=name: piece(name, args.seed, SCENES[args.scene]),
            lambda row: {k: v for k, v in row.items() if k != "stopped"},
        )


if __name__ == "__main__":
    main()
