"""`olvido serve`: the service, as an API and as pages.

`olvido remind`: remind the team of requests that are due, once a day, by e-mail or webhook.

`olvido run`: the worker that answers approved requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.output import Terminal, command, table
from olvido.cli.requests.intake import opened_context
from olvido.errors import InputError

commands = typer.Typer()


@commands.command()
@command
def serve(
    terminal: Terminal,
    also: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR...", help="More workspaces; each has tokens of its own."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port.")] = 8600,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            metavar="ADDRESS",
            help="A proxy whose X-Forwarded-For and -Proto are believed; default in olvido.toml.",
        ),
    ] = None,
) -> None:
    """Serve this workspace until stopped. 'olvido token new' gives access."""
    import socket

    from olvido.errors import StateError
    from olvido.service.app import application
    from olvido.service.server import server
    from olvido.settings import Settings

    folders = also or []
    settings = terminal.settings()
    app = application([settings, *map(Settings.find, folders)])
    made = server(app, proxies=proxy or settings.proxies)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # A client may connect as soon as the address is printed: it waits for the server.
        listening.listen()
    except OSError as error:
        listening.close()
        raise StateError(
            f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port"
        ) from error
    address = f"http://{host}:{listening.getsockname()[1]}"
    terminal.emit({"address": address}, f"Serving on {address}. Stop with Ctrl-C.")
    made.run([listening])


@commands.command()
@command
def run(terminal: Terminal) -> bool:
    """Answer approved requests, resume interrupted ones, and ask for what retention rules want.

    The status is 1 if a request needs a decision, or one that a rule made cannot be planned.
    """
    from olvido.requests.workflow.worker import Worker

    settings = terminal.settings()
    # Report a ledger that cannot be opened before anything is begun.
    terminal.store().close()
    with Worker(settings, watch=lambda request, what: terminal.say(f"{request}: {what}")) as worker:
        asked = worker.ask()
        done = worker.work()
    found = [
        {"id": request.id, "status": request.status, "why": request.history[-1].detail.get("why")}
        for request in done
    ]
    rows = [tuple(entry.values()) for entry in found]
    shown = table(("id", "status", "why"), rows) if rows else "Nothing is approved."
    due = [
        {
            "id": one.request.id,
            "rule": one.request.scope["retention"],
            "status": one.request.status,
            "why": one.why,
        }
        for one in asked
    ]
    terminal.emit(
        {"requests": found, "asked": due},
        shown,
        *(
            f"{one['id']}: what the rule {one['rule']} covers is due. "
            + (one["why"] or f"Next: olvido request approve {one['id']} --by ACCOUNT")
            for one in due
        ),
    )
    answered = all(request.status in ("published", "closed") for request in done)
    return answered and not any(one.why for one in asked)


@commands.command()
@command
def remind(
    terminal: Terminal,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
) -> bool:
    """Remind the team of requests that are late or due soon: see [reminders] in olvido.toml."""
    from olvido.requests.workflow.reminders import configuration
    from olvido.requests.workflow.reminding import due_rows
    from olvido.requests.workflow.reminding import remind as tell

    with opened_context(terminal) as context:
        configured = configuration(context.settings)
        if configured is None:
            raise InputError(
                "no reminders are set: say in olvido.toml '[reminders]' with a webhook, or with "
                "smtp, sender and to"
            )
        rows = due_rows(context, configured)
        reminded = () if dry else tell(context, configured)
    columns = ("id", "kind", "law", "due", "days_left")
    shown = [{name: row[name] for name in columns} for row in rows]
    ways = [{"way": o.way, "requests": list(o.requests), "failure": o.failure} for o in reminded]
    terminal.emit(
        {"due": shown, "reminded": ways},
        table(columns, [tuple(row.values()) for row in shown]),
        *(f"{o.way}: {o.failure or f'sent {len(o.requests)}'}" for o in reminded),
    )
    return not any(one.failure for one in reminded)
