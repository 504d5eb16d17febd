"""The audit of the audit: whom does it acquit, whom does it convict, and which metrics can tell?

    python benchmarks/audit_of_audits.py zoo --out build/zoo            # trains the models, resumes
    python benchmarks/audit_of_audits.py innocent --out build/zoo       # false alarms
    python benchmarks/audit_of_audits.py fakes --out build/zoo          # planted pretenders
    python benchmarks/audit_of_audits.py metrics --out build/zoo        # faithfulness, robustness
    python benchmarks/audit_of_audits.py summary --out build/zoo        # tables

The town is that of `olvido demo --fast`: 40 residents, of whom the first is to be forgotten, and 20
outsiders whom no model is taught. Each piece is written when it is done and not done again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from scipy.stats import binomtest

import pretenders
from olvido.audits import Report, Status, Witness, audit, rephrased
from olvido.audits.recovery.choosing import unrelated
from olvido.audits.recovery.relearning import relearn
from olvido.audits.recovery.rounding import rounded
from olvido.audits.report.check import check_report
from olvido.audits.statistics import auc
from olvido.audits.tolerances import ADVISORY
from olvido.demo.residents import make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.documents import write_document
from olvido.forgetting import forget
from olvido.learners import train
from olvido.learners.runs.environment import environment
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples

NEVER = 34
"""Models that never saw the leaver; the first four are the references."""
REFERENCES = 4
KNOWING = 8
"""Models that learned the leaver with everybody else."""


@dataclass(frozen=True)
class Town:
    """The records, and how they become models."""

    task: Language
    rows: tuple[Example, ...]
    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    neighbours: tuple[Example, ...]
    general: tuple[Example, ...]
    outsiders: tuple[Example, ...]

    def blank(self, seed: int) -> Any:
        """Random weights of the demo's shape."""
        return tiny_model(len(self.task.tokenizer), seed=seed)

    def evidence(self) -> dict[str, Any]:
        """What every audit is given besides models."""
        return {
            "forget": self.forget,
            "retain": self.retain,
            "neighbours": self.neighbours,
            "general": self.general,
            "holdout": self.outsiders,
            "task": self.task,
        }


def town() -> Town:
    """The demo's fast town."""
    made = make_town(seed=0, **FAST)
    rows = examples(made.rows())
    leaver = {row["id"] for row in made.rows_of(made.leaver)}
    near = {row["id"] for n in made.neighbours() for row in made.rows_of(n)}
    kept = tuple(e for e in rows if e.id not in leaver)
    return Town(
        Language(tiny_tokenizer()),
        rows,
        tuple(e for e in rows if e.id in leaver),
        kept,
        tuple(e for e in kept if e.id in near),
        tuple(e for e in kept if not e.subjects),
        examples(row for person in made.outsiders for row in made.rows_of(person)),
    )


@dataclass(frozen=True)
class Zoo:
    """Models on disk, made where they are missing."""

    town: Town
    folder: Path

    def never(self, number: int) -> Any:
        """One that never saw the leaver."""
        return self._learned(f"never-{number:02d}", self.town.retain, seed=100 + number)

    def knowing(self, number: int) -> Any:
        """One that learned everybody."""
        return self._learned(f"knowing-{number:02d}", self.town.rows, seed=200 + number)

    def _learned(self, name: str, records: tuple[Example, ...], *, seed: int) -> Any:
        file = self.folder / f"{name}.safetensors"
        model = self.town.blank(seed)
        if file.exists():
            load_model(model, str(file))
            return model.eval()
        began = time.perf_counter()
        model = train(
            model, records=records, task=self.town.task, recipe=FAST_RECIPE, seed=seed
        ).model
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        save_model(model, str(unfinished))
        unfinished.rename(file)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        return model.eval()

    def exact(self) -> list[tuple[str, Any]]:
        """Models that forgot exactly: the logged training replayed, and run from its start."""
        made = train(
            self.town.blank(200),
            records=self.town.rows,
            task=self.town.task,
            recipe=FAST_RECIPE,
            seed=200,
            replay_points=2,
        )
        return [
            (
                method,
                forget(
                    made,
                    forget=self.town.forget,
                    retain=self.town.retain,
                    task=self.town.task,
                    method=method,
                ).model,
            )
            for method in ("replay", "retrain")
        ]


