"""`olvido notice`: the letter to the person who asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.answering.front import fronted
from olvido.cli.given.output import Terminal, command
from olvido.cli.given.places import require_new_file

commands = typer.Typer()


@commands.command()
@command
def notice(
    terminal: Terminal,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Of the request.")],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="received, needs-information, extension, done, partly-done or refused.",
        ),
    ],
    lang: Annotated[str, typer.Option("--lang", help="en, es, ca, or a file of your own.")] = "en",
    reason: Annotated[
        str | None,
        typer.Option("--reason", help="What is needed, or why; in the person's language."),
    ] = None,
    law: Annotated[
        str | None, typer.Option("--law", help="Which holds, where the request names none.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file to write it to.")
    ] = None,
) -> None:
    """Write a letter about a request: what it says is how far that has come, and was certified.

    The log keeps the digest of a letter that is written to a file.
    """
    from olvido.files import write
    from olvido.requests.notices import letter, note

    require_new_file(out)
    with fronted(terminal) as front:
        written = letter(front, identifier, kind, language=lang, reason=reason, law=law)
        if out is not None:
            write(out, written.text.encode())
            note(front, written)
    terminal.emit(written.to_dict() | {"file": out and str(out)}, written.text.rstrip("\n"))
