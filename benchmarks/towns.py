"""Other towns than the one that everything was tuned on: false alarms, pretenders, the usual plan.

    python benchmarks/towns.py candidates --out build/towns      # models that never saw the data
    subject python benchmarks/towns.py fresh --out build/towns         # the same in towns not seen
    before python benchmarks/towns.py plan --out build/towns          # what requests do by
    themselves python benchmarks/towns.py first --out build/towns         # the empirical method,
    named or not python benchmarks/towns.py pretenders --out build/towns    # the line-up of
    lineup.py python benchmarks/towns.py tune --out build/towns          # settings of it, in other
    towns python benchmarks/towns.py summary --out build/towns

Each town has its own people, recipe, shape of model and never-trained models; every fifth is the
demo's fast one with another seed, the rest are villages. Towns to report are numbered from 1000,
those that nobody had seen when the audit last changed from 1100, towns to tune on from 2000. Every
audit is of level standard, against three references and the original, with the half of the
outsiders that no method saw. Each piece is written when it is done and not done again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from torch.nn import Module

import harness
from harness import share
from lineup import Pretender, line_up
from olvido import Outcome, Trained
from olvido.audits import Report, ScoredModel, audit
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.errors import ModelDestroyed, StateError, TrainingFailed
from olvido.learners import Recipe, train
from olvido.ledger.facts import Guarantee
from olvido.methods import Split, forget
from olvido.methods.types import priced
from olvido.requests.planner import EMPIRICAL, Route, choose, routes
from olvido.requests.types import ProbeSets
from zoo import Town, Zoo, town

REPORTED, FRESH, TUNED = 1000, 1100, 2000
CANDIDATES, PLANS, PRETENDERS, TUNINGS = 60, 20, 10, 20
REFERENCES = 3
SUSPECT = 4
"""Number of the never-trained model that is audited."""
PROJECTED: Mapping[str, Any] = {"project": True}
THERE: Mapping[str, Any] = {**PROJECTED, "epochs": 120, "retain_batch": 16}
SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "npo 30": ("npo", PROJECTED),
    "npo 120": ("npo", THERE),
    "samnpo 0.01": ("samnpo", THERE),
    "samnpo 0.02": ("samnpo", {**THERE, "radius": 0.02}),
    "samnpo 0.05": ("samnpo", {**THERE, "radius": 0.05}),
    "samnpo 0.10": ("samnpo", {**THERE, "radius": 0.1}),
    "samnpo 0.20": ("samnpo", {**THERE, "radius": 0.2}),
}
"""What might be tried first, on the towns to tune on: passes at the most, and radius."""


def place(number: int) -> Town:
    """The town of that number, with its recipe and the shape of its models."""
    if number % 5 == 0:
        return town(number, FAST, recipe=FAST_RECIPE)
    people = {"residents": 8 + number % 4 * 2, "outsiders": 12, "wordings": 3}
    recipe = Recipe(
        epochs=(12, 14, 16)[number % 3], batch_size=16, lr=(4e-3, 5e-3)[number // 2 % 2]
    )
    return town(number, people, recipe=recipe, width=(48, 64, 80)[number // 3 % 3], layers=2)


class Court:
    """A town's models, and what every audit in it is given.

    Args:
        number: of the town.
        folder: where models are kept.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self.town = place(number)
        self.zoo = Zoo(self.town, folder / f"town-{number}")
        self.probes = ProbeSets(self.town.outsiders, self.town.neighbours, self.town.general)

    @cached_property
    def references(self) -> list[ScoredModel]:
        """Models that never saw the data subject."""
        return [ScoredModel(self.zoo.never(n), self.town.task) for n in range(REFERENCES)]

    @cached_property
    def before(self) -> ScoredModel:
        """The model that learned everybody."""
        return ScoredModel(self.zoo.knowing(0), self.town.task)

    @cached_property
    def trained(self) -> Trained:
        """The same with its trace, from the same training done again."""
        made = self.town
        return train(
            made.blank(200), records=made.rows, task=made.task, recipe=made.recipe, seed=200
        )

    def examined(self, model: Module, level: str = "standard") -> Report:
        """A model's audit."""
        evidence = self.town.evidence() | {"holdout": self.probes.attacked}
        return audit(
            model, original=self.before, reference=self.references, level=level, **evidence
        )

    def forgotten(self, method: str, options: Mapping[str, Any]) -> Outcome:
        """What a method makes of the original.

        Raises:
            ModelDestroyed, StateError, TrainingFailed: it came to nothing.
        """
        return forget(
            self.trained,
            forget=self.town.forget,
            retain=self.town.retain,
            holdout=self.probes.calibrating,
            task=self.town.task,
            method=method,
            **options,
        )

    def attempt(self, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """One method, as a request tries it: audited, unless it destroyed the model."""
        row: dict[str, Any] = {"method": method, "options": dict(options)}
        try:
            outcome = self.forgotten(method, options)
        except (ModelDestroyed, StateError, TrainingFailed) as error:
            return row | {"verdict": "fail", "failed": [type(error).__name__]}
        exact = outcome.guarantee is Guarantee.EXACT
        report = self.examined(outcome.model, "quick" if exact else "standard")
        shares = {"share": outcome.cost.retraining, "stopped": outcome.stopped}
        return row | shares | {"guarantee": outcome.guarantee.value} | _told(report)


def _told(report: Report) -> dict[str, Any]:
    """A report without what is drawn of it."""
    failed = {
        f"{f.audit}: {f.metric}": [f.value, f.expected]
        for f in report.findings
        if f.votes and f.status.value == "fail"
    }
    return {
        "verdict": report.verdict.value,
        "failed": sorted({name.partition(":")[0] for name in failed}),
        "metrics": failed,
        "reasons": list(report.reasons),
        "seconds": report.seconds,
    }


def candidate(court: Court) -> dict[str, Any]:
    """The audit of a model that never saw the data subject."""
    return _told(court.examined(court.zoo.never(SUSPECT)))


def _routes(court: Court) -> tuple[Split, Sequence[Route]]:
    made = court.town
    split = Split(made.forget, made.retain, court.probes.calibrating)
    return split, routes(court.trained, split, made.task)


def planned(court: Court) -> dict[str, Any]:
    """What a request does where nobody chooses: its methods in turn, until an audit passes.

    The plan is that of a run without replay points whose references have to be trained, as they
    have for a person of whom nobody asked before.
    """
    split, found = _routes(court)
    log = court.trained.trace
    again = log.tokens_without({example.id for example in split.forget})
    choice = choose(found, evidence=priced(court.trained, split, REFERENCES * again))
    attempts: list[dict[str, Any]] = []
    for method, options in choice.order:
        attempts.append(court.attempt(method, options))
        if attempts[-1]["verdict"] == "pass":
            break
    return {"order": [name for name, _ in choice.order], "attempts": attempts}


def first(court: Court) -> dict[str, Any]:
    """What is tried first where never-trained models are there already, or no exact way applies."""
    route = next(route for route in _routes(court)[1] if route.method == EMPIRICAL)
    return court.attempt(route.method, route.options)


def tuning(out: Path) -> None:
    """Every setting of the empirical method in every town to tune on."""
    for number in sorted(range(TUNED, TUNED + TUNINGS), key=lambda n: (n % 5 == 0, n)):
        court = Court(number, out / "models")
        for name, setting in SETTINGS.items():

            def tried(
                name: str = name, setting: Any = setting, number: int = number, court: Court = court
            ) -> dict[str, Any]:
                return court.attempt(*setting) | {"town": number, "name": name}

            harness.once(out / "tune" / f"{number}-{name}.json".replace(" ", "_"), tried, _shown)


def _each(out: Path, part: str, numbers: range, find: Callable[[Court], dict[str, Any]]) -> None:
    # Fast towns take as long as five villages: they come last.
    for number in sorted(numbers, key=lambda n: (n % 5 == 0, n)):

        def found(number: int = number) -> dict[str, Any]:
            return find(Court(number, out / "models")) | {"town": number}

        harness.once(out / part / f"{number}.json", found, _shown)


def pretending(out: Path) -> None:
    """The audit of every pretender of some villages."""
    villages = [n for n in range(REPORTED, REPORTED + 2 * PRETENDERS) if n % 5][:PRETENDERS]
    for number in villages:
        court = Court(number, out / "models")
        for one in line_up(court.zoo):

            def examined(
                one: Pretender = one, number: int = number, court: Court = court
            ) -> dict[str, Any]:
                row = {"town": number, "name": one.name, "expected": list(one.reasons)}
                try:
                    model = one.make()
                except RuntimeError as error:  # what was to pretend does not: nothing to show
                    return row | {"verdict": "not made", "why": str(error)}
                return row | _told(court.examined(model))

            file = out / "pretenders" / f"{number}-{one.name}.json".replace(" ", "_")
            harness.once(file, examined, _shown)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {k: row[k] for k in ("town", "name", "verdict", "failed") if k in row}


def summary(out: Path) -> dict[str, Any]:
    """What is there so far."""

    def rows(part: str) -> list[dict[str, Any]]:
        return harness.pieces(out / part)

    found: dict[str, Any] = {}
    for part, where in (("candidates", ""), ("fresh", " in fresh towns")):
        for kind, some in _kinds(rows(part)).items():
            alarms = [row for row in some if row["verdict"] != "pass"]
            found[f"false alarms{where}, {kind}"] = share(len(alarms), len(some)) | {
                "alarms": [{k: row[k] for k in ("town", "metrics", "reasons")} for row in alarms]
            }
    plans = rows("plan")
    for kind, some in _kinds(plans).items():
        final = [row["attempts"][-1] for row in some]
        found[f"plan, {kind}"] = share(sum(a["verdict"] == "pass" for a in final), len(final)) | {
            "ended by": dict(Counter(a["method"] for a in final)),
            "tries": dict(Counter(len(row["attempts"]) for row in some)),
        }
    for kind, some in _kinds(rows("first")).items():
        found[f"first, {kind}"] = _tried(some)
    settings = rows("tune")
    for name in SETTINGS:
        found[f"tuning, {name}"] = _tried([row for row in settings if row["name"] == name])
    shown = [row for row in rows("pretenders") if row["verdict"] != "not made"]
    caught = [row for row in shown if row["verdict"] != "pass"]
    named = [row for row in caught if set(row["expected"]) & set(row["failed"])]
    found["pretenders caught"] = share(len(caught), len(shown)) | {
        "towns": sorted({row["town"] for row in shown}),
        "passed": [[row["town"], row["name"]] for row in shown if row["verdict"] == "pass"],
        "named": len(named),
        "not named": Counter(row["name"] for row in caught if row not in named),
        "not made": [
            [row["town"], row["name"]] for row in rows("pretenders") if row["verdict"] == "not made"
        ],
    }
    return found


def _tried(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many passed, why the others did not, and at what price."""
    shares = sorted(row["share"] for row in rows if row.get("share") is not None)
    stopped = [str(row.get("stopped", "")) for row in rows]
    return share(sum(row["verdict"] == "pass" for row in rows), len(rows)) | {
        "did not pass": [
            [row["town"], row["verdict"], row["failed"] or row.get("reasons", [])]
            for row in rows
            if row["verdict"] != "pass"
        ],
        "failed": dict(Counter(name for row in rows for name in row["failed"])),
        "arrived": sum(text.startswith("the records reached") for text in stopped),
        "shares of retraining": [shares[0], median(shares), shares[-1]] if shares else [],
    }


def _kinds(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {
        "all": rows,
        "fast towns": [row for row in rows if row["town"] % 5 == 0],
        "villages": [row for row in rows if row["town"] % 5],
    }


def main() -> None:
    """Run one part."""
    parser = harness.arguments(__doc__, folder=True)
    parts = {
        "candidates": (range(REPORTED, REPORTED + CANDIDATES), candidate),
        "fresh": (range(FRESH, FRESH + CANDIDATES), candidate),
        "plan": (range(REPORTED, REPORTED + PLANS), planned),
        "first": (range(REPORTED, REPORTED + PLANS), first),
    }
    parser.add_argument("part", choices=[*parts, "tune", "pretenders", "summary"])
    args = harness.parsed(parser)
    if args.part == "summary":
        found = summary(args.out)
        harness.finish(harness.header() | found, args, "towns.json")
        print(json.dumps(found, indent=1))
    elif args.part == "pretenders":
        pretending(args.out)
    elif args.part == "tune":
        tuning(args.out)
    else:
        numbers, find = parts[args.part]
        _each(args.out, args.part, numbers, find)


if __name__ == "__main__":
    main()
