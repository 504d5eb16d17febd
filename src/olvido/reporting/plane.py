"""The chart of forgetting and retention: every model and method as a point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from olvido.reporting.charts import LOOKS, SMALL, WIDTH
from olvido.reporting.drawing import (
    INK,
    MUTED,
    NEVER,
    OTHER,
    PAPER,
    TRACK,
    DrawnTexts,
    blank,
    drawable,
    svg,
)
from olvido.reporting.words import number, several

METRICS = ("exact match", "probability")
"""Metrics that may stand for recall: the first that both axes have is used."""

Range = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PlanePoint:
    """One model or method.

    Attributes:
        name: its name.
        kind: a key of `LOOKS`, or `other`.
        left: recall of the forget set above never-trained models.
        kept: recall of the retain set.
        left_range, kept_range: 95% intervals, where known.
        passed: whether every audit of it passed: others are drawn hollow, with a note.
    """

    name: str
    kind: str
    left: float
    kept: float
    left_range: Range | None = None
    kept_range: Range | None = None
    passed: bool = True


@dataclass(frozen=True)
class Plane:
    """All points, and the reports without one.

    Attributes:
        metric: the metric that stands for recall.
        points: the points.
        absent: reports that lack the numbers.
        elsewhere: reports compared with other never-trained models than this one.
    """

    metric: str
    points: tuple[PlanePoint, ...]
    absent: tuple[str, ...]
    elsewhere: tuple[str, ...]


def plane_of(document: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Plane | None:
    """The plane of a report with reports of other methods; None where it lacks the numbers."""
    for metric in METRICS:
        found = _axes_of(document, metric)
        if found is not None:
            break
    else:
        return None
    left, kept = found
    points = [_point("This model", "candidate", left, kept)]
    before = (_finite(left.get("before")), _finite(kept.get("before")))
    if before[0] is not None and before[1] is not None:
        points.append(PlanePoint("Before", "before", before[0] - left["expected"], before[1]))
    pairs = zip(left["never_trained"], kept["never_trained"], strict=False)
    known = [(a, b) for a, b in pairs if _finite(a) is not None and _finite(b) is not None]
    points += [
        PlanePoint(
            f"Never trained {i}" if len(known) > 1 else "Never trained",
            "never-trained",
            a - left["expected"],
            b,
        )
        for i, (a, b) in enumerate(known, 1)
    ]
    absent, elsewhere = [], []
    for place, other in enumerate(others, 1):
        name = str(other.get("name") or f"Report {place}")
        pair = _axes_of(other, metric)
        if pair is None:
            absent.append(name)
            continue
        point = _point(name, "other", *pair)
        points.append(replace(point, passed=other.get("verdict") == "pass"))
        if set(other.get("never_trained", ())) != set(document["never_trained"]):
            elsewhere.append(name)
    return Plane(metric, tuple(points), tuple(absent), tuple(elsewhere))


def _axes_of(document: Mapping[str, Any], metric: str) -> tuple[Any, Any] | None:
    """The findings of a report's coordinates: on the forget set, and on the retain set."""
    pair: list[Any] = []
    for audit in ("recall", "retention"):
        for found in document.get("findings", ()):
            if (found.get("audit"), found.get("metric")) == (audit, metric):
                pair.append(found)
                break
    numbers = [_finite(found.get(key)) for found in pair for key in ("value", "expected")]
    return (pair[0], pair[1]) if len(pair) == 2 and None not in numbers else None


def _point(name: str, kind: str, left: Mapping[str, Any], kept: Mapping[str, Any]) -> PlanePoint:
    expected = kept["expected"]
    around = _range(kept)
    return PlanePoint(
        name,
        kind,
        left["value"] - left["expected"],
        kept["value"],
        _range(left),
        # The interval is of a difference, and the axis shows the value itself.
        None if around is None else (around[0] + expected, around[1] + expected),
    )


def _range(found: Mapping[str, Any]) -> Range | None:
    low, high = map(_finite, found.get("interval") or (None, None))
    return None if low is None or high is None else (low, high)


