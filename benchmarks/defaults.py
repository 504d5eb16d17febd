"""Search the defaults of the gradient methods against "equal to never-trained".

    python benchmarks/defaults.py --out build/defaults.json

Trains the demo's tiny model on all residents, and never-trained models without five of them. Then
each method forgets each of the five, one at a time, at each learning rate, and every result is
audited against the never-trained models. A setting is worth a default when it passes for all five.
"""

from __future__ import annotations

import json
import time
from statistics import fmean
from typing import Any

import torch

import harness
import olvido
from olvido.demo.residents import Resident, Town, make_town
from olvido.errors import ModelDestroyed, OlvidoError
from olvido.learners import RECIPES, StepLog
from olvido.tasks import Language, examples

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
METHODS = ("ascent", "graddiff", "npo", "simnpo")


def main() -> None:
    """Run the search and print a table."""
    parser = harness.arguments(__doc__, seed=0)
    parser.add_argument("--data-subjects", type=int, default=5)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--retain-batch", type=int, default=48)
    parser.add_argument("--methods", default=",".join(METHODS))
    args = harness.parsed(parser)
    town = make_town(seed=args.seed)
    data_subjects = town.residents[: args.data_subjects]
    rows = town.rows()
    gone = {person.name for person in data_subjects}
    base = olvido.load("tiny", seed=args.seed)
    task = Language(base.tokenizer)
    recipe = RECIPES["tiny"]
    trained = olvido.train(base.model, records=rows, task=task, recipe=recipe, seed=args.seed)
    assert isinstance(trained.trace, StepLog)
    kept = [row for row in rows if row.get("subject") not in gone]
    never = [
        olvido.train(
            olvido.load("tiny", seed=seed).model, records=kept, task=task, recipe=recipe, seed=seed
        ).model
        for seed in range(args.seed + 1, args.seed + 1 + args.references)
    ]
    found = []
    for method in args.methods.split(","):
        for rate in map(float, args.rates.split(",")):
            runs = [
                _tried(
                    town,
                    person,
                    trained,
                    never,
                    task,
                    rows,
                    gone,
                    method,
                    {"lr": rate, "retain_batch": args.retain_batch},
                )
                for person in data_subjects
            ]
            found.append(_row(method, rate, runs))
            print(json.dumps({k: v for k, v in found[-1].items() if k != "runs"}), flush=True)
    about = harness.header(
        seed=args.seed, retain_batch=args.retain_batch, training_tokens=trained.trace.tokens
    )
    harness.finish(about | {"settings": found}, args)


def _tried(
    town: Town,
    person: Resident,
    trained: olvido.Trained,
    never: list[torch.nn.Module],
    task: Language,
    rows: list[dict[str, Any]],
    gone: set[str],
    method: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    forget = [row for row in rows if row.get("subject") == person.name]
    retain = [row for row in rows if row.get("subject") != person.name]
    controls = examples([row for other in town.outsiders for row in town.rows_of(other)])
    near = {n.name for n in town.neighbours(person)} - gone
    destroyed = False
    began = time.perf_counter()
    try:
        outcome = olvido.forget(
            trained,
            forget=forget,
            retain=retain,
            holdout=controls[::2],
            task=task,
            method=method,
            **options,
        )
    except ModelDestroyed as error:
        outcome, destroyed = error.outcome, True
    except OlvidoError as error:
        return {"verdict": "fail", "error": str(error)}
    seconds = time.perf_counter() - began
    report = olvido.audit(
        outcome.model,
        forget=forget,
        retain=[row for row in retain if row.get("subject") not in gone][::9],
        neighbours=[row for row in rows if row.get("subject") in near],
        general=[row for row in rows if "subject" not in row],
        holdout=controls[1::2],
        original=trained.model,
        reference=never,
        task=task,
    )
    likelihood = report.find("likelihood", "loss")
    return {
        "verdict": "fail" if destroyed else report.verdict.value,
        "failed": sorted({f.audit for f in report.findings if f.status.value == "fail"}),
        "steps": len(outcome.history),
        "share": outcome.cost.retraining,
        "seconds": seconds,
        "loss": likelihood.value,
        "never_trained_loss": likelihood.expected,
        "recall": report.find("recall", "exact match").value,
        "paraphrased": report.find("paraphrase", "exact match").value,
        "neighbours": report.find("neighbours", "exact match").value,
        "general": report.find("general", "exact match").value,
        "membership": report.find("membership", "AUC of the loss attack").excess,
    }


def _row(method: str, rate: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    done = [run for run in runs if "error" not in run]

    def mean(name: str) -> float | None:
        return round(fmean(run[name] for run in done), 4) if done else None

    return {
        "method": method,
        "lr": rate,
        "passed": f"{sum(run['verdict'] == 'pass' for run in runs)}/{len(runs)}",
        "failed": sorted({name for run in done for name in run["failed"]}),
        **{
            name: mean(name)
            for name in ("steps", "share", "loss", "never_trained_loss", "recall", "neighbours")
        },
        "runs": runs,
    }


if __name__ == "__main__":
    main()
