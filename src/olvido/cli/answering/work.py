"""`olvido run`: the worker that answers what is approved."""

from __future__ import annotations

import typer

from olvido.cli.given.output import Terminal, command, table

commands = typer.Typer()


@commands.command()
@command
def run(terminal: Terminal) -> bool:
    """Answer every approved request, and go on with what was cut off; 1 if one needs a decision."""
    from olvido.requests.workflow import Worker

    settings = terminal.settings()
    # A ledger that cannot be opened is said before anything is begun.
    terminal.store().close()
    with Worker(settings, watch=lambda request, what: terminal.say(f"{request}: {what}")) as worker:
        done = worker.work()
    found = [
        {"id": request.id, "status": request.status, "why": request.history[-1].detail.get("why")}
        for request in done
    ]
    rows = [tuple(entry.values()) for entry in found]
    shown = table(("id", "status", "why"), rows) if rows else "Nothing is approved."
    terminal.emit({"requests": found}, shown)
    return all(request.status in ("published", "closed") for request in done)
