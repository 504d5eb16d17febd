"""`olvido audit-privacy`: try to refute the promise of a private training."""

from __future__ import annotations

from typing import Annotated

import typer

from olvido.cli.output import Terminal, command, stages, table

commands = typer.Typer()


@commands.command("audit-privacy")
@command
def audit_privacy(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(help="An alias, the beginning of an id, or a digest.")],
    guesses: Annotated[
        int | None,
        typer.Option(
            "--guesses",
            help="An even number, chosen before the first look; half of the canaries.",
            show_default=False,
        ),
    ] = None,
) -> bool:
    """Guess which canaries a private training learned; exit status 1 when its promise is refuted.

    Needs a model that was trained with --learner private --option canaries=200. A promise that is
    not refuted is not shown to hold.
    """
    from olvido.audits import audit_privacy as audit
    from olvido.schemas.privacy import Outcome
    from olvido.workspace import Workspace

    with Workspace(terminal.settings()) as workspace, stages(terminal) as stage:
        stage(f"Loading {model}")
        loaded = workspace.load(model)
        stage("Guessing which canaries took part")
        found = audit(loaded.trained, task=loaded.task, guesses=guesses)
    rows = [
        ("outcome", found.outcome.value),
        ("promised", f"epsilon {found.epsilon:.3g} at delta {found.delta:.2g}"),
        ("canaries", f"{found.canaries}, {found.there} of them took part"),
        ("guesses", f"{found.guesses}, {found.right} right"),
        ("epsilon, at least", f"{found.at_least:.3g}"),
        ("at the most shown by so many guesses", f"{found.ceiling:.3g}"),
        *((step.promise, "holds" if step.holds else "BROKEN") for step in found.steps),
    ]
    terminal.emit(found.to_dict(), table(("what", "value"), rows), found.says)
    return found.outcome is Outcome.NOT_REFUTED
