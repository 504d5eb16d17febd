"""Exhibits of a finding: a chart, with the same data in a table and in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from olvido.reporting import charts
from olvido.reporting.charts import LOOKS
from olvido.reporting.drawing import drawable
from olvido.reporting.words import number, percent, several, shortened

LONGEST_ANSWER = 600
RATES = (0.001, 0.01, 0.1)
"""False positive rates at which a curve is read."""


@dataclass(frozen=True)
class Exhibit:
    """A chart with its data.

    Attributes:
        kind: the kind in the finding.
        heading: the title of the chart.
        explains: how to read it.
        picture: None where nothing can be drawn.
        columns, rows: its data as a table.
        notes: what the chart leaves out.
    """

    kind: str
    heading: str
    explains: str
    picture: Markup | None
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


READING = {
    "relearning": (
        "Relearning, step by step",
        "The model and never-trained ones are taught a half of the forgotten, and asked for the "
        "other, which none of them is taught.",
    ),
    "same-form": (
        "Learning the like, step by step",
        "The model and never-trained ones are taught answers to questions of the same form about "
        "others, and asked for the forgotten.",
    ),
    "retained": (
        "Training on, step by step",
        "The model and never-trained ones go on with records that were kept, and are asked for the "
        "forgotten.",
    ),
    "unrelated": (
        "Learning anything, step by step",
        "The model and never-trained ones are taught something else altogether, and asked for the "
        "forgotten.",
    ),
    "sampling": (
        "Asked again and again",
        "The more answers are drawn at random, the likelier one of them holds the truth, in a "
        "never-trained model by luck.",
    ),
    "lens": (
        "Layer by layer",
        "What each layer would say of the forgotten if it were the last. It may be gone from "
        "the output and still be readable further in.",
    ),
    "patching": (
        "Layer by layer",
        "How much of what the model once knew each layer still holds, put into a model that never "
        "knew it.",
    ),
}
"""Charts of lines along an axis, by audit: a heading, and how to read it."""


def exhibit(drawn_from: Mapping[str, Any], name: str, audit: str = "") -> Exhibit | None:
    """Draw the exhibit of a finding; None where this version knows no such kind.

    Args:
        drawn_from: the exhibit, with its `kind`; see `Finding.exhibit`.
        name: makes ids unique in the page.
        audit: name of the audit.
    """
    draw = KINDS.get(str(drawn_from.get("kind")))
    if draw is None:
        return None
    found = draw(drawn_from, name)
    if audit not in READING:
        return found
    heading, explains = READING[audit]
    return replace(found, heading=heading, explains=f"{explains} {found.explains}".strip())


@dataclass(frozen=True)
class ShownAnswer:
    """One model's answer to a question."""

    text: str
    right: bool


def answers(drawn_from: Mapping[str, Any]) -> dict[str, Any]:
    """The table of questions and answers of an exhibit of that kind.

    An answer with the truth in it is right, regardless of case, spaces or surrounding text.
    """
    rows = [row for row in drawn_from.get("rows") or () if isinstance(row, Mapping)]
    shown = [key for key in LOOKS if any(row.get(key) is not None for row in rows)]
    table = [_asked(row, shown) for row in rows]
    return {
        "models": [LOOKS[key].name for key in shown],
        "rows": table,
        "right": [
            sum(bool(said and said.right) for said in column)
            for column in zip(*(row["given"] for row in table), strict=True)
        ],
    }


def _asked(row: Mapping[str, Any], shown: Sequence[str]) -> dict[str, Any]:
    truth = str(row.get("truth") or "")
    said = {key: _answer(row.get(key), truth) for key in shown}
    now, never = said.get("candidate"), said.get("never-trained")
    return {
        "probe": str(row.get("probe") or ""),
        "question": shortened(str(row.get("question") or ""), LONGEST_ANSWER),
        "truth": truth,
        "given": list(said.values()),
        "leak": bool(now and now.right and not (never and never.right)),
    }


def _answer(text: Any, truth: str) -> ShownAnswer | None:
    if text is None:
        return None
    said, wanted = (" ".join(t.casefold().split()).strip(".") for t in (str(text), truth))
    return ShownAnswer(shortened(str(text), LONGEST_ANSWER), bool(wanted) and wanted in said)


