"""Files of records for commands that need no workspace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from olvido.cli.given.output import Terminal
    from olvido.tasks import Example

Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding", metavar="NAME", help="Of text files that are not UTF-8, as cp1252 or utf-16."
    ),
]


def reader(
    terminal: Terminal, encoding: str | None
) -> Callable[[Path | None], tuple[Example, ...]]:
    """`examples_of` for the files of one command, which tells on the way how they are read."""
    return partial(examples_of, encoding=encoding, tell=terminal.say)


def examples_of(
    path: Path | None,
    *,
    encoding: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Example, ...]:
    """The records of a file, read and checked as the ledger does it; none for None.

    Args:
        path: the file, see `olvido.ledger.formats.read_rows`.
        encoding: of a text file that is not UTF-8.
        tell: called with a line about how the file is read, where that was found out from it.

    Raises:
        BadRow: a row that cannot be read or whose id stood before, named by file and line.
        InputError: no such file, or no row in it.
    """
    from olvido.errors import BadRow, InputError
    from olvido.ledger.formats import read_rows
    from olvido.ledger.parsing import ClearParser
    from olvido.tasks.base import another, example_of

    if path is None:
        return ()
    parser = ClearParser(str(path))
    read: dict[str, Example] = {}
    for line, row in read_rows(path, encoding=encoding, tell=tell):
        if isinstance(row, BadRow):
            raise row
        # A row with an array is for no language model, and nothing that the ledger keeps.
        content = row if "input" in row and "label" in row else parser.content(line, row)
        try:
            example = example_of(content)
        except InputError as error:
            raise BadRow(str(path), line, str(error)) from error
        if content.get("id") is None:
            example = another(example, read)
        if example.id in read:
            raise BadRow(str(path), line, f"the id {example.id!r} stands twice; ids are unique")
        read[example.id] = example
    if not read:
        raise InputError(f"{path} holds no record: give a file with one record a line")
    return tuple(read.values())
