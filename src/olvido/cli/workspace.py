"""`olvido init`: make a workspace."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.output import Terminal, command, table
from olvido.errors import StateError
from olvido.settings import FILE, Settings, template

commands = typer.Typer()


@commands.command()
@command
def init(
    terminal: Terminal,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where; here if not said.")
    ] = None,
) -> None:
    """Make a workspace: its settings, its ledger and the key of its ledger."""
    from olvido.ledger.identity import Key
    from olvido.ledger.store import Store

    root = (folder or terminal.workspace or Path.cwd()).expanduser().resolve()
    settings_file = root / FILE
    if settings_file.exists():
        raise StateError(f"{root} is a workspace already: use it, or name another folder")
    root.mkdir(parents=True, exist_ok=True)
    settings = Settings.load(root)
    with ExitStack() as undo:
        key = Key.create(settings.key)
        undo.callback(settings.key.unlink)
        Store.create(settings.ledger, key=key).close()
        # From here on the ledger needs its key.
        undo.pop_all()
    for made in (settings.data, settings.models, settings.reports):
        made.mkdir(parents=True, exist_ok=True)
    settings_file.write_text(template(), encoding="utf-8")
    places = {
        "workspace": settings.workspace,
        "settings": settings_file,
        "ledger": settings.ledger,
        "key": settings.key,
    }
    advice = "Keep a copy of the key apart from the ledger: without it nobody is found again."
    terminal.emit(places, table(("what", "where"), places.items()), advice)
