"""`olvido doctor`: whether Olvido can work here, and what to do where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.arguments import require_model
from olvido.cli.output import Terminal, command, table
from olvido.settings import Settings, find_folder

if TYPE_CHECKING:
    from olvido.errors import OlvidoError

commands = typer.Typer()


@commands.command()
@command
def doctor(
    terminal: Terminal,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model whose needs are shown; default the workspace's."),
    ] = None,
) -> bool:
    """Check machine, hub, keys and ledger, and show the needs of a run; changes nothing.

    Exit status 1 where something is wrong; each such line says what to do.
    """
    from olvido.cli.diagnosis import examine, sound
    from olvido.errors import OlvidoError

    require_model(model)
    # A --workspace that is no workspace is an error; without the option there may be none.
    folder = find_folder(terminal.workspace)
    settings: Settings | OlvidoError | None = None
    if folder is not None:
        try:
            settings = Settings.load(folder)
        except OlvidoError as error:
            settings = error
    found = examine(folder or Path.cwd(), settings, model=model)
    well = sound(found)
    rows = [
        (c.what, c.state, c.says if c.remedy is None else f"{c.says}. Do: {c.remedy}")
        for c in found
    ]
    ended = "Nothing is wrong." if well else "Something is wrong; see the lines above."
    terminal.emit(
        {"sound": well, "checks": [check.to_dict() for check in found]},
        table(("what", "state", "what was found"), rows),
        ended,
    )
    return well
