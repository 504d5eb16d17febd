"""`olvido verify-exact`: a model beside its training done over without those who left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.output import Terminal, command, table
from olvido.cli.stages import stages

if TYPE_CHECKING:
    from rich.table import Table

    from olvido.learners.verifier import Verified
    from olvido.tasks import Example
    from olvido.workspace import Held, Workspace

commands = typer.Typer()


@commands.command("verify-exact")
@command
def verify_exact(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(help="An alias, the beginning of an id, or a digest.")],
    workers: Annotated[int, typer.Option("--workers", help="Runs done over at a time.")] = 1,
) -> bool:
    """Train a model over without those who left, in fresh processes, and compare bit for bit.

    Takes a whole training from its beginning. Exit status 1 when anything differs; 2 where this
    machine would not give the same bits, or the model was not made by exact methods alone.
    """
    from olvido.learners.verifier import verify
    from olvido.workspace import Workspace

    with Workspace(terminal.settings()) as workspace, stages(terminal) as stage:
        stage(f"Loading {model}")
        held = workspace.load(model)
        staying = _staying(workspace, held)
        found = verify(
            held.trained,
            staying,
            held.task,
            workers=workers,
            watch=stage(f"Training {model} over from its beginning"),
        )
    document = {"id": held.fact.id, **found.to_dict()}
    terminal.emit(document, runs_table(found), sentence(found))
    return found.equal


def _staying(workspace: Workspace, held: Held) -> list[Example]:
    """The records that the ledger says the model has not forgotten.

    Raises:
        InputError: some of them are to be forgotten: nothing may be trained on those.
    """
    from olvido.errors import InputError

    staying: list[Example] = []
    for use in workspace.left(held.fact):
        dataset = workspace.store.dataset(use.dataset)
        asked = {r.id for r in workspace.store.tombstoned(dataset.id)} - use.excluded
        if asked:
            raise InputError(
                f"model {held.fact.id} still holds {len(asked)} records that are to be forgotten: "
                "make it forget them (olvido request run), and verify what that makes"
            )
        staying += workspace.rows(dataset, exclude=use.excluded)
    return staying


def runs_table(found: Verified) -> Table:
    """What was compared, for people."""
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
    """The answer for people, with what it does not show."""
    from olvido.learners.verifier import NOT_PROVEN, PROVEN

    took = f"{found.present} records took part; the places of {found.absent} were empty."
    if not found.equal:
        return (
            f"Not equal: this model is not what a training without the records gives. {took} Claim "
            "nothing of it; forget by an exact method again, or retrain."
        )
    return f"Verified {PROVEN}. {took}\nThis does not show {'; nor '.join(NOT_PROVEN)}."
