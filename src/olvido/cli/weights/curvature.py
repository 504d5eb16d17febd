"""`olvido curvature`: measured once for a model, for all who ask about it or leave it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.given.output import Terminal, command, table
from olvido.cli.given.rows import Encoding
from olvido.cli.given.stages import stages

commands = typer.Typer()


@commands.command()
@command
def curvature(
    terminal: Terminal,
    model: Annotated[
        str, typer.Argument(help="A model of the workspace, or with --records a folder or hub id.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder that keeps it: the factors.")],
    records: Annotated[
        Path | None,
        typer.Option("--records", help="What it was taught; without it, what the ledger knows."),
    ] = None,
    parts: Annotated[
        int, typer.Option("--parts", help="Parts of the people; each is measured by itself.")
    ] = 2,
    encoding: Encoding = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn.")] = 0,
) -> None:
    """Measure the curvature of a model once, so that removals need not.

    'olvido forget --method influence --option factors=DIR' takes from the folder one that never met
    those who leave. It holds what the records taught, and goes when they have to.
    """
    from olvido.cli.given.places import require_folder, require_model
    from olvido.cli.weights.trace import taught
    from olvido.curvature import shelve_ekfac

    require_model(model)
    require_folder(out)
    with stages(terminal) as stage:
        stage(f"Loading {model}")
        trained, rows, task, subjects = taught(terminal, model, records, encoding, chat)
        if subjects is not None:
            # The ledger knows whom a record is about, whatever its row says.
            about = ({**row.fields, "subjects": subjects[row.id]} for row in rows)
            rows = tuple(replace(row, fields=one) for row, one in zip(rows, about, strict=True))
        stage(f"Measuring on {len(rows)} records")
        made = shelve_ekfac(trained.model, rows, task, out, parts=parts, seed=seed)
    document = {
        "model": trained.digest,
        "factors": str(out),
        "parts": [{"digest": part.digest, "records": len(part.records)} for part in made],
    }
    shown = [(part.digest[:16], len(part.records)) for part in made]
    terminal.emit(
        document,
        table(("curvature", "records"), shown),
        f"Now: olvido forget MODEL --method influence --option factors={out}",
    )
