"""`olvido retention`: how long records are kept, and what is due."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from olvido.cli.output import Terminal, command, table
from olvido.cli.requests.intake import day, opened_context

commands = typer.Typer(help="How long records are kept: the rules in olvido.toml.")

_COLUMNS = ("name", "covers", "shortest", "due", "asked", "undated", "next")


@commands.callback()
def _group() -> None:
    """How long records are kept: the rules in olvido.toml."""


@commands.command()
@command
def show(terminal: Terminal) -> None:
    """Show each retention rule, what is due by it now and next, and what no rule covers."""
    from olvido.ledger.facts import RequestKind
    from olvido.requests.retention.drop import fetching
    from olvido.requests.retention.due import retention

    with opened_context(terminal) as context:
        found = retention(context).to_dict()
        fetched = fetching(context)
        requests = [
            {
                "id": request.id,
                "rule": request.scope["retention"],
                "status": request.status.value,
                "by": request.scope["by"],
            }
            for request in context.store.requests()
            if request.kind is RequestKind.RETENTION and request.status.open
        ]
    rules: list[dict[str, Any]] = found["rules"]
    rows = [tuple(rule[name] for name in _COLUMNS) for rule in rules]
    due = sum(rule["due"] for rule in rules)
    terminal.emit(
        found | {"requests": requests, "drop": fetched},
        table(_COLUMNS, rows) if rows else "No rule is set: say [[retention]] in olvido.toml.",
        *(f"{rule['name']}: {rule['says']}" for rule in rules),
        *(
            f"{one['records']} records are kept all the same: {one['why']}"
            for one in found["stopped"]
        ),
        *(f"{name} covers no record: is what it names spelt right?" for name in found["idle"]),
        *_told(found, "several", "records are under several rules: the shortest wins."),
        *_told(found, "undated", "records have no day that a rule can count from: look at them."),
        *_told(found, "uncovered", "records are under no rule, so nothing ends their time."),
        *_told(found, "shared", "of those due are about several people."),
        *(f"{r['id']} ({r['rule']}) is {r['status']}: begin by {r['by']}." for r in requests),
        *([f"The next list is to be fetched by {fetched['next']}."] if fetched else []),
        *([f"{due} records are due. Next: olvido run"] if due else []),
    )


@commands.command()
@command
def drop(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, one hash a row.")],
    hashes: Annotated[
        str, typer.Option("--hashes", metavar="COLUMN", help="Its column with SHA-256 hashes.")
    ],
    column: Annotated[
        str, typer.Option("--column", help="The column of the rows with the identifiers.")
    ],
    fetched: Annotated[
        str | None,
        typer.Option("--fetched", metavar="DAY", help="When it was fetched; default today."),
    ] = None,
) -> None:
    """Enter a request for each person on a list fetched from California's platform (DROP)."""
    from olvido.requests.retention.drop import take

    with opened_context(terminal) as context:
        since = None if fetched is None else day(fetched)
        taken = take(context, file, hashes=hashes, column=column, fetched=since)
    unclear = [{"dataset": dataset, "id": identifier} for dataset, identifier in taken.unclear]
    terminal.emit(
        {
            "requests": [request.id for request in taken.requests],
            "hashes": taken.hashes,
            "found": taken.found,
            "asked": taken.asked,
            "unclear": unclear,
        },
        f"{taken.found} of {taken.hashes} hashes are of identifiers in the data; "
        f"{len(taken.requests)} requests are entered, and {taken.asked} people have one already.",
        *(
            f"Record {one['id']} of dataset {one['dataset']} is about nobody, or several people: "
            "look who it is, and enter a request by hand."
            for one in unclear
        ),
    )


def _told(found: dict[str, Any], what: str, says: str) -> list[str]:
    return [f"{found[what]} {says}"] if found[what] else []
