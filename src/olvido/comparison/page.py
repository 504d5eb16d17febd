"""The plane of forgetting and keeping, and a page around it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from olvido.audits.report.plane import Plane, Point, Range, draw
from olvido.comparison.cell import NEVER, ORIGINAL
from olvido.reporting.render import environment, write_html

KINDS = {ORIGINAL: "before", NEVER: "never-trained"}


def picture(document: Mapping[str, Any]) -> Markup | None:
    """Every row as a point with its intervals over seeds; None where nothing was measured."""
    points = [
        Point(
            row["method"],
            KINDS.get(row["method"], "other"),
            row["recall"]["mean"],
            row["kept"]["mean"],
            _range(row["recall"]),
            _range(row["kept"]),
            passed=row["passed"] == row["runs"] or row["method"] in KINDS,
        )
        for row in document["rows"]
        if row["recall"] and row["kept"]
    ]
    return draw("plane", Plane("exact match", tuple(points), (), ())) if points else None


def write_page(document: Mapping[str, Any], path: Path) -> None:
    """Write one self-contained page.

    Raises:
        MissingExtra: the package that draws is not installed.
    """
    template = _environment().get_template("comparison.html.j2")
    own = list(dict.fromkeys(name for row in document["rows"] for name in row["metrics"]))
    write_html(template.render(document=document, picture=picture(document), own=own), path)


@cache
def _environment() -> Environment:
    return environment("olvido.comparison")


def _range(value: Mapping[str, Any]) -> Range | None:
    found = value["interval"]
    return None if found is None else (found[0], found[1])