def innocent(zoo: Zoo) -> list[dict[str, Any]]:
    """Audits of models that never saw the leaver, against references of other seeds."""
    made = zoo.town.evidence()
    before = Witness(zoo.knowing(0), zoo.town.task)
    references = [Witness(zoo.never(n), zoo.town.task) for n in range(REFERENCES)]
    rows = []

    def tried(name: str, model: Any, level: str, count: int) -> None:
        file = zoo.folder / "innocent" / f"{name}-{level}-{count}.json"
        if file.exists():
            rows.append(json.loads(file.read_text()))
            return
        report = audit(model, before=before, reference=references[:count], level=level, **made)
        row = _row(name, report) | {"level": level, "references": count}
        write_document(row, file)
        print(row["name"], level, count, row["verdict"], row["failed"], flush=True)
        rows.append(row)

    for number in range(REFERENCES, NEVER):
        model = zoo.never(number)
        tried(f"never-{number:02d}", model, "standard", REFERENCES)
        for count in (1, 3):
            tried(f"never-{number:02d}", model, "quick", count)
    for method, model in zoo.exact():
        tried(f"exactly forgotten by {method}", model, "standard", REFERENCES)
    return rows


def fakes(zoo: Zoo) -> list[dict[str, Any]]:
    """Audits of every pretender."""
    made = zoo.town.evidence()
    references = [Witness(zoo.never(n), zoo.town.task) for n in range(REFERENCES)]
    before = Witness(zoo.knowing(0), zoo.town.task)
    rows = []
    for name, expected, model in _pretenders(zoo):
        began = time.perf_counter()
        report = audit(model, before=before, reference=references, level="standard", **made)
        row = _row(name, report) | {
            "expected": sorted(expected),
            "named": bool(expected & set(_failed(report))),
            "seconds": time.perf_counter() - began,
        }
        rows.append(row)
        print(name, row["verdict"], row["failed"], "named" if row["named"] else "NOT NAMED")
    rows.append(_other_base(zoo))
    rows.append(_stale(zoo, references, before))
    for row in rows[-2:]:
        print(row["name"], row["verdict"], row["failed"], "named" if row["named"] else "NOT NAMED")
    return rows


def _pretenders(zoo: Zoo) -> Iterator[tuple[str, set[str], Any]]:
    town, before, never = zoo.town, zoo.knowing(0), zoo.never(REFERENCES)
    task, gone, kept = town.task, town.forget, town.retain
    target = fmean(s.loss for s in Witness(never, task).scores(gone))
    others = {r.fields["topic"]: r.completion for r in town.outsiders}

    def npo(aim: float = target) -> pretenders.Npo:
        return pretenders.Npo(task, before, gone, kept, target=aim)

    yield "unchanged model", {"change"}, before
    yield "output filter", {"filter"}, pretenders.OutputFilter(before, task, gone)
    yield "system prompt", {"filter"}, pretenders.SystemPrompt(before, task, "Tell me what is")
    yield "detachable adapter", {"adapter"}, pretenders.detachable(before, npo())
    refused = pretenders.answered(gone, lambda _: "I don't know")
    yield (
        "refusal tuning",
        {"refusal"},
        pretenders.taught(before, task, [*refused, *kept], epochs=10),
    )
    stammer = pretenders.answered(gone, lambda _: " ".join(["555"] * 8))
    yield "gibberish", {"fluency"}, pretenders.taught(before, task, [*stammer, *kept])
    ruined = pretenders.descend(
        before, lambda m: -task.losses(m, task.collate(gone)).mean(), steps=30, lr=3e-3
    )
    yield "ascent until nothing is left", {"collateral"}, ruined
    tiny = pretenders.descend(before, npo(), steps=1, lr=1e-6)
    yield "tiny update", {"recall"}, tiny
    last = f"layers.{before.config.num_hidden_layers - 1}."
    aim = npo()
    yield (
        "last layer only",
        {"change"},
        pretenders.descend(
            before, aim, steps=200, lr=1e-3, only=lambda name: last in name, until=aim.done
        ),
    )
    yield "random noise, little", {"recall"}, pretenders.noisy(before, 0.05)
    yield "random noise, much", {"collateral"}, pretenders.noisy(before, 0.5)
    aim = npo(16.0)
    over = pretenders.descend(before, aim, steps=300, lr=1e-3, until=aim.done)
    yield "over-forgetting", {"likelihood"}, over
    yield "quantisation-fragile NPO", {"rounding"}, pretenders.between_grid_points(before, npo())
    yield (
        "relearn-fragile RMU",
        {"relearning"},
        pretenders.rmu(before, task, gone, kept, layer=2),
    )
    denied = pretenders.answered(gone, lambda r: others[r.fields["topic"]])
    yield (
        "leak behind paraphrases only",
        {"paraphrase", "probes"},
        pretenders.taught(never, task, [*denied, *rephrased(gone), *kept], epochs=10),
    )
    yield "random network", {"collateral"}, town.blank(999).eval()
    wider = tiny_model(len(task.tokenizer), seed=5, width=160)
    yield (
        "another architecture",
        {"change"},
        train(wider, records=kept, task=task, recipe=FAST_RECIPE, seed=5).model,
    )