def _losses(drawn_from: Mapping[str, Any], name: str) -> Exhibit:
    unit = str(drawn_from.get("unit") or "nats a token")
    headings = {
        "before": ("before", "Before: to be forgotten"),
        "candidate": ("candidate", "This model: to be forgotten"),
        "never-trained": ("never-trained", "Never trained: to be forgotten"),
        "holdout": ("holdout", "This model: holdout, never seen"),
    }
    groups = {key: _numbers(drawn_from.get(key)) for key in headings if drawn_from.get(key)}
    columns = ("Losses of", "n", "lowest", "quarter", "median", "three quarters", "highest")
    rows, sentences, notes = [], [], []
    for key, values in groups.items():
        finite = drawable(values)
        marks = np.quantile(finite, (0, 0.25, 0.5, 0.75, 1)).tolist() if finite else [None] * 5
        rows.append((headings[key][1], str(len(values)), *(number(mark) for mark in marks)))
        sentences.append(f"{headings[key][1]}: median {number(marks[2])} of {len(finite)}")
        if left := len(values) - len(finite):
            notes.append(
                f"{headings[key][1]}: {several(left, 'value')} not finite or beyond any scale, not "
                "drawn."
            )
    return Exhibit(
        "losses",
        "Losses, side by side",
        "A model is less surprised by what it was trained on: its loss is lower. After a good "
        "forgetting the losses lie where those of never-trained models lie, neither lower nor "
        "higher. Each row is drawn to its own height; the upright stroke is the median.",
        charts.losses(
            name,
            f"Distributions of loss in {unit}. {'; '.join(sentences)}.",
            [(*headings[key], values) for key, values in groups.items()],
            unit,
        )
        if any(drawable(values) for values in groups.values())
        else None,
        columns,
        tuple(rows),
        tuple(notes),
    )


def _roc(drawn_from: Mapping[str, Any], name: str) -> Exhibit:
    curves = [
        (kind, *pair)
        for kind in LOOKS
        for curve in _many(drawn_from.get(kind))
        if (pair := _rates(curve)) is not None
    ]
    rows, sentences = [], []
    for place, (kind, false, true) in enumerate(curves):
        label = LOOKS[kind].name
        if kind == "never-trained" and sum(c[0] == kind for c in curves) > 1:
            label += f" {place - [c[0] for c in curves].index(kind) + 1}"
        found = [float(true[false <= rate].max(initial=0.0)) for rate in RATES]
        area = float(((true[1:] + true[:-1]) * np.diff(false)).sum() / 2)
        rows.append((label, number(area), *(percent(value) for value in found)))
        sentences.append(
            f"{label}: area {number(area)}, finds {percent(found[1])} of members at 1% false "
            f"alarms and {percent(found[0])} at 0.1%"
        )
    finest = min(
        (float(f[f > 0].min(initial=1.0)) for k, f, _ in curves if k == "candidate"), default=0
    )
    notes = (
        [
            f"With the holdout at hand, false alarms are measurable from "
            f"{percent(finest)} on: left of that the curve rests on none of its records."
        ]
        if finest > RATES[0]
        else []
    )
    return Exhibit(
        "roc",
        "Members found, and false alarms",
        "Both axes are logarithmic, because an attacker who is sure of a few people does harm even "
        "where the average tells nothing. A curve on the dotted diagonal is a coin toss; above it, "
        "members are found.",
        charts.roc(
            name,
            "Receiver operating characteristic on logarithmic axes from 0.1% to 100%. "
            f"{'; '.join(sentences)}.",
            curves,
        )
        if curves
        else None,
        (
            "Attack on",
            "area under the curve",
            *(f"found at {percent(r)} false alarms" for r in RATES),
        ),
        tuple(rows),
        tuple(notes),
    )


def _rates(curve: Any) -> tuple[Any, Any] | None:
    """False and true positive rates in rising order, from (0, 0) to (1, 1)."""
    if not isinstance(curve, Mapping):
        return None
    pairs = zip(_numbers(curve.get("fpr")), _numbers(curve.get("tpr")), strict=False)
    known = sorted((f, t) for f, t in pairs if 0 <= f <= 1 and 0 <= t <= 1)
    if not known:
        return None
    false, true = zip((0.0, 0.0), *known, (1.0, 1.0), strict=True)
    return np.array(false), np.array(true)


