"""Every empirical method on equal terms: what passes the audits, at what share of retraining.

    python benchmarks/methods.py cells --zoo build/zoo --out build/methods      # resumes
    python benchmarks/methods.py sizes --zoo build/zoo --out build/methods      # untouched defaults
    python benchmarks/methods.py table --zoo build/zoo --out build/methods

The town is that of `audit_of_audits.py`: 40 residents of whom one leaves. Each setting forgets in
five models that learned everybody with seeds of their own; the references never saw the data
subject. One half of the outsiders says where to stop, the other half is for the audit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import harness
from audit_of_audits import REFERENCES, Zoo, town
from olvido.audits import ScoredModel, audit
from olvido.demo.story import FAST_RECIPE
from olvido.errors import ModelDestroyed, OlvidoError
from olvido.learners import Trained, train
from olvido.methods import forget
from olvido.models.tiny import tiny_model

SEEDS = 5
TERMS = {"lr": 8e-4, "retain_batch": 20}
"""The same for all: few steps, each with few retained records, so that in so small a town a
forgetting can cost less than 5% of retraining."""
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    name: (name, TERMS)
    for name in (
        "npo", "samnpo", "repselect", "graddiff", "simnpo", "scrub", "undial", "pdu", "altpo",
        "bad_teacher", "rmu", "random_label", "idkdpo", "idknll",
    )
}  # fmt: skip
SETTINGS |= {
    "ascent": ("ascent", {"lr": 8e-4}),
    "task_vector": ("task_vector", {}),
    "npo, adapters": ("npo", {**TERMS, "lora_rank": 8, "lr": 1e-2}),
    "graddiff, WGA": ("graddiff", {**TERMS, "saturation": 1.0}),
    "graddiff, SatImp": ("graddiff", {**TERMS, "saturation": 5.0, "importance": 1.0}),
    "npo, kl": ("npo", {**TERMS, "regulariser": "kl"}),
    "npo, ewc": ("npo", {**TERMS, "regulariser": "ewc", "retain_weight": 500.0}),
    "npo, replay": ("npo", {**TERMS, "regulariser": "replay"}),
    "npo, projected": ("npo", {**TERMS, "project": True}),
}
SETTINGS |= {
    f"{name}, searched": ("auto", {"methods": name, "retain_batch": 20})
    for name in ("simnpo", "undial", "rmu", "idkdpo")
}
"""Those that use up all their passes at the common rate, each at the rate that a search finds."""
DEFAULTS = [name for name, (method, _) in SETTINGS.items() if name == method]
"""Methods that are tried untouched on models of other sizes."""
STANDARD = (
    "npo", "samnpo", "repselect", "npo, adapters", "graddiff", "altpo", "simnpo", "npo, projected",
    "npo, kl",
)  # fmt: skip
"""Settings that are put to the whole standard audit."""
SIZES = {
    "width 64, 2 layers": (64, 2),
    "width 128, 4 layers": (128, 4),
    "width 192, 4 layers": (192, 4),
}


def main() -> None:
    """Do what is missing, or print the tables."""
    parser = harness.arguments(__doc__, folder=True)
    parser.add_argument("what", choices=["cells", "sizes", "table"])
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--settings", default="", help="with semicolons; all where left out")
    args = harness.parsed(parser)
    if args.what == "table":
        harness.show(*tables(args.out))
        return
    zoo = Zoo(town(), args.zoo)
    chosen = args.settings.split(";") if args.settings else list(SETTINGS)
    if args.what == "cells":
        cells(zoo, args.out, chosen)
    else:
        sizes(zoo, args.out)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "reasons"}


def cells(zoo: Zoo, out: Path, chosen: list[str]) -> None:
    """One row for each setting and seed, written when it is done."""
    references = [ScoredModel(zoo.never(n), zoo.town.task) for n in range(REFERENCES)]
    befores = [ScoredModel(zoo.knowing(seed), zoo.town.task) for seed in range(SEEDS)]
    retraining = FAST_RECIPE.epochs * sum(map(zoo.town.task.width, zoo.town.retain))
    for name in chosen:
        for seed in range(SEEDS):
            file = out / "cells" / f"{name}-{seed}.json".replace(" ", "")
            make = partial(_cell, zoo, name, seed, befores[seed], references, retraining)
            harness.once(file, make, _shown)


def _cell(
    zoo: Zoo,
    name: str,
    seed: int,
    before: ScoredModel,
    references: list[ScoredModel],
    retraining: float,
) -> dict[str, Any]:
    method, options = SETTINGS[name]
    made = zoo.town
    row: dict[str, Any] = {"setting": name, "method": method, "options": options, "seed": seed}
    began = time.process_time()
    try:
        outcome = forget(
            before.model,
            forget=made.forget,
            retain=made.retain,
            holdout=made.outsiders[::2],
            task=made.task,
            method=method,
            seed=seed,
            **options,
        )
    except OlvidoError as error:
        outcome = error.outcome if isinstance(error, ModelDestroyed) else None
        row |= {"error": type(error).__name__, "says": str(error)}
    row["cpu_seconds"] = time.process_time() - began
    if outcome is None:
        return row
    row |= {
        "steps": len(outcome.history),
        "share": outcome.cost.tokens / retraining,
        "stopped": outcome.stopped,
        "forget_loss": outcome.forget_loss[1],
        "retain_loss": outcome.retain_loss[1],
    }
    levels = ("quick", "standard") if name in STANDARD else ("quick",)
    for level in () if "error" in row else levels:
        report = audit(
            outcome.model,
            original=before,
            reference=references,
            level=level,
            **{**made.evidence(), "holdout": made.outsiders[1::2]},
        )
        row[level] = {
            "verdict": report.verdict.value,
            "failed": sorted({f.audit for f in report.findings if f.status.value == "fail"}),
            "reasons": list(report.reasons),
        }
        likelihood = report.find("likelihood", "loss")
        row["loss"], row["never_trained_loss"] = likelihood.value, likelihood.expected
        row["neighbours"] = report.find("neighbours", "exact match").value
        row |= {
            f"{f.audit}: {f.metric}": f.excess
            for f in report.findings
            if f.audit in ("quantization", "relearning")
        }
    return row


def sizes(zoo: Zoo, out: Path) -> None:
    """Untouched defaults on models of three sizes: what became of them, and what was said."""
    made = zoo.town
    for size, (width, layers) in SIZES.items():
        files = {name: out / "sizes" / f"{name}-{width}-{layers}.json" for name in DEFAULTS}
        if all(file.exists() for file in files.values()):
            continue
        blank = tiny_model(len(made.task.tokenizer), seed=0, width=width, layers=layers)
        trained = train(blank, records=made.rows, task=made.task, recipe=FAST_RECIPE)
        for name, file in files.items():
            harness.once(file, partial(_sized, zoo, trained, size, name), _shown)


def _sized(zoo: Zoo, trained: Trained, size: str, name: str) -> dict[str, Any]:
    made = zoo.town
    row: dict[str, Any] = {"size": size, "method": name}
    try:
        outcome = forget(
            trained,
            forget=made.forget,
            retain=made.retain,
            holdout=made.outsiders[::2],
            task=made.task,
            method=name,
        )
    except OlvidoError as error:
        return row | {"error": type(error).__name__, "says": str(error)}
    return row | {
        "forget_loss": outcome.forget_loss,
        "retain_loss": outcome.retain_loss,
        "says": outcome.stopped,
    }


def tables(out: Path) -> Iterator[str]:
    """Everything done so far, as Markdown, and as one document beside it."""
    rows, measured = harness.pieces(out / "cells"), harness.pieces(out / "sizes")
    harness.write(harness.header(cells=rows, sizes=measured), out / "methods.json")
    columns = ["setting", "quick audit", "standard audit", "share of retraining", "steps", "loss"]
    columns += ["kept loss", "neighbours", "what failed, and how often"]
    by = {name: [row for row in rows if row["setting"] == name] for name in SETTINGS}
    yield harness.table(columns, [_line(name, mine) for name, mine in by.items() if mine])
    lines = [
        [
            *(row["size"], f"`{row['method']}`"),
            *(
                "{:.2f} -> {:.2f}".format(*row[k]) if k in row else row["error"]
                for k in ("forget_loss", "retain_loss")
            ),
            row["says"],
        ]
        for row in measured
    ]
    columns = ["size", "method", "loss on the forgotten", "on the kept", "what was said"]
    yield harness.table(columns, lines)


def _line(name: str, rows: list[dict[str, Any]]) -> list[str]:
    def passed(level: str) -> str:
        seen = [row for row in rows if level in row or "error" in row]
        if not any(level in row for row in rows) and level == "standard":
            return "not asked"
        won = sum(row.get(level, {}).get("verdict") == "pass" for row in seen)
        return harness.within(harness.share(won, len(seen)))

    def mean(key: str, form: str) -> str:
        values = [row[key] for row in rows if row.get(key) is not None]
        return format(fmean(values), form) if values else ""

    failed: dict[str, int] = {}
    for row in rows:
        found = {a for level in ("quick", "standard") for a in row.get(level, {}).get("failed", [])}
        for audit_name in found | ({row["error"]} if "error" in row else set()):
            failed[audit_name] = failed.get(audit_name, 0) + 1
    why = ", ".join(
        f"{n} {k}" for n, k in sorted(failed.items(), key=lambda item: (-item[1], item[0]))
    )
    return [
        *(name, passed("quick"), passed("standard"), mean("share", ".1%"), mean("steps", ".1f")),
        *(mean("loss", ".2f"), mean("retain_loss", ".3f"), mean("neighbours", ".3f"), why),
    ]


if __name__ == "__main__":
    main()
