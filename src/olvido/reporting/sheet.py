"""A page of one thing that was made: what may be said of it, its figures, and what is left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from olvido.reporting.render import environment, write_html


@dataclass(frozen=True, slots=True)
class Table:
    """Figures under a heading, as they are shown.

    Attributes:
        heading: what it shows.
        columns: their names.
        rows: a cell for each column; the first names the row.
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_sheet(
    path: Path,
    *,
    title: str,
    lead: str,
    facts: Mapping[str, str],
    tables: Sequence[Table] = (),
    open_: Sequence[str] = (),
) -> None:
    """Write one self-contained HTML page: no script, nothing fetched; whole, or not at all.

    Args:
        path: the file to write or to replace.
        title: what was made.
        lead: what may be said of it, in a sentence.
        facts: what is known, by name.
        tables: figures; one without rows is left out.
        open_: what this does not say, a sentence each.
    """
    template = environment().get_template("sheet.html.j2")
    shown = [table for table in tables if table.rows]
    write_html(
        template.render(title=title, lead=lead, facts=facts, tables=shown, open=open_), Path(path)
    )
