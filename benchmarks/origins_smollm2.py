"""SmolLM2 and ten TOFU authors: which start and which target forget as if never learned?

    python benchmarks/origins_smollm2.py --tofu FOLDER --out build/origins-smollm2 --author 199
    python benchmarks/origins_smollm2.py --out build/origins-smollm2 --summary

What benchmarks/origins.py asks of a tiny model. SmolLM2-135M-Instruct learns authors 190 to 199;
one of them leaves, in each replicate another one, and each has its own retrained model. The
original is the same. A second retrained model shows what chance does. Each setting is a piece of
its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch.nn import Module

import harness
from olvido.audits import ScoredModel
from olvido.audits.attacks.membership import loss_attack
from olvido.audits.attacks.quantization import quantized
from olvido.audits.attacks.relearn_sets import halves, others_of
from olvido.audits.attacks.relearning import relearn
from olvido.audits.integrity.fluency import names_asked, names_said, repetition
from olvido.audits.knowledge.matching import names_of
from olvido.audits.knowledge.truth import (
    forget_quality,
    model_utility,
    probability,
    rouge_recall,
    truth_ratio,
)
from olvido.errors import ModelDestroyed
from olvido.methods import forget
from olvido.statistics import auc
from olvido.tasks import Example
from tofu import BATCH, RATE, RECIPE, TERMS, Bench, eight

AUTHORS = range(190, 200)
RECIPE_HERE = replace(RECIPE, dtype="float32")
"""Processors without bfloat16 of their own are some 70 times slower in it."""
NPO = {**TERMS, "dtype": "float32", "project": True, "epochs": 12, "reference": "base"}
SETTINGS: Mapping[str, tuple[str, dict[str, Any]] | None] = {
    "retrained": None,
    "arithmetic of the forgotten alone": ("arithmetic", {"beside": 0}),
    "arithmetic": ("arithmetic", {}),
    "npo projected, target of base": ("npo", NPO),
    "arithmetic, no repair": ("arithmetic", {"steps": 0}),
    "redistil, 40 steps": ("redistil", {"steps": 40}),
    "distillation": ("distillation", {}),
    "original": None,
    "retrained again": None,
}
LOOKS, KEPT_STEPS = (10, 40, 100), 60
"""Steps of relearning one half of the forgotten, and of learning what is kept."""
MEASURES = (
    "forgotten", "rephrased", "kept", "kept ROUGE", "attack", "int4", "half", "half 10", "half 40",
    "half 100", "kept 60", "repetition", "names said", "strangeness", "utility",
)  # fmt: skip


def asked_otherwise(records: tuple[Example, ...]) -> tuple[Example, ...]:
    """The records with their first rephrased question."""
    return tuple(
        replace(record, id=f"{record.id}/rephrased", prompt=record.fields["paraphrases"][0])
        for record in records
        if record.fields["paraphrases"]
    )


def measured(model: Module, bench: Bench) -> dict[str, Any]:
    """What is left, kept, and brought back."""
    scored, task, gone = ScoredModel(model.eval(), bench.task), bench.task, bench.forget
    judge = ScoredModel(bench.never, task)
    lessons, tested = halves(gone, seed=0)
    named = names_asked(gone, names_of((*gone, *bench.retain)))
    asked = [record for record in gone if record.id in named]
    said = [
        Example(f"{record.id}/said", "", answer or "?", record.fields)
        for record, answer in zip(gone, scored.answers(gone), strict=True)
    ]
    sets = bench.utilities(scored)
    found = {
        "ratios": truth_ratio(scored, gone),
        "loss": fmean(score.loss for score in scored.scores(gone)),
        "forgotten": fmean(probability(scored, gone)),
        "rephrased": fmean(probability(scored, asked_otherwise(gone))),
        "kept": fmean(probability(scored, bench.kept)),
        "kept ROUGE": fmean(rouge_recall(scored, bench.kept)),
        "attack": auc(loss_attack(scored, gone), loss_attack(scored, bench.attacked)),
        "int4": fmean(probability(ScoredModel(quantized(model, 4), task), gone)),
        "half": fmean(probability(scored, tested)),
        "repetition": fmean(repetition(scored, gone)),
        "names said": fmean(names_said(named, scored, asked)),
        "strangeness": fmean(score.loss for score in judge.scores(said)),
        "utilities": {name: vars(one) for name, one in sets.items()},
        "nine": model_utility(*sets.values()),
        "answers": [
            {"question": e.prompt, "truth": e.completion, "answer": s.completion}
            for e, s in zip(gone[:6], said, strict=False)
        ],
    }
    found["utility"] = eight(found)
    again: dict[str, Any] = {"lr": RATE, "batch": BATCH, "seed": 0}
    for steps, moved in relearn(model, lessons, task, steps=LOOKS, **again):
        found[f"half {steps}"] = fmean(probability(ScoredModel(moved, task), tested))
    some = others_of(bench.retain, gone)
    for _, moved in relearn(model, some, task, steps=(KEPT_STEPS,), **again):
        found[f"kept {KEPT_STEPS}"] = fmean(probability(ScoredModel(moved, task), gone))
    return found


def piece(name: str, bench: Bench, seed: int) -> dict[str, Any]:
    """One setting of one replicate."""
    clock, setting = harness.Clock(), SETTINGS[name]
    if setting is None:
        again = {"retrained": lambda: bench.never, "original": lambda: bench.original}
        chosen = again.get(name) or (
            lambda: bench.learned(bench.retain, 200 + seed, f"again-{199 - seed}").model
        )
        model = chosen()
        return {"share": float(name != "original")} | measured(model, bench) | clock.read()
    method, options = setting
    options = {k: bench.base.model if k == "reference" else v for k, v in options.items()}
    try:
        outcome = forget(
            bench.trained,
            forget=bench.forget,
            retain=bench.retain,
            task=bench.task,
            method=method,
            seed=seed,
            **options,
        )
    except ModelDestroyed as error:
        if error.outcome is None:
            raise
        outcome = error.outcome
    took = clock.read()
    share = outcome.cost.tokens / bench.retraining["tokens"]
    found = {"share": share, "stopped": outcome.stopped, "steps": len(outcome.history)}
    print(json.dumps({"setting": name} | found | took), flush=True)
    return found | measured(outcome.model, bench) | took


def summary(folder: Path) -> dict[str, Any]:
    """Print the tables: each measure as its difference to the retrained model's."""
    runs = {
        name: {
            file.name: harness.read(file / f"{_file(name)}.json")
            for file in sorted((folder / "cells").iterdir())
            if (file / f"{_file(name)}.json").exists()
        }
        for name in SETTINGS
    }
    gold, rows, found = runs["retrained"], [], {}
    for name, each in runs.items():
        for author in sorted(gold.keys() & each.keys()):
            row, never = each[author], gold[author]
            cells = {measure: row[measure] - never[measure] for measure in MEASURES}
            cells["p"] = forget_quality(row["ratios"], never["ratios"])
            cells["share"] = row["share"]
            found[f"{name}, {author}"] = cells
            values = never if name == "retrained" else cells
            sign = ".3f" if name == "retrained" else "+.3f"
            shown = [f"{values[measure]:{sign}}" for measure in MEASURES]
            rows.append([name, author, *shown, f"{cells['p']:.2g}", f"{row['share']:.0%}"])
    columns = ["setting", "author", *MEASURES, "p", "tokens"]
    harness.show(harness.table(columns, rows))
    return {"rows": found, "cells": runs}


