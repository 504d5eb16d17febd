"""The demo's story: train on a town, answer one resident's request to be forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from olvido.audits import rephrased
from olvido.audits.scoring import ScoredModel
from olvido.data.importing import import_rows
from olvido.demo.residents import Town, make_town
from olvido.errors import InputError, require_count, require_seed
from olvido.files import make_folder, write, write_document
from olvido.learners import RECIPES, Recipe, Watcher
from olvido.ledger.facts import Documentation, SourceClass
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.reporting.words import duration
from olvido.requests import ProbeSets, RequestOutcome, locate, plan, receive, run
from olvido.schemas.options import RunOptions
from olvido.settings import FILE, Settings, template
from olvido.tasks import Example, examples
from olvido.training.environment import environment
from olvido.workspace import LedgerModel, Workspace

Stage = Callable[[str], Watcher | None]

FULL = {"residents": 100, "outsiders": 30}
FAST = {"residents": 40, "outsiders": 20}
FAST_RECIPE = Recipe(epochs=8, batch_size=24, lr=2e-3, weight_decay=0.1)


@dataclass(frozen=True)
class Story:
    """The result of the demo, as plain values, and its files.

    Attributes:
        document: all measurements.
        folder: the demo's workspace.
        report: the HTML page.
    """

    document: dict[str, Any]
    folder: Path
    report: Path


def tell(
    folder: Path,
    *,
    seed: int = 0,
    fast: bool = False,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    references: int = 3,
    stage: Stage = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Story:
    """Run the demo in a new workspace and write its report.

    Args:
        folder: a new or empty folder.
        seed: seed of the town, the training and the forgetting.
        fast: a smaller town.
        method, options: the first method to try; None: the planner's choice.
        references: never-trained models to audit against.
        stage: called with each stage's name; returns a progress callback.
        say: called with each line of results.

    Raises:
        InputError: the folder is not empty.
        MissingNeed, UnknownName: as for `olvido.forget`.
    """
    from olvido.demo.report import write_report

    require_seed(seed)
    require_count("references", references, most=1_000)
    began = time.perf_counter()
    town = make_town(seed=seed, **(FAST if fast else FULL))
    recipe = FAST_RECIPE if fast else RECIPES["tiny"]
    with _workspace(folder) as workspace:
        stage("Adding the records")
        datasets = _ingest(workspace, town)
        data_subject = town.data_subject
        say(
            f"{len(town.residents)} residents and the city: "
            f"{sum(d['rows'] for d in datasets)} records. None of these people exists."
        )
        model = workspace.learn(
            ["residents", "city"],
            model="tiny",
            recipe=recipe,
            seed=seed,
            watch=stage("Training the model from scratch"),
        )
        workspace.serve(model.id)
        before = workspace.load(model.id)
        asked = _questions(town)
        say(f"What the model knows of {data_subject.name}:")
        for shown in _interview(before, asked[:5]):
            say(f"  {shown['question']}  ->  {shown['answer']}")
        request = receive(workspace, data_subject.name)
        say(f"{data_subject.name} asks to be forgotten: request {request.id}.")
        lineage = locate(workspace, request.id)
        say(
            f"The ledger finds {len(lineage.records)} records in "
            f"{', '.join(d.name for d in lineage.datasets)}, held by model "
            f"{', '.join(m.id for m in lineage.holding())}."
        )
        probes = _probes(workspace, town)
        # The plan of the actual run: never-trained models are made in any case.
        # A tour of minutes: the audit's statements are those of the quick level.
        how = RunOptions(
            method=method,
            options=dict(options or {}),
            references=references,
            level="quick",
            seed=seed,
        )
        routes, choice = plan(workspace, request.id, how=how, probes=probes)
        for route in (route for route in routes if not route.refusal):
            seconds = route.cost.seconds if route.cost else None
            price = f"about {duration(seconds)} at the most"
            say(f"  {route.method}: {route.guarantee}, {price}. {route.summary}")
        say(f"Chosen: {choice.because}.")
        done = run(workspace, request.id, how=how, probes=probes, stage=stage)
        for number, never in enumerate(done.references, 1):
            workspace.store.set_alias(f"never-{number}", never.fact.id)
        stage("Writing the report")
        _export(folder / "files", town)
        document = _document(town, done, before, asked, time.perf_counter() - began)
        document["seed"], document["fast"] = seed, fast
        path = folder / "report.html"
        document["report"] = str(path)
        write_document(document, folder / "demo.json")
        write_report(document, path)
    return Story(document, folder, path)


def _workspace(folder: Path) -> Workspace:
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name a new folder with --out")
    make_folder(folder)
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    write(folder / FILE, template())
    return Workspace(settings)


def _ingest(workspace: Workspace, town: Town) -> list[dict[str, Any]]:
    rows = town.rows()
    sets = {
        "residents": [row for row in rows if "subject" in row],
        "city": [row for row in rows if "subject" not in row],
        "outsiders": [row for person in town.outsiders for row in town.rows_of(person)],
    }
    about = Documentation(
        description="Fictitious residents of Barcelona and facts about the city",
        creator="Olvido",
        licence="CC0-1.0",
        source_class=SourceClass.SYNTHETIC,
        language="en",
        intended_use="demonstration and tests",
    )
    return [
        {"name": name, "rows": added.rows}
        for name, chosen in sets.items()
        for added in [
            import_rows(
                workspace.store,
                workspace.settings.data,
                chosen,
                name=name,
                documentation=about,
            )
        ]
    ]


def _export(folder: Path, town: Town) -> None:
    """Write the records as plain files, to try the other commands with."""
    rows = town.rows()
    name = town.data_subject.name
    near = {person.name for person in town.neighbours()}
    files = {
        "forget": [row for row in rows if row.get("subject") == name],
        "retain": [row for row in rows if row.get("subject") != name],
        "neighbours": [row for row in rows if row.get("subject") in near],
        "general": [row for row in rows if "subject" not in row],
        "holdout": [row for person in town.outsiders for row in town.rows_of(person)],
    }
    for file, chosen in files.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
        write(folder / f"{file}.jsonl", "".join(lines))


def _probes(workspace: Workspace, town: Town) -> ProbeSets:
    neighbours = {workspace.store.key.subject(r.name) for r in town.neighbours()}
    residents = workspace.rows(workspace.store.dataset("residents"))
    return ProbeSets(
        holdout=tuple(workspace.rows(workspace.store.dataset("outsiders"))),
        neighbours=tuple(
            e for e in residents if {str(n) for n in neighbours} & set(e.fields["subjects"])
        ),
        general=tuple(workspace.rows(workspace.store.dataset("city"))),
    )


def _questions(town: Town) -> tuple[Example, ...]:
    """One trained and one rephrased question for each fact of the data subject."""
    rows = examples(town.rows_of(town.data_subject))
    trained = {e.fields["topic"]: e for e in reversed(rows)}
    turned = {e.fields["topic"]: e for e in reversed(rephrased(rows))}
    return (*trained.values(), *turned.values())


def _interview(loaded: LedgerModel, asked: Sequence[Example]) -> list[dict[str, str]]:
    answers = ScoredModel(loaded.trained.model, loaded.task).answers(asked)
    return [
        {"question": e.prompt, "truth": e.completion, "answer": answer}
        for e, answer in zip(asked, answers, strict=True)
    ]


def _document(
    town: Town, done: RequestOutcome, before: LedgerModel, asked: Sequence[Example], seconds: float
) -> dict[str, Any]:
    first = done.attempts[0]
    log = before.trained.trace
    never = done.references[0]
    people = {
        "before": before.trained.model,
        "after": first.outcome.model if first.outcome else None,
        "never_trained": never.scored.source,
    }
    scored_models = {n: ScoredModel(m, before.task) for n, m in people.items() if m is not None}
    groups = {
        "forgotten, as trained": asked[: len(asked) // 2],
        "forgotten, rephrased": asked[len(asked) // 2 :],
        "a neighbour": _first_per_topic(examples(town.rows_of(town.neighbours()[0]))),
        "the city": _first_per_topic(
            examples([row for row in town.rows() if "subject" not in row])
        ),
    }
    answers = {
        group: [
            {
                "question": e.prompt,
                "truth": e.completion,
                **{name: w.answers([e])[0] for name, w in scored_models.items()},
            }
            for e in chosen
        ]
        for group, chosen in groups.items()
    }
    data_subject = examples(town.rows_of(town.data_subject))
    holdout = examples([row for o in town.outsiders[1::2] for row in town.rows_of(o)])
    losses = {
        name: {
            "forgotten": [s.loss for s in w.scores(data_subject)],
            "never members": [s.loss for s in w.scores(holdout)],
        }
        for name, w in scored_models.items()
    }
    summary: dict[str, Any] = {"recall": {}}
    if first.report is not None:
        summary["recall"] = {
            probe: {
                "before": found.before,
                "after": found.value,
                "never_trained": fmean(found.never_trained),
            }
            for probe, found in (
                ("as_trained", first.report.find("recall", "exact match")),
                ("paraphrased", first.report.find("paraphrase", "exact match")),
                ("neighbours", first.report.find("neighbours", "exact match")),
                ("city", first.report.find("general", "exact match")),
            )
        }
    cost = None
    if first.outcome is not None:
        spent = first.outcome.cost
        cost = {
            "seconds": spent.seconds,
            "training_seconds": log.seconds,
            "share_of_retraining_time": (spent.seconds or 0.0) / log.seconds,
            "share_of_retraining_tokens": spent.retraining,
        }
    last = done.attempts[-1]
    return {
        "verdict": "pass" if first.passed else "fail",
        "reasons": _reasons(first),
        "method": first.method,
        "guarantee": first.outcome.guarantee.value if first.outcome else None,
        "escalated": None
        if len(done.attempts) == 1
        else {"method": last.method, "verdict": "pass" if last.passed else "fail"},
        "resident": town.data_subject.name,
        **summary,
        "cost": cost,
        "people": len(town.residents),
        "answers": answers,
        "losses": losses,
        "request": done.document,
        "environment": environment(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
    }


def _reasons(attempt: Any) -> list[str]:
    reasons = [attempt.failure] if attempt.failure else []
    return reasons + (list(attempt.report.reasons) if attempt.report is not None else [])


def _first_per_topic(records: Sequence[Example]) -> list[Example]:
    return list({e.fields["topic"]: e for e in reversed(records)}.values())
