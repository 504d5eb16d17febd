"""The base of all charts: colours, and the conversion of a figure to SVG inside a page.

Colours are those of Okabe and Ito, which colour-blind people can distinguish; markers and dashes
differ as well, so that a chart is readable in grey. A page may override them by CSS variables, as a
dark one must.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from olvido.extras import extra
from olvido.reporting.words import shortened, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, TRACK, PAPER = "#1c2430", "#5a6472", "#e9ecf0", "#ffffff"
CANDIDATE, BEFORE, NEVER, OTHER = "#0072b2", "#d55e00", "#697583", "#00805d"
LARGEST = 1e6

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    TRACK: "--track",
    PAPER: "--paper",
    CANDIDATE: "--candidate",
    BEFORE: "--before",
    NEVER: "--never",
    OTHER: "--other",
}
_COLOUR = re.compile("|".join(_VARIABLES))
_LABEL = re.compile(r"label-(\d+)-")


def drawable(values: Iterable[float]) -> list[float]:
    """The values that a scale can show: finite, and no larger than a million.

    >>> drawable([1.0, float("inf"), 0.5, 1e300])
    [1.0, 0.5]
    """
    return [value for value in values if abs(value) <= LARGEST]


class DrawnTexts:
    """Texts from data in a chart.

    The drawing library must not read them: it would take `$` for a formula and fail at a script
    that its font lacks. It draws placeholders, and the texts are inserted at the end.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []

    def hold(self, text: object, most: int = 24) -> str:
        """The placeholder of a text, which is cut off at `most` characters."""
        self._texts.append(shortened(visible(str(text)), most))
        return f"label-{len(self._texts) - 1}-"

    def put(self, drawn: str) -> str:
        """The chart with the texts in place of their placeholders."""

        def text(found: re.Match[str]) -> str:
            # Isolated, so that right-to-left text does not move its neighbours.
            return f"\u2068{escape(self._texts[int(found[1])])}\u2069"

        return _LABEL.sub(text, drawn)


def blank(width: float, height: float, **look: Any) -> Figure:
    """An empty figure of this size in inches.

    The drawing library is loaded here: it takes most of a second, and most commands draw nothing.
    """
    with extra("report"):
        from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **look)


def svg(figure: Figure, name: str, description: str, labels: DrawnTexts | None = None) -> Markup:
    """The figure as an SVG element with a description.

    Args:
        figure: the drawn figure.
        name: makes ids unique in the page.
        description: the chart in words.
        labels: texts that were held back from the drawing.
    """
    with extra("report"):
        import matplotlib

    stream = io.StringIO()
    # Text stays text: small, searchable, and set in the page's own font.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "olvido"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    drawn = stream.getvalue()
    drawn = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", drawn[drawn.index("<svg") :])
    drawn = _COLOUR.sub(lambda found: f"var({_VARIABLES[found[0]]}, {found[0]})", drawn)
    opening, rest = drawn.split(">", 1)
    opening = re.sub(r' (width|height)="[\d.]+pt"', "", opening)
    if labels is not None:
        rest = labels.put(rest)
    label = Markup(' role="img" aria-label="{}">').format(visible(description))
    return Markup(opening) + label + Markup(rest)
