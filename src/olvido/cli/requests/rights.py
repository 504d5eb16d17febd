"""`olvido request export` and `correct`: the rights of access and of rectification.

`olvido notice`: the letter to the person who asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.arguments import Encoding, require_new_file
from olvido.cli.output import Terminal, command
from olvido.cli.requests.intake import Id, opened_context, show
from olvido.cli.requests.lists import commands

__all__ = ["commands"]


_Unchecked = Annotated[
    str | None, typer.Option("--unchecked", metavar="WHY", help="Why no identity check is needed.")
]


@commands.command()
@command
def export(
    terminal: Terminal,
    identifier: Id,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A new folder to write.")],
    by: Annotated[
        str, typer.Option("--by", help="Whose account answers for it: see 'olvido token list'.")
    ],
    lang: Annotated[str, typer.Option("--lang", help="en, es, ca, or a file of your own.")] = "en",
    shared: Annotated[
        list[str] | None,
        typer.Option(
            "--shared", metavar="ID", help="A record about others too that may be included."
        ),
    ] = None,
    unchecked: _Unchecked = None,
) -> None:
    """Write down the data held about the person of a request for access, for them alone.

    The folder gets a document and a page with the person's rows. The log keeps its digest.
    """
    from olvido.cli.arguments import require_new_file
    from olvido.requests.rights.access import export as write

    require_new_file(out)
    with opened_context(terminal) as context:
        given = write(
            context, identifier, out, by=by, language=lang, shared=shared or (), unchecked=unchecked
        )
        left = (
            f"{len(given.withheld)} rows are about others as well, and were left out: "
            f"{', '.join(given.withheld[:20])}{', ...' if len(given.withheld) > 20 else ''}. Look "
            "at them, and give those that may be with --shared ID."
        )
        show(
            terminal,
            context,
            given.request,
            f"{given.records} records are in {out}, for its owner alone. Look at it before it is "
            "sent: rows may name others.",
            *([left] if given.withheld else []),
            f"Next: olvido notice {identifier} --kind done; once it is sent, olvido request close "
            f"{identifier}, and remove the folder",
            exported={
                "folder": str(out),
                "document": given.digest,
                "records": given.records,
                "withheld": list(given.withheld),
            },
        )


@commands.command()
@command
def correct(
    terminal: Terminal,
    identifier: Id,
    rows: Annotated[
        Path,
        typer.Option("--rows", metavar="FILE", help="The corrected rows, with the same ids."),
    ],
    by: Annotated[
        str, typer.Option("--by", help="Whose account answers for it: see 'olvido token list'.")
    ],
    unchecked: _Unchecked = None,
    encoding: Encoding = None,
) -> None:
    """Enter the corrected rows of a rectification, as the next version of its dataset."""
    from olvido.requests.rights.rectification import correct as enter

    with opened_context(terminal) as context:
        request, made = enter(
            context, identifier, rows, by=by, unchecked=unchecked, encoding=encoding
        )
        show(
            terminal,
            context,
            request,
            f"Dataset {made.name} version {made.version} has what is right. No model has learned "
            "it yet, and those that learned what was wrong still hold it.",
            f"Next: olvido request plan {identifier}",
            corrected={"dataset": made.id, "name": made.name, "version": made.version},
        )


notices = typer.Typer()


@notices.command()
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
        typer.Option("--reason", help="What is needed, or the reason; in the person's language."),
    ] = None,
    law: Annotated[
        str | None, typer.Option("--law", help="The law, where the request names none.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file to write it to.")
    ] = None,
) -> None:
    """Write a letter about a request, from its status and its certificate.

    The log keeps the digest of a letter that is written to a file.
    """
    from olvido.files import write
    from olvido.requests.rights.letter import letter, note

    require_new_file(out)
    with opened_context(terminal) as context:
        written = letter(context, identifier, kind, language=lang, reason=reason, law=law)
        if out is not None:
            write(out, written.text.encode())
            note(context, written)
    terminal.emit(written.to_dict() | {"file": out and str(out)}, written.text.rstrip("\n"))
