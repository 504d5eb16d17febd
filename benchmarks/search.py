"""Does the search pass the audit more often than the untouched default, and what does it cost?

    python benchmarks/search.py run --out build/auto      # resumes
    python benchmarks/search.py rates --out build/auto    # the response to the rate
    python benchmarks/search.py summary --out build/auto

Three sizes of `tiny`, three residents of the demo's fast town forgotten one at a time from models
of three seeds, each result audited (level quick) against three models that saw none of the three.
The search sees no never-trained model and half of the people nobody was taught; the audit has the
other half. A search that finds nothing counts as no pass.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import binomtest

import harness
from leavers import SIZES, World
from olvido.audits import ScoredModel, Status, audit
from olvido.errors import ModelDestroyed, NothingFits, OlvidoError
from olvido.methods import forget

LEAVERS, SEEDS, REFERENCES = 3, 3, 3
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "npo (default)": ("npo", {}),
    "graddiff (default)": ("graddiff", {}),
    "auto": ("auto", {}),
}
RATES = [1e-5 * 2**n for n in range(10)]


def cells(world: World, folder: Path, seeds: int, ways: list[str]) -> Iterator[dict[str, Any]]:
    """Ways on every data subject and seed."""
    data_subjects = world.town.residents[:LEAVERS]
    references = [
        ScoredModel(world.learned(10 + n, data_subjects), world.task) for n in range(REFERENCES)
    ]
    all_gone = world.ids(data_subjects)
    for seed in range(seeds):
        before = ScoredModel(world.learned(seed), world.task)
        for number, person in enumerate(data_subjects):
            for name in ways:
                method, options = WAYS[name]
                told = {"size": world.size, "way": name, "data_subject": number, "seed": seed}
                given = (world, before, references, person, all_gone, method, options, seed)

                def run(told: dict[str, Any] = told, given: Any = given) -> dict[str, Any]:
                    row = told | cell(*given)
                    return row | {"share": row["tokens"] / world.took(told["seed"])["tokens"]}

                file = folder / f"{name.split()[0]}-{number}-{seed}.json"
                harness.once(file, run, _shown)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "trials"}


def cell(
    world: World,
    before: ScoredModel,
    references: list[ScoredModel],
    person: Any,
    gone: frozenset[str],
    method: str,
    options: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """One forgetting and its audit."""
    split = world.leaving(person)
    destroyed, began = False, time.process_time()
    try:
        outcome = forget(
            before.model,
            forget=split.forget,
            retain=split.retain,
            holdout=world.calibrating,
            task=world.task,
            method=method,
            seed=seed,
            **options,
        )
    except ModelDestroyed as error:
        outcome, destroyed = error.outcome, True
    except NothingFits as error:
        trials = [t.to_dict() for t in error.trials]
        spent = sum(t.tokens for t in error.trials)
        seconds = time.process_time() - began
        told = {"verdict": "nothing found", "failed": [], "error": str(error)}
        return told | {"trials": trials, "tokens": spent, "seconds": seconds}
    except OlvidoError as error:
        return {"verdict": "error", "failed": [], "error": str(error), "trials": [], "tokens": 0.0}
    seconds = time.process_time() - began
    report = audit(
        outcome.model,
        forget=split.forget,
        retain=tuple(e for e in split.retain if e.id not in gone),
        neighbours=tuple(e for e in split.neighbours if e.id not in gone),
        general=split.general,
        holdout=world.attacked,
        original=before,
        reference=references,
        task=world.task,
    )
    loss = report.find("likelihood", "loss")
    return {
        "verdict": "destroyed" if destroyed else report.verdict.value,
        "failed": sorted({f.audit for f in report.findings if f.status is Status.FAIL}),
        "outside": sorted({f.audit for f in report.findings if f.votes and f.outside}),
        "tokens": outcome.cost.tokens,
        "seconds": seconds,
        "loss": loss.value,
        "never_trained_loss": loss.expected,
        "recall": report.find("recall", "exact match").value,
        "kept": report.find("retention", "exact match").value,
        "neighbours": report.find("neighbours", "exact match").value,
        "stopped": outcome.stopped,
        "trials": [t.to_dict() for t in outcome.trials],
    }


def rates(world: World, folder: Path) -> Iterator[dict[str, Any]]:
    """The first data subject and seed at every rate: what the proxies say, and whether it is
    monotone."""
    from olvido.learners import Trained
    from olvido.methods import METHODS
    from olvido.methods.proxies import Yardstick
    from olvido.methods.types import Split

    split = world.leaving(world.town.residents[0])
    trained = Trained.untraced(world.learned(0))
    aims = Split(split.forget, split.retain, world.calibrating)
    yardstick = Yardstick(trained.model, aims, world.task)
    for rate in RATES:

        def answered(rate: float = rate) -> dict[str, Any]:
            longer = min(max(1e-4 * 128 / SIZES[world.size][0] / rate, 1.0), 4)
            chosen = METHODS.make("npo", {"lr": rate, "epochs": math.ceil(30 * longer)})
            row: dict[str, Any] = {"size": world.size, "rate": rate}
            try:
                run = chosen.run(trained, yardstick.split, world.task, seed=0, watch=None)
            except OlvidoError as error:
                return row | {"side": "too much", "error": str(error)}
            proxies = yardstick.measure(run.model)
            side, distance = yardstick.judge(proxies)
            return row | {"side": side.value, "distance": distance, "proxies": proxies}

        harness.once(folder / f"rate-{rate:.2g}.json", answered)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Passes with their interval, and what they cost, by size and way."""
    found = []
    for size in (*SIZES, "all"):
        for way in WAYS:
            some = [r for r in rows if r["way"] == way and size in (r["size"], "all")]
            if not some:
                continue
            passed = sum(r["verdict"] == "pass" for r in some)
            inside = sum(r["verdict"] == "pass" and not r["outside"] for r in some)
            low, high = binomtest(passed, len(some)).proportion_ci(method="wilson")
            done = [r for r in some if "loss" in r]
            found.append(
                {
                    "size": size,
                    "way": way,
                    "n": len(some),
                    "passed": passed,
                    "interval": [low, high],
                    "every_point_inside": inside,
                    "verdicts": {v: sum(r["verdict"] == v for r in some) for v in
                                 sorted({r["verdict"] for r in some})},
                    "failed": {a: sum(a in r["failed"] for r in some) for a in
                               sorted({a for r in some for a in r["failed"]})},
                    "share": fmean(r["share"] for r in some),
                    "trials": fmean(max(1, len(r["trials"])) for r in some),
                    "off": fmean(abs(r["loss"] / r["never_trained_loss"] - 1) for r in done),
                    "kept": fmean(r["kept"] for r in done),
                    "neighbours": fmean(r["neighbours"] for r in done),
                }
            )  # fmt: skip
    return found


def main() -> None:
    """Run one part."""
    parser = harness.arguments(__doc__, folder=True)
    parser.add_argument("part", choices=["run", "rates", "summary"])
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--ways", default=",".join(WAYS))
    args = harness.parsed(parser)
    folder = args.out / "search"
    if args.part != "summary":
        for size in args.sizes.split(","):
            world, place = World(args.out, size), folder / args.part / size
            if args.part == "run":
                cells(world, place, args.seeds, args.ways.split(","))
            else:
                rates(world, place)
        return
    rows = harness.pieces(folder / "run", "*/*.json")
    responses = harness.pieces(folder / "rates", "*/*.json")
    table = summary(rows)
    for row in table:
        print(json.dumps(row))
    document = harness.header(summary=table, rates=responses, runs=rows)
    harness.finish(document, args, "search.json")


if __name__ == "__main__":
    main()
