"""`olvido request note` and `request assign`: what the team says of a request among itself."""

from __future__ import annotations

from typing import Annotated

import typer

from olvido.cli.answering.front import Id, commands, fronted, show
from olvido.cli.given.output import Terminal, command

__all__ = ["commands"]

_By = Annotated[str, typer.Option("--by", help="Whose account does this: see 'olvido token list'.")]


@commands.command()
@command
def note(
    terminal: Terminal,
    identifier: Id,
    text: Annotated[str, typer.Option("--text", help="The note, without names: it is kept.")],
    by: _By,
) -> None:
    """Note something of a request, whatever its status."""
    from olvido.requests import notes

    with fronted(terminal) as front:
        show(terminal, front, notes.note(front, identifier, text, by=by))


@commands.command()
@command
def assign(
    terminal: Terminal,
    identifier: Id,
    by: _By,
    to: Annotated[
        str | None, typer.Option("--to", help="Whose account works on it; nobody if not said.")
    ] = None,
) -> None:
    """Say who works on a request."""
    from olvido.requests import notes

    with fronted(terminal) as front:
        show(terminal, front, notes.assign(front, identifier, to, by=by))
