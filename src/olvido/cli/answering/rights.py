"""`olvido request export` and `correct`: what is held about a person, for them, and put right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.answering.front import Id, fronted, show
from olvido.cli.answering.many import commands
from olvido.cli.given.output import Terminal, command
from olvido.cli.given.rows import Encoding

__all__ = ["commands"]

_Unchecked = Annotated[
    str | None, typer.Option("--unchecked", metavar="WHY", help="Why it needs no check who asks.")
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
            "--shared", metavar="ID", help="A record that is about others too, and may be given."
        ),
    ] = None,
    unchecked: _Unchecked = None,
) -> None:
    """Write down what is held about the person of a request of kind access, for them alone.

    The folder gets a document and a page with the person's rows. The log keeps its digest.
    """
    from olvido.cli.given.places import require_new_file
    from olvido.requests.rights import export as write

    require_new_file(out)
    with fronted(terminal) as front:
        given = write(
            front, identifier, out, by=by, language=lang, shared=shared or (), unchecked=unchecked
        )
        left = (
            f"{len(given.withheld)} rows are about others as well, and were left out: "
            f"{', '.join(given.withheld[:20])}{', ...' if len(given.withheld) > 20 else ''}. Look "
            "at them, and give those that may be with --shared ID."
        )
        show(
            terminal,
            front,
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
        typer.Option("--rows", metavar="FILE", help="Rows with the same ids, and what is right."),
    ],
    by: Annotated[
        str, typer.Option("--by", help="Whose account answers for it: see 'olvido token list'.")
    ],
    unchecked: _Unchecked = None,
    encoding: Encoding = None,
) -> None:
    """Enter what is right for a request of kind rectification: the next version of its dataset."""
    from olvido.requests.rights import correct as enter

    with fronted(terminal) as front:
        request, made = enter(
            front, identifier, rows, by=by, unchecked=unchecked, encoding=encoding
        )
        show(
            terminal,
            front,
            request,
            f"Dataset {made.name} version {made.version} has what is right. No model has learned "
            "it yet, and those that learned what was wrong still hold it.",
            f"Next: olvido request plan {identifier}",
            corrected={"dataset": made.id, "name": made.name, "version": made.version},
        )
