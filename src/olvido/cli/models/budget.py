"""`olvido budget`: what all releases that used a person's records promise together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.output import Terminal, command, table

if TYPE_CHECKING:
    from olvido.workspace.budget import Budget

commands = typer.Typer()


@commands.command("budget")
@command
def show_budget(
    terminal: Terminal,
    subject: Annotated[
        str | None, typer.Argument(help="A person, as the data name them, or their digest.")
    ] = None,
    worst: Annotated[
        bool, typer.Option("--worst", help="The people with the largest totals.")
    ] = False,
    top: Annotated[int, typer.Option("--top", help="Of --worst: how many people.")] = 10,
) -> None:
    """Show what all models that learned a person's records promise that person together.

    Epsilon and delta are added up over all releases, those since replaced or removed included. A
    model that was trained without privacy promises nothing, and then neither does the sum.
    """
    from olvido.errors import InputError, require_count
    from olvido.requests.scope import look_up
    from olvido.workspace import Workspace
    from olvido.workspace.budget import budget, budgets

    if (subject is None) is not worst:
        raise InputError("name one person, or give --worst for those with the largest totals")
    require_count("top", top)
    with Workspace(terminal.settings()) as workspace:
        store, limit = workspace.store, workspace.settings.privacy_limit
        if subject is None:
            every = budgets(store)
            found = every[:top]
            over = None if limit is None else sum(one.epsilon > limit for one in every)
            rows = [(str(one.subject), len(one.releases), *_total(one)) for one in found]
            terminal.emit(
                {"people": [one.to_dict() for one in found], "of": len(every)}
                | {"limit": limit, "over": over},
                table(("person", "releases", "epsilon", "delta"), rows),
                f"{len(found)} of {len(every)} people whom a model learned."
                + ("" if over is None else f" {over} are above the limit of {limit:g}."),
            )
            return
        person = look_up(store, [subject])
        if not any(person.counts.values()):
            raise InputError(
                "no record in any dataset is about this subject: check how the name is written in "
                "the data's subject column"
            )
        one = budget(store, person.subjects[0])
    shown = [
        (
            release.model.id,
            release.model.method or release.model.learner,
            f"{release.model.created_at:%Y-%m-%d}",
            release.records,
            *(
                ("none", "")
                if (spent := release.spent) is None
                else (f"{spent.epsilon:.3g} a {_UNITS[spent.unit]}", f"{spent.delta:.2g}")
            ),
        )
        for release in one.releases
    ]
    terminal.emit(
        one.to_dict() | {"limit": limit},
        table(("model", "made by", "on", "records", "epsilon", "delta"), shown),
        _sentence(one, limit),
    )


_UNITS = {"subject": "person", "record": "record"}


def _total(one: Budget) -> tuple[str, str]:
    delta = one.promised[1]
    bounded = math.isfinite(one.epsilon)
    return (f"{one.epsilon:.3g}", f"{delta:.2g}") if bounded else ("no bound", "")


def _sentence(one: Budget, limit: float | None) -> str:
    if not one.releases:
        return "No model learned a record about this person."
    epsilon, delta = one.promised
    within = "" if limit is None else f" The limit is {limit:g}."
    if len(one.open) == len(one.releases):
        return f"None of {len(one.releases)} releases promises this person anything.{within}"
    said = f"epsilon {epsilon:.3g} at delta {delta:.2g}" if math.isfinite(epsilon) else "nothing"
    if one.open:
        return (
            f"{len(one.open)} of {len(one.releases)} releases promise nothing, so neither do all "
            f"together. The others together promise {said}.{within}"
        )
    return f"All {len(one.releases)} releases together promise {said}.{within}"
