"""From a template to one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from olvido.files import write
from olvido.reporting import words


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


def write_html(html: str, path: Path) -> None:
    """Write a page, durably; a reader sees the old file or the new one."""
    write(path, html.encode(errors="replace"))
