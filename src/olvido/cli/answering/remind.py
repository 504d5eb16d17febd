"""`olvido remind`: tell the team of requests that are due, once a day, by e-mail or webhook."""

from __future__ import annotations

from typing import Annotated

import typer

from olvido.cli.answering.front import fronted
from olvido.cli.given.output import Terminal, command, table
from olvido.errors import InputError

commands = typer.Typer()


@commands.command()
@command
def remind(
    terminal: Terminal,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be told, and tell nobody.")
    ] = False,
) -> bool:
    """Remind the team of requests that are late or due soon: see [reminders] in olvido.toml."""
    from olvido.requests.reminders import configuration, due_rows
    from olvido.requests.reminders import remind as tell

    with fronted(terminal) as front:
        configured = configuration(front.settings)
        if configured is None:
            raise InputError(
                "no reminders are set: say in olvido.toml '[reminders]' with a webhook, or with "
                "smtp, sender and to"
            )
        rows = due_rows(front, configured)
        told = () if dry else tell(front, configured)
    columns = ("id", "kind", "law", "due", "days_left")
    shown = [{name: row[name] for name in columns} for row in rows]
    ways = [{"way": o.way, "requests": list(o.requests), "failure": o.failure} for o in told]
    terminal.emit(
        {"due": shown, "told": ways},
        table(columns, [tuple(row.values()) for row in shown]),
        *(f"{o.way}: {o.failure or f'told of {len(o.requests)}'}" for o in told),
    )
    return not any(one.failure for one in told)
