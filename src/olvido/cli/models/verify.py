"""`olvido verify-exact` and `verify-report`: check a claim of exactness, or an audit's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.output import Terminal, command, stages, table

if TYPE_CHECKING:
    from rich.table import Table

    from olvido.learners.verifier import Verified
    from olvido.tasks import Example
    from olvido.workspace import LedgerModel, Workspace

commands = typer.Typer()


@commands.command("verify-exact")
@command
def verify_exact(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(help="An alias, the beginning of an id, or a digest.")],
    workers: Annotated[int, typer.Option("--workers", help="Runs repeated at a time.")] = 1,
) -> bool:
    """Retrain a model without the forgotten records, in fresh processes, and compare bit for bit.

    Takes a whole training from its beginning. Exit status 1 when anything differs; 2 where this
    machine would not give the same bits, or the model was not made by exact methods alone.
    """
    from olvido.learners.verifier import verify
    from olvido.workspace import Workspace

    with Workspace(terminal.settings()) as workspace, stages(terminal) as stage:
        stage(f"Loading {model}")
        loaded = workspace.load(model)
        staying = _staying(workspace, loaded)
        found = verify(
            loaded.trained,
            staying,
            loaded.task,
            workers=workers,
            watch=stage(f"Training {model} over from its beginning"),
        )
    document = {"id": loaded.fact.id, **found.to_dict()}
    terminal.emit(document, runs_table(found), sentence(found))
    return found.equal


@commands.command("verify-report")
@command
def verify_report(
    terminal: Terminal,
    report: Annotated[Path, typer.Argument(help="The output of 'olvido audit --json'.")],
    model: Annotated[str, typer.Option("--model", help="The model that it should be about.")],
) -> bool:
    """Check that an audit's report is about this model, and that its verdict follows.

    The model is not run. Exit status 1 where the report is of another model, or where its verdict
    or a status in it does not follow from its numbers; 2 where it is no report of an audit.
    """
    from olvido.audits.check import check_report
    from olvido.cli.arguments import require_model
    from olvido.files import read_document

    require_model(model)
    document = read_document(report)
    with stages(terminal) as stage:
        # A file that is no report is refused before a model is loaded for it.
        check_report(document, "")
        stage(f"Loading {model}")
        digest = terminal.load(model).digest
    reasons = check_report(document, digest)
    found = {
        "report": str(report),
        "model": digest,
        "verdict": document["verdict"],
        "holds": not reasons,
        "reasons": reasons,
    }
    if reasons:
        text = f"This report does not hold: {'; '.join(reasons)}. Audit the model again."
    else:
        text = (
            f"This report is about this model, and its verdict ({document['verdict']}) follows "
            "from its findings.\nThis does not show that they were measured: audit again for that."
        )
    terminal.emit(found, text)
    return not reasons


def _staying(workspace: Workspace, loaded: LedgerModel) -> tuple[Example, ...]:
    """The records that the ledger says the model has not forgotten.

    Raises:
        InputError: some of them are to be forgotten: nothing may be trained on those.
    """
    from olvido.errors import InputError

    for use in workspace.left(loaded.fact):
        asked = {r.id for r in workspace.store.tombstoned(use.dataset)} - use.excluded
        if asked:
            raise InputError(
                f"model {loaded.fact.id} still holds {len(asked)} records to be forgotten: "
                "make it forget them (olvido request run), and verify what that makes"
            )
    return tuple(workspace.held(loaded.fact))


def runs_table(found: Verified) -> Table:
    """A table of what was compared, for people."""
    from olvido.learners.verifier import STATES

    def said(equal: bool) -> str:
        return "equal" if equal else "DIFFERS"

    rows = [
        (run.name, *(said(state in run.matched) for state in STATES), f"{run.seconds:.1f}")
        for run in found.runs
    ]
    whole = said(found.recorded == found.found)
    return table(("run", *STATES, "seconds"), [*rows, ("the model", whole, *("" for _ in STATES))])


def sentence(found: Verified) -> str:
    """The result for people, with what it does not show."""
    took = f"{found.present} records took part; the places of {found.absent} were empty."
    if not found.equal:
        return (
            f"Not equal: this model is not what a training without the records gives. {took} Claim "
            "nothing of it; forget by an exact method again, or retrain."
        )
    return f"Verified {found.proven}. {took}\nThis does not show {'; nor '.join(found.not_proven)}."
