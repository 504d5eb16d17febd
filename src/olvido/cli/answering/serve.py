"""`olvido serve`: the service, as an API and as pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.given.output import Terminal, command

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
            help="Whose X-Forwarded-For and X-Forwarded-Proto are believed; else olvido.toml says.",
        ),
    ] = None,
) -> None:
    """Serve this workspace until stopped. Who may ask what is said by 'olvido token new'."""
    import socket

    from olvido.errors import StateError
    from olvido.serving.app import application
    from olvido.serving.boundary.server import server
    from olvido.settings import Settings

    folders = also or []
    settings = terminal.settings()
    app = application([settings, *map(Settings.find, folders)])
    made = server(app, proxies=proxy or settings.proxies)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # Whoever reads the address may ask at once, and waits until there is somebody to answer.
        listening.listen()
    except OSError as error:
        listening.close()
        raise StateError(
            f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port"
        ) from error
    address = f"http://{host}:{listening.getsockname()[1]}"
    terminal.emit({"address": address}, f"Serving on {address}. Stop with Ctrl-C.")
    made.run([listening])
