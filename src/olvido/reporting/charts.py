"""The charts of an audit.

Their meaning is in the exhibit's table and description (`exhibits`); here they are only drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from olvido.reporting.drawing import (
    BEFORE,
    CANDIDATE,
    INK,
    MUTED,
    NEVER,
    PAPER,
    TRACK,
    DrawnTexts,
    blank,
    drawable,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL = 7.5
WIDTH = 3.5
BINS = 24
LOWEST_RATE = 1e-3


@dataclass(frozen=True)
class LineStyle:
    """The style of one kind of model, in colour and without."""

    name: str
    colour: str
    marker: str
    dashes: str
    filled: bool
    width: float = 1.6


LOOKS = {
    "candidate": LineStyle("This model", CANDIDATE, "o", "-", True, 2.2),
    "before": LineStyle("Before", BEFORE, "s", "--", False),
    "never-trained": LineStyle("Never trained", NEVER, "D", ":", True),
}
"""Styles of models, by their names in an exhibit."""

HOLDOUT = LineStyle("Holdout", CANDIDATE, "o", "-", False)
"""Style of the candidate on holdout records."""


def losses(
    name: str, description: str, rows: Sequence[tuple[str, str, Sequence[float]]], unit: str
) -> Markup:
    """Distributions of loss, stacked on one scale.

    Args:
        name, description: see `drawing.svg`.
        rows: a key of `LOOKS` (or another, for the holdout), a heading, and losses; those outside
            of any scale are left out. Each row is as high as its own peak.
        unit: unit of the losses.
    """
    labels = DrawnTexts()
    figure, axes = _canvas(0.62 * len(rows) + 0.55, left=0.03, bottom=0.42)
    finite = [drawable(values) for _, _, values in rows]
    every = [value for values in finite for value in values]
    low, high = min(every, default=0.0), max(every, default=1.0)
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    shares = [np.histogram(v, edges)[0] / max(len(v), 1) for v in finite]
    for place, ((kind, heading, _), share, values) in enumerate(
        zip(rows, shares, finite, strict=True)
    ):
        look, base = LOOKS.get(kind, HOLDOUT), -place
        solid = {"color": look.colour} if look.filled else {"color": PAPER, "hatch": "/////"}
        axes.bar(
            edges[:-1],
            0.62 * share / max(float(share.max()), 1e-9),
            np.diff(edges),
            bottom=base,
            align="edge",
            edgecolor=PAPER if look.filled else look.colour,
            linewidth=0.5,
            **solid,
        )
        axes.axhline(base, color=MUTED, linewidth=0.6)
        text: dict[str, Any] = {"fontsize": SMALL, "va": "top", "color": INK}
        axes.text(0.0, base + 0.86, heading, transform=axes.get_yaxis_transform(), **text)
        if values:
            middle = float(np.median(values))
            axes.plot([middle] * 2, [base, base + 0.62], color=INK, linewidth=1.1)
            at = {"ha": "right", "transform": axes.get_yaxis_transform()}
            axes.text(1.0, base + 0.86, f"median {middle:.2f}", **text | at)
    axes.set(ylim=(0.97 - len(rows), 0.9), yticks=[])
    axes.set_xlabel(labels.hold(f"loss in {unit}: further right, less known", 60))
    axes.spines[["left", "bottom"]].set_visible(False)
    return svg(figure, name, description, labels)


def roc(name: str, description: str, curves: Sequence[tuple[str, Any, Any]]) -> Markup:
    """True over false positive rates on logarithmic axes, from a thousandth to one.

    Args:
        name, description: see `drawing.svg`.
        curves: a key of `LOOKS`, false and true positive rates in rising order; one key may come
            several times.
    """
    figure, axes = _canvas(3.3, left=0.68, bottom=0.72, top=0.3, right=0.25)
    floor = LOWEST_RATE * 0.8
    diagonal = [floor, 1.0]
    axes.plot(diagonal, diagonal, color=INK, linewidth=0.8, dashes=(1, 2))
    # Below the end of the diagonal, where no curve of a useful attack runs.
    axes.text(0.16, 0.105, "a coin toss", fontsize=SMALL, color=MUTED, rotation=41, va="top")
    for rate, text in ((0.001, "0.1%"), (0.01, "1%")):
        axes.axvline(rate, color=MUTED, linewidth=0.7, alpha=0.7)
        axes.text(rate * 1.08, 1.12, f"{text} alarms", fontsize=7, color=MUTED)
    drawn = set()
    for kind, false, true in sorted(curves, key=lambda curve: curve[0] == "candidate"):
        look = LOOKS[kind]
        axes.step(
            np.maximum(false, floor),
            np.maximum(true, floor),
            where="post",
            color=look.colour,
            linestyle=look.dashes,
            linewidth=look.width,
            label=look.name if kind not in drawn else "_again",
        )
        drawn.add(kind)
    ticks = [0.001, 0.01, 0.1, 1.0]
    names = ["0.1%", "1%", "10%", "100%"]
    axes.set(xscale="log", yscale="log", xlim=(floor, 1.0), ylim=(floor, 1.0))
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.minorticks_off()
    axes.set_xlabel("false positives: non-members taken for members")
    axes.set_ylabel("true positives: members found", fontsize=SMALL, color=MUTED)
    _legend(axes, -0.16)
    return svg(figure, name, description)


def lines(
    name: str,
    description: str,
    at: Sequence[float],
    ticks: Sequence[str],
    series: Sequence[tuple[str, Sequence[Sequence[float]]]],
    x: str,
    y: str,
) -> Markup:
    """Values along an axis, one line for each kind of model; several models of a kind have a band.

    Args:
        name, description: see `drawing.svg`.
        at: positions on the axis.
        ticks: their labels; empty: none.
        series: a key of `LOOKS` and one row of values for each model, nan for a missing one.
        x, y: labels of the axes.
    """
    labels = DrawnTexts()
    figure, axes = _canvas(2.6, left=0.5, bottom=0.72, top=0.28)
    for kind, models in sorted(series, key=lambda pair: pair[0] == "candidate"):
        look = LOOKS[kind]
        rows = _held(models)
        if rows.size == 0:
            continue
        middle = [_mean(column) for column in rows.T]
        if len(rows) > 1:
            low, high = zip(*(_ends(column) for column in rows.T), strict=True)
            axes.fill_between(at, low, high, color=look.colour, alpha=0.2, linewidth=0)
        axes.plot(
            at,
            middle,
            color=look.colour,
            linestyle=look.dashes,
            linewidth=look.width,
            marker=look.marker,
            markersize=4,
            markevery=math.ceil(len(at) / 10),
            markerfacecolor=look.colour if look.filled else PAPER,
            label=look.name,
        )
    axes.set_xticks(at, ticks)
    axes.margins(x=0.03, y=0.12)
    axes.grid(axis="y", color=TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(labels.hold(x, 60))
    above: dict[str, Any] = {"fontsize": SMALL, "color": MUTED, "transform": axes.transAxes}
    axes.text(0.0, 1.05, labels.hold(y, 60), **above)
    _legend(axes, -0.24)
    return svg(figure, name, description, labels)


def dots(
    name: str,
    description: str,
    rows: Sequence[str],
    series: Sequence[tuple[str, Sequence[float]]],
    y: str,
) -> Markup:
    """One row for each group, one mark for each kind of model: zero and equal values stay visible.

    Args:
        name, description: see `drawing.svg`.
        rows: names of the groups.
        series: a key of `LOOKS` and a value for each group, nan for a missing one.
        y: label of the values.
    """
    labels = DrawnTexts()
    height = 0.24 * len(rows) + 1.0
    figure, axes = _canvas(height, left=1.3, bottom=0.68)
    values = {kind: _held([given])[0] for kind, given in series}
    places = -np.arange(len(rows), dtype=float)
    for place, row in zip(places, rows, strict=True):
        axes.text(
            -0.03,
            place,
            labels.hold(row, 22),
            ha="right",
            va="center",
            fontsize=SMALL + 0.5,
            color=INK,
            transform=axes.get_yaxis_transform(),
        )
    across = axes.get_yaxis_transform()
    axes.hlines(places, 0, 1, transform=across, color=TRACK, linewidth=0.8, zorder=0.5)
    if "never-trained" in values and "candidate" in values:
        ends = (values["never-trained"], values["candidate"])
        axes.hlines(places, *ends, color=CANDIDATE, linewidth=2.4, alpha=0.35)
    for kind, size in (("never-trained", 8.5), ("before", 6.5), ("candidate", 5.5)):
        if kind not in values:
            continue
        look = LOOKS[kind]
        axes.plot(
            values[kind],
            places,
            linestyle="none",
            color=look.colour,
            marker="|" if kind == "never-trained" else look.marker,
            markersize=size,
            markeredgewidth=2.2 if kind == "never-trained" else 1.3,
            markerfacecolor=look.colour if look.filled else "none",
            label=look.name,
            clip_on=False,
        )
    axes.set(ylim=(0.6 - len(rows), 0.6), yticks=[])
    axes.margins(x=0.05)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    # Beneath the names as well: the label may be longer than the axis.
    axes.set_xlabel(labels.hold(y, 60))
    axes.xaxis.set_label_coords(0.5, 0.42 / height, transform=figure.transFigure)
    _legend(axes, -0.42 / (0.24 * len(rows) + 0.22), left=0.2)
    return svg(figure, name, description, labels)


def _canvas(
    height: float, *, left: float, bottom: float, top: float = 0.1, right: float = 0.12
) -> tuple[Figure, Any]:
    """A figure with margins in inches, and its axes."""
    figure = blank(WIDTH, height)
    axes = figure.add_axes(
        (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (bottom + top) / height)
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=2.5)
    axes.xaxis.label.set(size=SMALL, color=MUTED)
    return figure, axes


def _legend(axes: Any, below: float, *, left: float = 0.5) -> None:
    held = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [look.name for look in LOOKS.values() if look.name in held]
    if names:
        axes.legend(
            [held[name] for name in names],
            names,
            loc="upper center",
            bbox_to_anchor=(left, below),
            ncol=3,
            frameon=False,
            fontsize=SMALL,
            labelcolor=INK,
            handlelength=2.4,
            columnspacing=1.1,
        )


def _held(models: Iterable[Sequence[float]]) -> Any:
    """Values with nan in place of those outside of any scale. [models, values]"""
    rows = [[v if v in drawable([v]) else math.nan for v in model] for model in models]
    return np.array(rows, dtype=float)


def _mean(column: Any) -> float:
    known = column[np.isfinite(column)]
    return float(known.mean()) if known.size else math.nan


def _ends(column: Any) -> tuple[float, float]:
    known = column[np.isfinite(column)]
    return (float(known.min()), float(known.max())) if known.size else (math.nan, math.nan)