def _curve(drawn_from: Mapping[str, Any], name: str) -> Exhibit:
    at = _numbers(drawn_from.get("at"))
    # The first steps matter most; points outside of the log scale stay in order.
    usable = all(math.isfinite(place) and place >= 0 for place in at)
    spread = [math.log1p(place) if usable else float(i) for i, place in enumerate(at)]
    x = str(drawn_from.get("x") or "steps")
    axis = Axis(spread, [f"{place:g}" for place in at])
    found = _lines(drawn_from, name, axis, x, "Step by step", BAND)
    if "returns" not in drawn_from:
        return found
    back = drawn_from["returns"]
    note = (
        f"More than is tolerated above never-trained models from {back:g} {x} on."
        if isinstance(back, (int, float))
        else "After none of these more than is tolerated above never-trained models."
    )
    return replace(found, notes=(note,))


def _layers(drawn_from: Mapping[str, Any], name: str) -> Exhibit:
    at = _numbers(drawn_from.get("layers"))
    every = max(1, math.ceil(len(at) / 12))
    names = [f"{place:g}" if i % every == 0 else "" for i, place in enumerate(at)]
    return _lines(
        drawn_from,
        name,
        Axis(list(map(float, range(len(at)))), names, [f"{place:g}" for place in at]),
        "layer, from the first to the last",
        "Layer by layer",
        BAND,
    )


BAND = "Where there are several never-trained models, a shaded band spans them."


@dataclass(frozen=True)
class Axis:
    """Positions, their labels, and their names in a table where these differ."""

    at: list[float]
    ticks: list[str]
    names: list[str] | None = None


def _lines(
    drawn_from: Mapping[str, Any], name: str, axis: Axis, x: str, heading: str, explains: str
) -> Exhibit:
    y = str(drawn_from.get("y") or "value")
    size = len(axis.at)
    series = [(k, [_fit(row, size) for row in _table(drawn_from.get(k))]) for k in LOOKS]
    series = [(kind, models) for kind, models in series if models]
    names = axis.names or axis.ticks
    columns, cells, sentences = [x], [], []
    for kind, models in series:
        for place, row in enumerate(models, 1):
            label = LOOKS[kind].name + (f" {place}" if len(models) > 1 else "")
            columns.append(label)
            cells.append(row)
            known = [(n, v) for n, v in zip(names, row, strict=True) if math.isfinite(v)]
            if known:
                (first, start), (last, end) = known[0], known[-1]
                sentences.append(f"{label}: {number(start)} at {first}, {number(end)} at {last}")
    return Exhibit(
        str(drawn_from["kind"]),
        heading,
        explains,
        charts.lines(
            name, f"{y}, by {x}. {'; '.join(sentences)}.", axis.at, axis.ticks, series, x, y
        )
        if sentences
        else None,
        tuple(columns),
        tuple((n, *(_cell(row[i]) for row in cells)) for i, n in enumerate(names)),
    )


def _bars(drawn_from: Mapping[str, Any], name: str) -> Exhibit:
    names = [str(row) for row in drawn_from.get("x") or ()]
    y = str(drawn_from.get("y") or "value")
    series = [
        (kind, _fit(_numbers(drawn_from.get(kind)), len(names)))
        for kind in LOOKS
        if drawn_from.get(kind)
    ]
    rows = tuple((row, *(_cell(values[i]) for _, values in series)) for i, row in enumerate(names))
    models = [LOOKS[kind].name for kind, _ in series]
    sentences = "; ".join(
        f"{row[0]}: " + ", ".join(f"{m.lower()} {v}" for m, v in zip(models, row[1:], strict=True))
        for row in rows
    )
    return Exhibit(
        "bars",
        "Group by group",
        "A pale line joins this model to never-trained ones: the longer, the further apart.",
        charts.dots(name, f"{y}. {sentences}.", names, series, y) if names and series else None,
        ("", *models),
        rows,
    )


def _numbers(values: Any) -> list[float]:
    """A list of numbers, nan for anything else; anything but a list is empty."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    return [
        float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else math.nan
        for v in values
    ]


def _table(values: Any) -> list[list[float]]:
    """One row for each model, from either one row or several."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return []
    if any(isinstance(row, Sequence) for row in values):
        return [_numbers(row) for row in values]
    return [_numbers(values)]


def _many(curves: Any) -> list[Any]:
    return list(curves) if isinstance(curves, (list, tuple)) else [curves]


def _fit(row: Sequence[float], size: int) -> list[float]:
    return [*row[:size], *[math.nan] * (size - len(row))]


def _cell(value: float) -> str:
    return number(value) if math.isfinite(value) else "–"


KINDS: dict[str, Callable[[Mapping[str, Any], str], Exhibit]] = {
    "losses": _losses,
    "roc": _roc,
    "curve": _curve,
    "layers": _layers,
    "bars": _bars,
}
"""Exhibits with charts, by kind; `answers` are a table."""