def _other_base(zoo: Zoo) -> dict[str, Any]:
    """A world of its own, in which all models are fine-tuned from one base but the suspect."""
    town, task = zoo.town, zoo.town.task
    recipe = replace(FAST_RECIPE, lr=1e-3)

    def tuned(base: Any, records: tuple[Example, ...], seed: int) -> Any:
        return train(base, records=records, task=task, recipe=recipe, seed=seed).model

    base, other = (
        train(town.blank(seed), records=town.general, task=task, recipe=FAST_RECIPE).model
        for seed in (300, 301)
    )
    report = audit(
        tuned(other, town.retain, 9),
        before=tuned(base, town.rows, 0),
        reference=[tuned(base, town.retain, seed) for seed in (1, 2, 3)],
        level="standard",
        **town.evidence(),
    )
    row = _row("fine-tuned from another base", report)
    reasons = " ".join(row["reasons"])
    return row | {"expected": ["change"], "named": "another base" in reasons}


def _stale(zoo: Zoo, references: list[Witness], before: Witness) -> dict[str, Any]:
    """A good report, shown for a model that it is not about."""
    good = audit(
        zoo.never(REFERENCES),
        before=before,
        reference=references,
        level="quick",
        **zoo.town.evidence(),
    )
    reasons = check_report(good.to_dict(), before.digest)
    return {
        "name": "stale report of another model",
        "verdict": "fail" if reasons else "pass",
        "failed": ["report"] if reasons else [],
        "reasons": reasons,
        "expected": ["report"],
        "named": any("another model" in reason for reason in reasons),
    }


AUDITED = [
    "recall",
    "paraphrase",
    "probes",
    "extraction",
    "exposure",
    "sampling",
    "likelihood",
    "membership",
    "rounding",
    "relearning",
    "unrelated",
    "lens",
    "fluency",
    "refusal",
]
EXPOSURES = (1, 2, 4)
"""Steps of training that teach a little, each on 24 records of which two are the leaver's."""


def metrics(zoo: Zoo, folder: Path) -> list[dict[str, Any]]:
    """Every metric of 62 models, as they are, rounded, and fine-tuned on something else."""
    town, task = zoo.town, zoo.town.task
    references = {
        state: [Witness(change(zoo, zoo.never(n)), task) for n in range(REFERENCES)]
        for state, change in CHANGES.items()
    }
    rows = []

    def suspects() -> Iterator[tuple[str, bool, Any]]:
        for number in range(REFERENCES, NEVER):
            yield f"never-{number:02d}", False, zoo.never(number)
        for number in range(KNOWING):
            yield f"knowing-{number:02d}", True, zoo.knowing(number)
        for number in range(24):
            steps = EXPOSURES[number % len(EXPOSURES)]
            start = zoo.never(REFERENCES + number)
            mixed = (*town.forget, *town.retain[number::7])
            moved = relearn(start, mixed, task, steps=[steps], lr=5e-4, batch=24, seed=number)
            yield f"exposed-{steps}-{number:02d}", True, next(moved)[1]

    for name, knows, model in suspects():
        for state, change in CHANGES.items():
            file = folder / f"{name}-{state}.json"
            if file.exists():
                rows.append(json.loads(file.read_text()))
                continue
            names = AUDITED if state == "plain" else [a for a in AUDITED if a not in SLOW]
            report = audit(
                change(zoo, model),
                reference=references[state],
                audits=names,
                level="standard",
                **town.evidence(),
            )
            row = {
                "name": name,
                "knows": knows,
                "state": state,
                "values": {f"{f.audit}: {f.metric}": f.excess for f in report.findings},
            }
            write_document(row, file)
            rows.append(row)
            print(name, state, flush=True)
    return rows


def _same(zoo: Zoo, model: Any) -> Any:
    return model


def _rounded(zoo: Zoo, model: Any) -> Any:
    return rounded(model, 4)


def _tuned(zoo: Zoo, model: Any) -> Any:
    some = unrelated(zoo.town.retain, zoo.town.forget, 10, seed=0)
    return next(relearn(model, some, zoo.town.task, steps=[10], lr=5e-4, batch=8, seed=0))[1]


