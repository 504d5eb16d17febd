"""`olvido request list` and `request import`: many requests at once.

`olvido request note` and `request assign`: the team's notes on a request, and its owner.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.output import Terminal, command, table
from olvido.cli.requests.intake import Id, commands, described, opened_context, show
from olvido.errors import InputError

if TYPE_CHECKING:
    from olvido.requests.handlers import StoreContext

__all__ = ["commands"]


_By = Annotated[str, typer.Option("--by", help="Whose account does this: see 'olvido token list'.")]


@commands.command()
@command
def note(
    terminal: Terminal,
    identifier: Id,
    text: Annotated[str, typer.Option("--text", help="The note, without names: it is kept.")],
    by: _By,
) -> None:
    """Add a note to a request of any status."""
    from olvido.requests.workflow import notes

    with opened_context(terminal) as context:
        show(terminal, context, notes.note(context, identifier, text, by=by))


@commands.command()
@command
def assign(
    terminal: Terminal,
    identifier: Id,
    by: _By,
    to: Annotated[
        str | None, typer.Option("--to", help="The account that works on it; default nobody.")
    ] = None,
) -> None:
    """Set the owner of a request: the account that works on it."""
    from olvido.requests.workflow import notes

    with opened_context(terminal) as context:
        show(terminal, context, notes.assign(context, identifier, to, by=by))


@commands.command("import")
@command
def import_(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, one request a row.")],
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="For a file that is not UTF-8, as cp1252.")
    ] = None,
) -> None:
    """Enter the requests of a file: all of them, or none. Names are digested and kept nowhere."""
    from olvido.requests.workflow.intake import import_requests

    with opened_context(terminal) as context:
        made = import_requests(context, file, encoding=encoding)
    found: list[dict[str, Any]] = [
        {
            "line": one.line,
            "id": one.request.id,
            "kind": one.request.kind.value,
            "records": list(one.found),
        }
        for one in made
    ]
    shown = [(r["line"], r["id"], r["kind"], ", ".join(map(str, r["records"]))) for r in found]
    terminal.emit(
        {"requests": found},
        table(("line", "id", "kind", "records by name"), shown),
        f"{len(found)} requests are entered. {file} says who asked, in clear: remove it when it is "
        "needed no more.",
    )


@commands.command("list")
@command
def listing(
    terminal: Terminal,
    waiting: Annotated[
        bool, typer.Option("--open", help="Only those that are not closed.")
    ] = False,
    status: Annotated[str, typer.Option("--status", help="Only those with this status.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="Only those that ask for this.")] = "",
    law: Annotated[str, typer.Option("--law", help="Only those under it, or under none.")] = "",
    due: Annotated[
        str, typer.Option("--due", help="Only those that are late, soon (7 days), later or none.")
    ] = "",
    received: Annotated[
        str, typer.Option("--received", metavar="MONTH", help="Only those that came then.")
    ] = "",
    answered: Annotated[
        str, typer.Option("--answered", metavar="MONTH", help="Only those answered then.")
    ] = "",
    owner: Annotated[
        str, typer.Option("--owner", help="Only those of this account, or of none.")
    ] = "",
    about: Annotated[
        str,
        typer.Option(
            "--about",
            help="Only those about this person, source, dataset, record or model.",
        ),
    ] = "",
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write them there as a table.")
    ] = None,
) -> None:
    """Show requests with the days left to answer them: all, or those that pass the filters."""
    from functools import partial

    from olvido.cli.arguments import require_new_file
    from olvido.files import write
    from olvido.requests.workflow.filters import (
        ALL,
        OPEN,
        RequestFilter,
        ids_named,
        in_order,
        laws_asked,
        row_of,
        search,
    )
    from olvido.requests.workflow.lists import as_csv

    require_new_file(csv)
    if waiting and status:
        raise InputError("give --open or --status, not both")
    with opened_context(terminal) as context:
        every = {one.id: one for one in context.store.requests()}
        rows = [row_of(one, context.settings) for one in every.values()]
        asked = RequestFilter.of(
            laws_asked(context.settings, rows),
            status=OPEN if waiting else status or ALL,
            kind=kind,
            law=law,
            due=due,
            received=received,
            answered=answered,
        )
        if owner:
            asked = asked.but(owner=account_of(context, owner))
        if about:
            named = search(rows, context.store.key, about, partial(ids_named, context.store))
            one = named if isinstance(named, str) else None
            asked = asked.but(about=named.about if isinstance(named, RequestFilter) else "")
            rows = [row for row in rows if isinstance(named, RequestFilter) or row["id"] == one]
        chosen = in_order(asked.of_rows(rows))
        found = [described(every[row["id"]], context.settings) for row in asked.of_rows(rows)]
    if csv is not None:
        write(csv, as_csv(chosen))
    shown = [
        (r["id"], r["kind"], r["status"], r["received_at"][:10], r["law"], r["due"], r["days_left"])
        for r in found
    ]
    columns = ("id", "kind", "status", "received", "law", "due", "days left")
    nothing = "No request is about exactly that: see how it is written in the data."
    terminal.emit(
        {"requests": found},
        table(columns, shown),
        *([nothing] if about and not rows else []),
    )


def account_of(context: StoreContext, name: str) -> str:
    """The id of the account of this label or id; `none` stays `none`."""
    from olvido.accounts import Accounts, Right
    from olvido.requests.workflow.filters import NOBODY

    if name == NOBODY:
        return name
    return Accounts.of(context.settings).named(name, Right.WORK).id
