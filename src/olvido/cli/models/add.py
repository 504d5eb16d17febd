"""`olvido models add`: enter a model that was trained elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.models.models import commands
from olvido.cli.output import Terminal, command, table

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["commands"]


@commands.command()
@command
def add(
    terminal: Terminal,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A folder in Hugging Face format, or a hub id.")
    ],
    learned: Annotated[
        list[str] | None,
        typer.Option("--learned", metavar="DATASET", help="A dataset that it learned; repeatable."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="What its training began with: a folder, a hub id, a model."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="How it was trained, as JSON."),
    ] = None,
    unknown_data: Annotated[
        bool, typer.Option("--unknown-data", help="It learned more than these datasets.")
    ] = False,
    without: Annotated[
        Path | None,
        typer.Option(
            "--without",
            metavar="FILE",
            help="Records of the datasets that it did not learn: rows, or ids, one a line (.txt).",
        ),
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="It was trained with its chat template."),
    ] = None,
) -> None:
    """Enter a model that was trained elsewhere; what it learned is declared, not witnessed.

    The folder is copied. With --base and --recipe Olvido trains the retrained models of an audit.
    """
    from olvido.cli.arguments import require_model, widened
    from olvido.errors import InputError, UnknownName
    from olvido.workspace import Workspace

    model = os.path.expanduser(model)
    require_model(model)
    with Workspace(terminal.settings()) as workspace:
        left_out = _left_out(terminal, without)
        try:
            made = workspace.enter(
                model,
                learned=learned or (),
                base=base,
                recipe=recipe,
                unknown_data=unknown_data,
                exclude=left_out,
                chat=chat,
            )
        except UnknownName as error:
            if without is None or error.name not in left_out or not _nameless(without):
                raise
            raise InputError(
                f"{without} has rows without an id, so it is not known which records they are: "
                "give each row the 'id' that it has in its data set, or a .txt with one id a line"
            ) from error
        # What lacks records is entered to be compared with.
        first = without is None and workspace.store.alias("serving") is None
        if first:
            workspace.serve(made.model.id)
    document = made.to_dict() | {
        "path": str(workspace.settings.models / made.model.path),
        "serving": first,
        "note": widened(model, workspace.settings.dtype),
    }
    rows = [(one.what, one.value, one.basis, one.by) for one in made.statements]
    notes = [f"Unknown: {line}." for line in made.unknown]
    notes += [f"Warning: {made.warning}."] if made.warning else []
    notes += [str(document["note"])] if document["note"] else []
    terminal.emit(
        document,
        f"Entered as {made.model.id}" + (", which serves now." if first else "."),
        table(("what", "value", "basis", "by"), rows),
        *notes,
    )


def _left_out(terminal: Terminal, file: Path | None) -> Collection[str]:
    """The ids in a file of ids or of rows; none for None.

    Raises:
        InputError: there is no such file, or nothing in it.
    """
    from olvido.cli.arguments import examples_of
    from olvido.errors import InputError

    if file is None or file.suffix.lower() != ".txt":
        return tuple(row.id for row in examples_of(file, "leave out", tell=terminal.say))
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file} cannot be read ({reason}): give a file of ids") from error
    ids = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise InputError(f"{file} holds no id: give one a line")
    return ids


def _nameless(file: Path) -> bool:
    """Whether a file of rows has one without an id."""
    from olvido.data import read_rows
    from olvido.errors import BadRow

    if file.suffix.lower() == ".txt":
        return False
    rows = (row for _, row in read_rows(file))
    return any(not isinstance(row, BadRow) and row.get("id") is None for row in rows)