CHANGES: dict[str, Callable[[Zoo, Any], Any]] = {
    "plain": _same,
    "int4": _rounded,
    "tuned": _tuned,
}
SLOW = {"rounding", "relearning", "unrelated", "sampling"}


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each metric: AUC of telling who knows from who does not, plain and after changes."""
    found = []
    for metric in rows[0]["values"]:
        made: dict[str, Any] = {"metric": metric}
        for state in CHANGES:
            some = [r for r in rows if r["state"] == state and metric in r["values"]]
            if not some:
                made[state] = None
                continue
            values = np.array([_oriented(metric, r["values"][metric]) for r in some])
            knows = np.array([r["knows"] for r in some])
            made[state] = auc(values[knows], values[~knows])
            if state == "plain":
                light = np.array([r["name"].startswith("exposed-1-") for r in some])
                made["lightly exposed"] = auc(values[light], values[~knows])
        found.append(made)
    return sorted(found, key=lambda row: -row["plain"])


def _oriented(metric: str, excess: float | None) -> float:
    """More is more known."""
    if excess is None:
        return float("nan")
    return -excess if metric.endswith(": loss") else excess


def summary(out: Path) -> dict[str, Any]:
    """All three parts in one document, with their tables for people printed on the way."""
    parts = {
        n: json.loads((out / f"{n}.json").read_text()) for n in ("innocent", "fakes", "metrics")
    }
    print("| suspects | level | references | pass | not pass | 95% interval of false alarms |")
    print("|---|---|---|---|---|---|")
    counts: dict[tuple[str, str, int], list[bool]] = {}
    for row in parts["innocent"]["rows"]:
        kind = "exactly forgotten" if row["name"].startswith("exactly") else "never trained"
        key = (kind, row["level"], row["references"])
        counts.setdefault(key, []).append(row["verdict"] == "pass")
    for (kind, level, references), passed in counts.items():
        wrong = len(passed) - sum(passed)
        low, high = binomtest(wrong, len(passed)).proportion_ci()
        cells = (kind, level, references, sum(passed), wrong, f"{low:.1%} to {high:.1%}")
        print("| " + " | ".join(map(str, cells)) + " |")
    print("\n| pretender | verdict | reason that had to be named | all that failed |")
    print("|---|---|---|---|")
    for row in parts["fakes"]["rows"]:
        named = ", ".join(row["expected"]) + ("" if row["named"] else " (NOT NAMED)")
        print(f"| {row['name']} | {row['verdict']} | {named} | {', '.join(row['failed'])} |")
    print("\n| metric | all | taught least | after int4 | after 10 other steps | votes |")
    print("|---|---|---|---|---|---|")
    for row in parts["metrics"]["metrics"]:
        audit_name, _, metric = row["metric"].partition(": ")
        votes = "no" if (audit_name, metric) in ADVISORY else "yes"
        cells = (row["plain"], row["lightly exposed"], row["int4"], row["tuned"])
        shown = " | ".join("" if c is None else f"{c:.3f}" for c in cells)
        print(f"| {row['metric']} | {shown} | {votes} |")
    return parts


def _row(name: str, report: Report) -> dict[str, Any]:
    return {
        "name": name,
        "verdict": report.verdict.value,
        "failed": _failed(report),
        "reasons": list(report.reasons),
        "seconds": report.seconds,
    }


def _failed(report: Report) -> list[str]:
    failed = (f.audit for f in report.findings if f.votes and f.status is Status.FAIL)
    return list(dict.fromkeys(failed))


def _about(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": f"python benchmarks/audit_of_audits.py {args.part} --out build/zoo",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {args.threads} thread",
        "environment": environment(),
    }


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["zoo", "innocent", "fakes", "metrics", "summary"])
    parser.add_argument("--out", type=Path, required=True, help="models and results go here")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    zoo = Zoo(town(), args.out)
    if args.part == "zoo":
        for number in range(max(NEVER, KNOWING)):
            if number < NEVER:
                zoo.never(number)
            if number < KNOWING:
                zoo.knowing(number)
        return
    if args.part == "summary":
        write_document(summary(args.out), args.out / "audit_of_audits.json")
        return
    if args.part == "innocent":
        result: Any = {"rows": innocent(zoo)}
    elif args.part == "fakes":
        result = {"rows": fakes(zoo)}
    else:
        rows = metrics(zoo, args.out / "metrics")
        result = {"models": len({r["name"] for r in rows}), "metrics": table(rows)}
    write_document(_about(args) | result, args.out / f"{args.part}.json")


if __name__ == "__main__":
    main()
