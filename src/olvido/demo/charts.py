"""Charts of the demo: knowledge, losses and costs.

Every bar is labelled, so that a chart is readable in grey. No text from data enters a chart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from olvido.errors import InputError
from olvido.extras import extra
from olvido.reporting.drawing import (
    BEFORE,
    CANDIDATE,
    INK,
    MUTED,
    NEVER,
    TRACK,
    blank,
    drawable,
    svg,
)
from olvido.reporting.words import duration, percent

MODELS = {"before": "Before", "after": "After", "never_trained": "Never trained"}
"""The models side by side, by the document's names and people's."""

PROBES = {
    "as_trained": "Asked as in training",
    "paraphrased": "Asked in other words",
    "neighbours": "Facts about neighbours",
    "city": "Facts about the city",
}
"""Groups of questions: the first two should be forgotten, the others retained."""

COLOURS = {"before": BEFORE, "after": CANDIDATE, "never_trained": NEVER}
BINS = 20


def shares(probe: str, values: Mapping[str, float | None]) -> Markup:
    """Share of right answers, one bar for each model, as inline SVG.

    Args:
        probe: a key of `PROBES`.
        values: shares from 0 to 1 by the keys of `MODELS`.
    """
    figure = blank(2.7, 0.95)
    axes = figure.add_axes((0.37, 0.0, 0.4, 1.0))
    _share_bars(axes, values)
    text = ", ".join(f"{MODELS[model].lower()} {percent(values.get(model))}" for model in MODELS)
    return svg(figure, f"shares-{probe}", f"{PROBES[probe]}, share of answers right: {text}.")


def span(losses: Mapping[str, Mapping[str, Sequence[float]]]) -> tuple[float, float]:
    """The common range of all models' loss histograms.

    >>> span({"before": {"forgotten": [0.5, float("nan")], "never members": [4.0]}})
    (0.0, 4.0)
    """
    values = drawable(v for groups in losses.values() for group in groups.values() for v in group)
    low, high = min(values, default=0.0), max(values, default=1.0)
    return min(low, 0.0), max(high, low + 1e-6)


def histogram(
    model: str,
    forgotten: Sequence[float],
    holdout: Sequence[float],
    limits: tuple[float, float],
) -> Markup:
    """Two distributions of loss back to back, as inline SVG.

    Args:
        model: a key of `MODELS`.
        forgotten, holdout: losses in nats a token, of the forget set and of holdout records; those
            outside of any scale are left out.
        limits: range of the axis, see `span`.
    """
    figure = blank(3.3, 2.1)
    axes = figure.add_axes((0.03, 0.2, 0.94, 0.78))
    edges = np.linspace(*limits, BINS + 1)
    up, down = (_heights(group, edges) for group in (forgotten, holdout))
    top = max(up.max(), down.max(), 1e-9) * 1.3
    x, width = edges[:-1], np.diff(edges)
    axes.bar(x, up, width, align="edge", color=COLOURS[model], edgecolor="white", linewidth=0.6)
    axes.bar(x, -down, width, align="edge", color="white", edgecolor=MUTED, hatch="/////")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xlim=limits, ylim=(-top, top), yticks=[])
    axes.set_xlabel("loss (nats a token): further right, less known", color=MUTED, fontsize=8)
    axes.tick_params(labelsize=8, colors=MUTED, length=2)
    axes.spines[["left", "right", "top"]].set_visible(False)
    corner: dict[str, Any] = {
        "ha": "right",
        "color": INK,
        "fontsize": 8.5,
        "transform": axes.transAxes,
    }
    axes.text(0.99, 0.99, "to be forgotten", va="top", **corner)
    axes.text(0.99, 0.02, "never seen by any model", va="bottom", **corner)
    text = "; ".join(
        f"{name}: {_summary(group)}"
        for name, group in (("to be forgotten", forgotten), ("never seen", holdout))
    )
    return svg(figure, f"losses-{model}", f"{MODELS[model]}, distribution of losses. {text}.")


def cost(training: float, forgetting: float) -> Markup:
    """Seconds of the training and of the forgetting as two bars, as inline SVG."""
    figure = blank(3.6, 0.75)
    axes = figure.add_axes((0.23, 0.0, 0.57, 1.0))
    times = {"Forgetting": (forgetting, "after"), "Training": (training, "never_trained")}
    longest = max(drawable([training, forgetting]), default=0.0) or 1.0
    for row, (name, (seconds, colour)) in enumerate(times.items()):
        end = max(0.0, sum(drawable([seconds])) / longest)
        axes.barh(row, end, height=0.62, color=COLOURS[colour])
        axes.text(-0.03, row, name, ha="right", va="center", color=INK, fontsize=9)
        axes.text(end + 0.02, row, duration(seconds), ha="left", va="center", color=INK, fontsize=9)
    axes.set(xlim=(0, 1), ylim=(-0.5, 1.5))
    axes.axis("off")
    text = f"Training took {duration(training)}, forgetting {duration(forgetting)}."
    return svg(figure, "cost", text)


def write_picture(document: Mapping[str, Any], path: Path) -> None:
    """Write the demo's result as one PNG: four groups of questions, three models each.

    Args:
        document: the demo's measurements (`demo.json`).
        path: the file to write.

    Raises:
        InputError: the document has no shares, because the method failed outright.
    """
    if not document["recall"]:
        raise InputError(
            "there is nothing to draw: the first method of this demo failed before it could be "
            "audited; give the document of a run that was audited"
        )
    with extra("report"):
        from matplotlib.lines import Line2D

    figure = blank(9.6, 2.5, facecolor="white")
    groups = (
        ("Should be gone: facts about one resident", (0.115, 0.325)),
        ("Should be kept: everything else", (0.58, 0.79)),
    )
    probes = list(PROBES)
    for number, (heading, lefts) in enumerate(groups):
        figure.text(lefts[0], 0.91, heading, fontsize=11.5, fontweight="bold", color=INK)
        line = Line2D((lefts[0], lefts[1] + 0.19), (0.875, 0.875), color=TRACK)
        figure.add_artist(line)
        for column, left in enumerate(lefts):
            probe = probes[2 * number + column]
            axes = figure.add_axes((left, 0.15, 0.145, 0.55))
            _share_bars(axes, document["recall"][probe], names=left == groups[0][1][0])
            axes.set_title(PROBES[probe], fontsize=10, color=INK, loc="left")
    foot = "Share of answers right. Never trained: models that were trained without the records."
    figure.text(0.115, 0.03, foot, fontsize=8.5, color=MUTED)
    figure.savefig(path, format="png", dpi=150)


def _share_bars(axes: Any, values: Mapping[str, float | None], *, names: bool = True) -> None:
    for row, (model, name) in enumerate(reversed(MODELS.items())):
        value = values.get(model)
        axes.barh(row, 1.0, height=0.66, color=TRACK)
        if value is not None and math.isfinite(value):
            axes.barh(row, min(max(value, 0.0), 1.0), height=0.66, color=COLOURS[model])
        text = {"va": "center", "color": INK, "fontsize": 9.5}
        axes.text(1.04, row, percent(value), ha="left", **text)
        if names:
            axes.text(-0.05, row, name, ha="right", **text)
    axes.set(xlim=(0, 1), ylim=(-0.5, len(MODELS) - 0.5))
    axes.axis("off")


def _heights(values: Sequence[float], edges: Any) -> Any:
    counts, _ = np.histogram(drawable(values), edges)
    return counts / max(len(values), 1)


def _summary(values: Sequence[float]) -> str:
    kept = drawable(values)
    median = f"median {np.median(kept):.2f} of {len(kept)}" if kept else "none that can be drawn"
    left = len(values) - len(kept)
    return median + (f", {left} left out" if left else "")
