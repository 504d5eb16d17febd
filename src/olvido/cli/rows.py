"""Files of records for commands that need no workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from olvido.tasks import Example


def examples_of(path: Path | None, name: str) -> tuple[Example, ...]:
    """The records of a file (JSONL, CSV, Parquet, or a saved dataset); none for None.

    Raises:
        BadRow: a row that cannot be read, named by file and line.
        InputError: no such file, a row without its text, or an id that stands twice.
    """
    from olvido.errors import BadRow, InputError
    from olvido.ledger.formats import read_rows
    from olvido.tasks import examples

    if path is None:
        return ()
    read: list[Example] = []
    for line, row in read_rows(path):
        if isinstance(row, BadRow):
            raise row
        try:
            read += examples([row], name)
        except InputError as error:
            reason = str(error).partition(": ")[2] or str(error)
            raise BadRow(str(path), line, reason) from error
    return examples(read, str(path))