def _finite(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and drawable([value]) else None


def draw(name: str, plane: Plane) -> Markup:
    """The plane as SVG: the target is the never-trained models' position."""
    labels = DrawnTexts()
    height = 3.2
    figure = blank(WIDTH, height)
    axes = figure.add_axes((0.13, 0.15, 0.83, 0.77))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=2.5)
    axes.grid(color=TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axvline(0, color=NEVER, linewidth=1, linestyle=":")
    for point in plane.points:
        _mark(axes, point)
    _limits(axes, plane.points)
    axes.set_xlabel(
        "recall of the forgotten, above never trained: 0 is the aim", size=SMALL, color=MUTED
    )
    axes.text(
        0.0, 1.04, "kept: recall of what was to stay", transform=axes.transAxes,
        size=SMALL, color=MUTED,
    )  # fmt: skip
    _name(axes, _named(plane.points), labels)
    described = "; ".join(
        f"{p.name}: {number(p.left, sign=True)} still recalled, {number(p.kept)} kept"
        + ("" if p.passed else ", did not pass")
        for p in plane.points
    )
    said = (
        f"Plane of {several(len(plane.points), 'point')}, by {plane.metric}. Across: recall of "
        f"the forgotten above never-trained models; up: recall of what was to stay. {described}."
    )
    return svg(figure, name, said, labels)


def _mark(axes: Any, point: PlanePoint) -> None:
    look = LOOKS.get(point.kind)
    colour, marker = (look.colour, look.marker) if look else (OTHER, "^")
    if point.left_range is not None:
        axes.plot(point.left_range, [point.kept] * 2, color=colour, linewidth=1, alpha=0.7)
    if point.kept_range is not None:
        axes.plot([point.left] * 2, point.kept_range, color=colour, linewidth=1, alpha=0.7)
    size = {"candidate": 7.5, "never-trained": 4.5}.get(point.kind, 6.0)
    filled = look.filled if look else point.passed
    axes.plot(
        [point.left],
        [point.kept],
        marker=marker,
        color=colour,
        markersize=size,
        markerfacecolor=colour if filled else PAPER,
        markeredgewidth=1.3,
        linestyle="none",
    )


def _limits(axes: Any, points: Sequence[PlanePoint]) -> None:
    """Set limits for every point, and for intervals as far as points stay readable.

    With few seeds an interval of a share may reach far beyond 0 and 1: it is cut off at the edge.
    """
    low, high = _room_for([0.0, *(p.left for p in points)], [p.left_range for p in points], 0.2)
    axes.set_xlim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    low, high = _room_for([p.kept for p in points], [p.kept_range for p in points], 0.25)
    # Retention is a share: beyond 0 and 1 there is only room for a mark.
    low, high = max(0.0, min(low, high - 0.25)), min(1.0, high)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.12 * (high - low))
    axes.set_yticks([tick for tick in axes.get_yticks() if low - 1e-9 <= tick <= high + 1e-9])


def _room_for(
    values: Sequence[float], ranges: Sequence[Range | None], least: float
) -> tuple[float, float]:
    """The range of an axis, without its margins.

    >>> _room_for([0.4, 0.6], [(-0.6, 2.05), None], 0.2)
    (0.3, 0.7)
    """
    low, high = min(values), max(values)
    spare = max(high - low, least) / 2
    ends = [end for one in ranges if one for end in one]
    low, high = (
        min([low, *(max(end, low - spare) for end in ends)]),
        max([high, *(min(end, high + spare) for end in ends)]),
    )
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    return round(low, 12), round(high, 12)


def _named(points: Sequence[PlanePoint]) -> list[PlanePoint]:
    """Points to label: never-trained models share one label."""
    never = [p for p in points if p.kind == "never-trained"]
    return [*(p for p in points if p.kind != "never-trained"), *never[:1]]


def _name(axes: Any, points: Sequence[PlanePoint], labels: DrawnTexts) -> None:
    """Write each name where it covers no other name and no point, with a line to its point.

    The nearest free place is used; sizes are estimates, since the font is the page's.
    """
    figure = axes.figure
    scale = 72 / figure.dpi
    to_points = axes.transData.transform
    box = axes.get_window_extent()
    low_x, low_y, high_x, high_y = (v * scale for v in (box.x0, box.y0, box.x1, box.y1))
    spots = {id(p): tuple(to_points((p.left, p.kept)) * scale) for p in points}
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots.values()]
    for point in points:
        across, up = point.left_range or (point.left,) * 2, point.kept_range or (point.kept,) * 2
        ends = [(across[0], point.kept), (across[1], point.kept)]
        ends += [(point.left, up[0]), (point.left, up[1])]
        (a, b), (c, d), (e, f), (g, h) = to_points(ends) * scale
        taken += [(a, b - 2, c, d + 2), (e - 2, f, g + 2, h)]
    places = [
        (math.cos(turn) * away, math.sin(turn) * away)
        for away in (9, 18, 30, 44, 60, 80)
        for turn in (math.radians(d) for d in (0, 180, 45, 135, -45, -135, 90, -90))
    ]
    for point in points:
        text = "Never trained" if point.kind == "never-trained" else point.name
        width = 4.3 * min(len(text), 20) + 2
        x, y = spots[id(point)]
        free = [
            place
            for place in places
            if (spot := _room(x, y, *place, width))[0] >= low_x + 3
            and spot[2] <= high_x + 8
            and spot[1] >= low_y
            and spot[3] <= high_y + 8
            and not any(_overlap(spot, other) for other in taken)
        ]
        dx, dy = free[0] if free else places[0]
        taken.append(_room(x, y, dx, dy, width))
        axes.annotate(
            labels.hold(text, 20),
            (point.left, point.kept),
            xytext=(dx, dy),
            textcoords="offset points",
            ha="right" if dx < -1 else "center" if abs(dx) <= 1 else "left",
            va="center",
            fontsize=SMALL + 0.5,
            fontweight="bold" if point.kind == "candidate" else "normal",
            color=INK,
            arrowprops=None
            if math.hypot(dx, dy) < 15
            else {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 4},
        )


def _room(x: float, y: float, dx: float, dy: float, width: float) -> Box:
    """The box of a name beside a point, centred above or below it, all in typographic points."""
    start = x + dx - (width if dx < -1 else width / 2 if abs(dx) <= 1 else 0)
    return (start, y + dy - 4.5, start + width, y + dy + 4.5)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
