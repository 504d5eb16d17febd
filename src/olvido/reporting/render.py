"""From a template to one self-contained HTML file, and a general page for one result."""

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

    Text is escaped, and invisible characters are named; see `words.visible`.
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
    """A page from a package's template, with its values by name."""
    return environment(package).get_template(template).render(shown)


def write_html(html: str, path: Path) -> None:
    """Write a page durably; readers see the old file or the new one."""
    write(path, html.encode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a heading.

    Attributes:
        heading: its heading.
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
    """Write one self-contained HTML page atomically: no script, no external resources.

    Args:
        path: the file to write or to replace.
        title: name of the result.
        lead: the claim, in a sentence.
        facts: facts, by name.
        tables: tables; one without rows is left out.
        open_: limits of the claim, a sentence each.
    """
    template = environment().get_template("sheet.html.j2")
    shown = [table for table in tables if table.rows]
    write_html(
        template.render(title=title, lead=lead, facts=facts, tables=shown, open=open_), Path(path)
    )
