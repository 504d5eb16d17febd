"""From a template to one self-contained HTML file.

A page of one thing that was made: what may be said of it, its figures, and what is left open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from olvido.files import write
from olvido.reporting import words


@cache
def environment(*packages: str) -> Environment:
    """Templates of these packages, and those that all pages share.

    Text is escaped, and its unseen characters are named; see `words.visible`.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(p) for p in (*packages, "olvido.reporting")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["marks"] = words.MARKS
    made.filters |= {
        "percent": words.percent,
        "number": words.number,
        "probability": words.probability,
        "duration": words.duration,
        "tolerance": words.tolerance,
        "mean": words.mean,
        "several": words.several,
        "count_of": words.count,
        "short_digest": words.digest,
    }
    return made


def _shown(value: Any) -> Any:
    return words.visible(value) if isinstance(value, str) and type(value) is not Markup else value


def html_of(package: str, template: str, /, **shown: Any) -> str:
    """A page of a package's template, with what is to be shown by name."""
    return environment(package).get_template(template).render(shown)


def write_html(html: str, path: Path) -> None:
    """Write a page, durably; a reader sees the old file or the new one."""
    write(path, html.encode(errors="replace"))


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