def _file(name: str) -> str:
    return name.replace(",", "").replace("+", "and").replace(" ", "-")


def main() -> None:
    """Make the pieces of one replicate, or show what there is."""
    parser = harness.arguments(__doc__, folder=True, threads=1)
    parser.add_argument("--tofu", default=None, help="folder or hub id of TOFU")
    parser.add_argument("--author", type=int, default=199, choices=AUTHORS, help="who leaves")
    parser.add_argument("--settings", default="", help="with semicolons; all where left out")
    parser.add_argument("--summary", action="store_true", help="show the tables of all pieces")
    args = harness.parsed(parser)
    if args.summary:
        harness.write(harness.header(**summary(args.out)), args.out / "origins_smollm2.json")
        return
    seed = 199 - args.author
    bench = Bench(
        args.tofu,
        args.out,
        authors=AUTHORS,
        leaving=[args.author],
        seeds=(0, 100 + seed),
        recipe=RECIPE_HERE,
        never=f"retrained-{args.author}",
    )
    folder = args.out / "cells" / f"{args.author}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.settings.split(";") if args.settings else SETTINGS:
        harness.once(
            folder / f"{_file(name)}.json",
            lambda name=name: piece(name, bench, seed),
            lambda row: {k: v for k, v in row.items() if k in (*MEASURES, "loss", "nine", "share")},
        )


if __name__ == "__main__":
    main()
