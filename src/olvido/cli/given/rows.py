"""Files of records for commands that need no workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from olvido.tasks import Example


def examples_of(path: Path | None, name: str) -> tuple[Example, ...]:
    """The records of a file (JSONL, CSV, Parquet, or a saved dataset); none for None.

    Raises:
        BadRow: a row that cannot be read or whose id stood before, named by file and line.
        InputError: no such file, or no row in it.
    """
    from olvido.errors import BadRow, InputError
    from olvido.ledger.formats import read_rows
    from olvido.tasks import examples
    from olvido.tasks.base import another

    if path is None:
        return ()
    read: dict[str, Example] = {}
    for line, row in read_rows(path):
        if isinstance(row, BadRow):
            raise row
        try:
            (example,) = examples([row], name)
        except InputError as error:
            reason = str(error).partition(": ")[2] or str(error)
            raise BadRow(str(path), line, reason) from error
        if row.get("id") is None:
            example = another(example, read)
        if example.id in read:
            raise BadRow(str(path), line, f"the id {example.id!r} stands twice; ids are unique")
        read[example.id] = example
    if not read:
        raise InputError(f"{path} holds no record: give a file with one record a line")
    return tuple(read.values())
