"""The chart of shares beside each other: lines over names, on one scale from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from olvido.reporting.charts import SMALL, WIDTH
from olvido.reporting.drawing import (
    BEFORE,
    CANDIDATE,
    INK,
    MUTED,
    NEVER,
    OTHER,
    PAPER,
    TRACK,
    DrawnTexts,
    blank,
    svg,
)
from olvido.reporting.words import number

_LOOKS = ((OTHER, "^", "-"), (BEFORE, "s", "--"), (CANDIDATE, "o", "-."), (NEVER, "D", ":"))


@dataclass(frozen=True)
class Line:
    """One measure over all names.

    Attributes:
        name: its name.
        look: which of four styles.
        values: from 0 to 1; None where it was not measured.
        ranges: 95% intervals, where known.
        chance: its value by chance, if the chart shall show it.
    """

    name: str
    look: int
    values: Sequence[float | None]
    ranges: Sequence[tuple[float, float] | None]
    chance: float | None = None


def draw(name: str, places: Sequence[str], lines: Sequence[Line]) -> Markup:
    """The lines as SVG, with the names of places below and those of lines above.

    Args:
        name: makes ids unique in the page.
        places: names along the horizontal axis.
        lines: at most four.
    """
    labels = DrawnTexts()
    figure = blank(WIDTH, 3.1)
    axes = figure.add_axes((0.1, 0.24, 0.87, 0.56))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=2.5)
    axes.grid(axis="y", color=TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    for line in lines:
        colour, marker, dashes = _LOOKS[line.look]
        if line.chance is not None:
            axes.axhline(line.chance, color=colour, linewidth=0.7, alpha=0.6)
            axes.text(-0.38, line.chance - 0.015, "chance", size=SMALL - 1, color=MUTED, va="top")
        known = [(at, value) for at, value in enumerate(line.values) if value is not None]
        for at, _ in known:
            if (around := line.ranges[at]) is not None:
                ends = [min(max(end, -0.03), 1.03) for end in around]
                axes.plot([at] * 2, ends, color=colour, linewidth=1, alpha=0.7)
        axes.plot(
            [at for at, _ in known],
            [value for _, value in known],
            color=colour,
            marker=marker,
            markersize=5,
            markerfacecolor=colour if line.look % 2 == 0 else PAPER,
            linestyle=dashes,
            linewidth=1.5,
            label=line.name,
        )
    axes.set(xlim=(-0.4, len(places) - 0.6), ylim=(-0.04, 1.06))
    axes.set_xticks(range(len(places)))
    axes.set_xticklabels(
        [labels.hold(place, 18) for place in places], rotation=28, ha="right",
        rotation_mode="anchor", color=INK,
    )  # fmt: skip
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.1, 1.0), ncols=2, frameon=False, fontsize=SMALL,
        labelcolor=INK, handlelength=2.6, columnspacing=1.2, borderaxespad=0.3,
    )  # fmt: skip
    said = "; ".join(
        f"{line.name}: "
        + ", ".join(
            f"{place} {number(value)}" for place, value in zip(places, line.values, strict=True)
        )
        for line in lines
    )
    return svg(figure, name, f"Lines on one scale from 0 to 1. {said}.", labels)
