"""`olvido request`: the commands that need models: locate, plan, run, report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.output import Terminal, command, stages, table
from olvido.cli.requests.closing import commands
from olvido.cli.requests.intake import Id, opened_context, show
from olvido.cli.runs import answered_by
from olvido.schemas.options import RunOptions

if TYPE_CHECKING:
    pass

__all__ = ["commands"]

_SHOWN = 20
DECLARED_TRAINING = (
    "The model's training is declared, not witnessed: Olvido takes somebody's word for what it "
    "learned."
)
_Ids = Annotated[
    list[str], typer.Argument(metavar="ID...", help="The id of one request, or several together.")
]


@commands.command()
@command
def locate(terminal: Terminal, identifier: Id) -> None:
    """Find the records, datasets and models that a request touches."""
    from olvido.cli.requests.intake import also_meant
    from olvido.requests import locate as find
    from olvido.requests.scope import mentions, near_subjects, unsearched, unsearched_note
    from olvido.workspace import Workspace

    with Workspace(terminal.settings()) as workspace:
        found = find(workspace, identifier)
        request = workspace.store.request(identifier)
        near = near_subjects(workspace.store, request)
        mentioned = mentions(workspace.store, workspace.settings.data, request)
    following = "plan" if request.kind.forgets else "export"
    models = [
        {
            "id": state.model.id,
            "holding": state.holding.value,
            "guarantee": state.guarantee,
            "contained": len(state.contained),
            "forgotten": len(state.forgotten),
            "without": len(state.without),
        }
        for state in found.models
    ]
    document = {
        "request": identifier,
        "records": [{"dataset": r.dataset, "id": r.id} for r in found.records],
        "datasets": [{"id": d.id, "name": d.name, "version": d.version} for d in found.datasets],
        "models": models,
        "near": [{"subject": str(s), "records": len(some)} for s, some in near.items() if some],
        "mentions": [{"dataset": d, "id": i} for d, ids in mentioned.items() for i in ids],
        "unsearched": unsearched(request),
    }
    terminal.emit(
        document,
        f"{len(found.records)} records in "
        + ", ".join(f"{d.name} version {d.version}" for d in found.datasets),
        table(tuple(models[0]) if models else ("id",), [tuple(m.values()) for m in models]),
        *also_meant(near),
        *(
            f"{len(ids)} records of dataset {dataset} mention this person and are about others: "
            f"{', '.join(ids[:_SHOWN])}{', ...' if len(ids) > _SHOWN else ''}"
            for dataset, ids in mentioned.items()
        ),
        *filter(None, [unsearched_note(unsearched(request))]),
        f"Next: olvido request {following} {identifier}",
    )


@commands.command()
@command
@answered_by("model", "references", "holdout", "within")
def plan(terminal: Terminal, identifiers: _Ids, how: RunOptions) -> None:
    """Price every route to answer requests, choose, and name requests to run together."""
    from olvido.requests import batches
    from olvido.requests import plan as price
    from olvido.requests.guidance import left_before_run
    from olvido.requests.not_learned import destroys, plan_destruction
    from olvido.requests.workflow.given import require_given, require_known
    from olvido.schemas.plan import Group, Plan
    from olvido.workspace import Workspace

    require_given(identifiers, how)
    with Workspace(terminal.settings()) as workspace:
        require_known(workspace.store, how)
        if destroys(workspace.store, identifiers):
            going = plan_destruction(workspace, identifiers[0])
            terminal.emit(
                {"requests": identifiers, "destroy": [model.id for model in going]},
                table(("model", "made"), [(model.id, model.created_at) for model in going]),
                f"Next, two people: olvido request approve {identifiers[0]} --by NAME",
            )
            return
        found, choice = price(workspace, *identifiers, how=how)
        # Where no model has to forget, there may be no model.
        groups = [
            batch
            for batch in (batches(workspace, how.model) if found else ())
            if set(identifiers) & set(batch.requests)
        ]
        others = {i for group in groups for i in group.requests} - set(identifiers)
        beside = {i: left_before_run(workspace, workspace.store.request(i)) for i in others}
    several = sorted({*identifiers, *(one for one, left in beside.items() if left is None)})
    document = Plan(
        requests=tuple(identifiers),
        routes=tuple(route.way for route in found),
        chosen=choice.chosen,
        together=tuple(Group(**group.to_dict()) for group in groups),
    ).to_dict()
    rows = [
        (
            r.method,
            r.guarantee.value,
            "" if r.cost is None or r.cost.seconds is None else f"{r.cost.seconds:.1f}",
            "" if r.cost is None or r.cost.retraining is None else f"{r.cost.retraining:.1%}",
            r.refusal or r.summary,
        )
        for r in found
    ]
    columns = ("method", "guarantee", "seconds", "of retraining", "what it does")
    asked = "".join(
        f" --{name} {shlex.quote(str(value))}"
        for name, value in how.model_dump(exclude_defaults=True).items()
    )
    terminal.emit(
        document,
        *([table(columns, rows)] if rows else []),
        f"Chosen: {choice.because}.",
        *([DECLARED_TRAINING] if choice.training == "declared" else []),
        *([f"Not yet: {choice.lacking}."] if choice.lacking else []),
        *([f"{choice.promise.says}."] if choice.promise else []),
        *(f"{group.because}." for group in groups),
        *(
            f"{one} is not ready to go with it. {left.sentence}"
            for one, left in sorted(beside.items())
            if left is not None
        ),
        f"Next: olvido request run {' '.join(several)}{asked}",
    )


@commands.command()
@command
@answered_by()
def approve(
    terminal: Terminal,
    identifier: Id,
    by: Annotated[
        str, typer.Option("--by", help="Whose account approves: see 'olvido token list'.")
    ],
    how: RunOptions,
) -> None:
    """Approve a plan for 'olvido run'; to destroy a model takes two people."""
    from olvido.ledger.facts import RequestKind
    from olvido.ledger.serving import SERVING
    from olvido.requests import handlers
    from olvido.requests.workflow.given import require_given

    require_given([identifier], how)
    with opened_context(terminal) as context:
        order = None
        if context.store.request(identifier).kind is not RequestKind.DESTROY:
            serves = how.model != SERVING or SERVING in context.store.aliases()
            order = how.but(model=context.store.model(how.model).id) if serves else how
        request = handlers.approve(context, identifier, by=by, order=order)
        following = "olvido run" if order else f"olvido request run {identifier}"
        waits = "somebody else approves it too"
        show(
            terminal,
            context,
            request,
            f"Next: {following if request.status == 'approved' else waits}",
        )


@commands.command()
@command
@answered_by()
def run(terminal: Terminal, identifiers: _Ids, how: RunOptions) -> bool:
    """Forget, audit against retrained models, and publish the model that passes; 1 if none does."""
    from olvido.requests import answer
    from olvido.requests.guidance import concluded_as
    from olvido.requests.types import Destroyed, NothingToForget, Unchanged
    from olvido.workspace import Workspace

    with Workspace(terminal.settings()) as workspace, stages(terminal) as stage:
        done = answer(workspace, *identifiers, how=how, stage=stage)
    following = [f"Next: olvido request close {identifier}" for identifier in identifiers]
    if isinstance(done, Destroyed):
        gone = [model.id for model in done.models]
        terminal.emit(
            {
                "request": done.request.id,
                "status": done.request.status,
                "destroyed": gone,
                "certificate": str(done.certificate),
            },
            f"Destroyed: {', '.join(gone)}. Certificate: {done.certificate}",
            *following,
        )
        return True
    if isinstance(done, NothingToForget):
        terminal.emit(
            {
                "requests": [{"id": one.id, "status": one.status} for one in done.requests],
                "because": done.because,
            },
            f"Nothing was to be forgotten: {done.because}. What lies in files is left to erase.",
            *following,
        )
        return True
    if isinstance(done, Unchanged):
        terminal.emit(
            {
                "requests": [{"id": one.id, "status": one.status} for one in done.requests],
                "model": done.model.id,
                "promises": [promise.to_dict() for promise in done.promises],
                "certificates": list(map(str, done.certificates)),
            },
            *(f"{promise.says}." for promise in done.promises),
            f"Model {done.model.id} stays as it is. What lies in files is left to erase. "
            f"Certificate: {', '.join(map(str, done.certificates))}",
            *following,
        )
        return True
    rows = [(a["method"], a["verdict"], concluded_as(a)) for a in done.document["attempts"]]
    reports = ", ".join(map(str, done.paths))
    ended = (
        f"Published as {done.published.id}. Report: {reports}"
        if done.published
        else f"Nothing was published: every attempt failed. Report: {reports}"
    )
    chosen = f"Chosen: {done.choice.because}."
    found = table(("method", "verdict", "why"), rows)
    terminal.emit(done.document, chosen, found, ended, *(following if done.published else ()))
    return done.published is not None


@commands.command()
@command
def report(
    terminal: Terminal,
    identifier: Id,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE.html", help="Write its last audit as a page, too."),
    ] = None,
) -> None:
    """Print a request's report."""
    from olvido.cli.arguments import require_page
    from olvido.errors import StateError
    from olvido.requests.guidance import concluded_as, not_now

    require_page(page)
    settings = terminal.settings()
    with opened_context(terminal) as context:
        request = context.store.request(identifier)
        if request.report is None:
            why = "it has no report yet: a run writes one"
            raise StateError(not_now(context, request, why))
    # The ledger has the report's path, but the workspace may have been moved since.
    path = settings.reports / Path(request.report).name
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"the report {path} cannot be read ({error}): restore it") from error
    if page is not None:
        _write_page(identifier, document, page)
    rows = [
        (attempt["method"], f["audit"], f["metric"], f["says"], f["status"])
        for attempt in document["attempts"]
        if attempt["audit"]
        for f in attempt["audit"]["findings"]
    ]
    terminal.emit(
        document,
        f"Request {identifier}: {document['verdict']}",
        *([DECLARED_TRAINING] if document.get("training") == "declared" else []),
        *(f"{one['method']}: {concluded_as(one)}." for one in document["attempts"]),
        table(("method", "audit", "metric", "finding", "status"), rows),
        *(f"Does not prove {line}." for line in document["does_not_prove"]),
    )


def _write_page(identifier: str, document: dict[str, Any], page: Path) -> None:
    """Write the last audit of a request as a page, beside those of earlier attempts.

    Raises:
        StateError: nothing was audited.
    """
    from olvido.audits.page import write_page
    from olvido.errors import StateError
    from olvido.requests.guidance import audits_of

    found = audits_of(document)
    if not found:
        raise StateError(
            f"request {identifier} was answered without an audit, so there is no page of one: "
            "exact forgetting needs none unless 'olvido request run' is given --references"
        )
    *others, last = found
    write_page(last, page, others=others)
