"""What the pictures and their tables are made of."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

import olvido.reporting
from olvido.reporting.drawing import BEFORE, CANDIDATE, INK, MUTED, NEVER, OTHER
from olvido.reporting.exhibits import Exhibit, exhibit
from olvido.reporting.plane import PlanePoint, _limits, draw, plane_of
from olvido.reporting.words import percent

from . import sample
from .sample import document, finding

TEMPLATES = Path(olvido.reporting.__file__).parent / "templates"


def drawn(given: dict[str, Any]) -> Exhibit:
    found = exhibit(given, "x")
    assert found is not None
    return found


def test_a_roc_is_read_off_as_it_is() -> None:
    draws = random.Random(4)
    members = [draws.gauss(1, 1) for _ in range(50)]
    others = [draws.gauss(0, 1) for _ in range(300)]
    shown = drawn({"kind": "roc", "candidate": sample.rates(members, others), "never-trained": []})
    area = roc_auc_score([1] * 50 + [0] * 300, members + others)

    def found(rate: float) -> str:
        # Brute force: the best threshold that lets no more than this share of strangers through.
        within = [t for t in members + others if fmean(v >= t for v in others) <= rate]
        return percent(max((fmean(v >= t for v in members) for t in within), default=0.0))

    assert shown.rows == (("This model", f"{area:.3f}", found(0.001), found(0.01), found(0.1)),)
    assert shown.picture is not None
    assert f"area {area:.3f}, finds {found(0.01)} of members at 1%" in shown.picture
    assert "from 0.3% on" in shown.notes[0]


def test_losses_are_told_by_their_quarters() -> None:
    given = sample.losses()
    shown = drawn(given)
    assert [row[0] for row in shown.rows] == [
        "Before: to be forgotten",
        "This model: to be forgotten",
        "Never trained: to be forgotten",
        "This model: holdout, never seen",
    ]
    for row, key in zip(
        shown.rows, ("before", "candidate", "never-trained", "holdout"), strict=True
    ):
        values = given[key]
        assert row[1] == "30"
        assert (row[2], row[4], row[6]) == tuple(
            f"{v:.3f}" for v in (min(values), median(values), max(values))
        )


def test_a_curve_shows_each_never_trained_model() -> None:
    shown = drawn(sample.curve())
    assert shown.columns == (
        "relearning steps",
        "This model",
        "Before",
        "Never trained 1",
        "Never trained 2",
    )
    assert shown.rows[2] == ("5", "0.400", "0.960", "0.110", "0.130")
    assert "This model: 0.100 at 0, 0.600 at 100" in str(shown.picture)


def test_early_steps_have_room() -> None:
    places = _ticks(str(drawn(sample.curve()).picture), 5)
    assert places[1] - places[0] > (places[4] - places[0]) / 10


def _ticks(picture: str, count: int) -> list[float]:
    """Where the first axis has its ticks."""
    found = re.findall(r'<g id="x-xtick_\d+">.*?<use [^>]*x="([\d.]+)"', picture, re.DOTALL)
    assert len(found) == count
    return [float(place) for place in found]


def test_every_layer_is_in_the_table_and_some_at_the_axis() -> None:
    shown = drawn(sample.layers())
    assert len(shown.rows) == 31
    assert shown.rows[13][0] == "13"
    texts = re.findall(r"<text[^>]*>(\d+)</text>", str(shown.picture))
    assert texts[:11] == ["0", "3", "6", "9", "12", "15", "18", "21", "24", "27", "30"]


def test_rows_that_are_too_short_leave_gaps() -> None:
    shown = drawn(sample.bars() | {"candidate": [0.4], "before": None})
    assert shown.columns == ("", "This model", "Never trained")
    assert shown.rows[1] == ("reversed", "–", "0.050")


def test_colours_can_be_set_anew_and_dashes_differ() -> None:
    picture = str(drawn(sample.curve()).picture)
    used = set(re.findall(r"#[0-9a-f]{6}", picture))
    assert used == set(re.findall(r"var\(--[a-z]+, (#[0-9a-f]{6})\)", picture))
    assert {CANDIDATE, BEFORE, NEVER} <= used
    assert len(set(re.findall(r"stroke-dasharray: ([^;]*)", picture))) >= 2


def test_points_of_the_plane_lie_where_the_numbers_say() -> None:
    rmu = document(name="rmu")
    rmu["findings"][0] = finding(value=0.31)
    rmu["never_trained"] = ["sha256:other"]
    plane = plane_of(document(), [rmu, {"name": "lost"}, {"findings": [finding()]}])
    assert plane is not None
    assert plane.metric == "exact match"
    at = {p.name: (round(p.left, 6), round(p.kept, 6)) for p in plane.points}
    assert at == {
        "This model": (0.01, 0.97),
        "Before": (0.95, 0.99),
        "Never trained 1": (0.0, 0.98),
        "Never trained 2": (0.02, 0.99),
        "Never trained 3": (-0.02, 0.97),
        "rmu": (0.26, 0.97),
    }
    first = plane.points[0]
    assert first.left_range == (-0.04, 0.06)
    assert first.kept_range == pytest.approx((0.95, 0.99))
    assert plane.absent == ("lost", "Report 3")
    assert plane.elsewhere == ("rmu",)
    said = str(draw("plane", plane))
    assert "rmu: +0.260 still recalled, 0.970 kept" in said


@pytest.mark.parametrize(
    ("verdict", "passed"), [("pass", True), ("fail", False), ("unknown", False), (None, False)]
)
def test_what_passed_is_told_from_what_did_not_without_colours(
    verdict: str | None, passed: bool
) -> None:
    other = document(name="rmu") | {"verdict": verdict}
    plane = plane_of(document(), [other])
    assert plane is not None
    (drawn,) = [point for point in plane.points if point.kind == "other"]
    assert drawn.passed == passed
    same = replace(
        plane, points=tuple(replace(point, passed=not point.passed) for point in plane.points)
    )
    one, changed = (str(draw("plane", each)) for each in (plane, same))
    assert ("did not pass" in one) is not passed
    assert re.sub("<title.*?</desc>", "", one, flags=re.S) != re.sub(
        "<title.*?</desc>", "", changed, flags=re.S
    )


def test_without_the_numbers_there_is_no_plane() -> None:
    only = [f for f in document()["findings"] if f["audit"] != "retention"]
    assert plane_of(document(findings=only), []) is None


def test_another_metric_serves_where_the_first_is_missing() -> None:
    found = [finding("recall", "probability"), finding("retention", "probability")]
    plane = plane_of(document(findings=found), [])
    assert plane is not None
    assert plane.metric == "probability"


def test_names_in_the_plane_do_not_cover_each_other() -> None:
    crowd = []
    for place in range(7):
        one = document(name=f"method {place}")
        one["findings"][0] = finding(value=0.05 + 0.01 * place)
        crowd.append(one)
    plane = plane_of(document(), crowd)
    assert plane is not None
    picture = str(draw("plane", plane))
    boxes = []
    for style, x, y, text in re.findall(
        r'<text style="([^"]*)" x="([\d.]+)" y="([\d.]+)"[^>]*>\u2068(.*?)\u2069', picture
    ):
        width = 4 * len(text)
        start = float(x) - (width if "end" in style else width / 2 if "middle" in style else 0)
        boxes.append((start, float(y), start + width, float(y) + 8))
    assert len(boxes) == 10  # this model, before, seven others, and one for all never trained
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out(scheme: str) -> None:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    blocks = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    colours = {
        "candidate": CANDIDATE, "before": BEFORE, "never": NEVER, "other": OTHER, **blocks[0],
    }  # fmt: skip
    assert (colours["ink"], colours["muted"]) == (INK, MUTED)
    if scheme == "dark":
        colours |= blocks[1]
    for text in ("ink", "muted", "link", "pass", "fail", "unknown"):
        for ground in ("paper", "soft"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for status in ("pass", "fail", "unknown"):
        for text in ("ink", "muted", status):
            assert contrast(colours[text], colours[f"{status}-soft"]) >= 4.5, (text, status)
    for mark in ("candidate", "before", "never", "other"):
        assert contrast(colours[mark], colours["paper"]) >= 3, mark


def test_an_interval_of_a_few_seeds_leaves_the_points_their_room() -> None:
    points = (
        PlanePoint("npo", "other", 0.05, 0.9, (-0.6, 2.05), (-0.9, 2.4)),
        PlanePoint("graddiff", "other", 0.15, 0.7, None, (0.65, 0.75)),
    )
    figure = Figure()
    axes = figure.add_subplot()
    _limits(axes, points)
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert high - low < 0.6
    assert axes.get_xlim()[0] < 0.0 < 0.15 < axes.get_xlim()[1]
    assert axes.get_ylim()[0] < 0.65 < 0.9 < axes.get_ylim()[1]


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("wide", [0.0, 0.05, 1.5])
def test_an_axis_of_shares_names_no_number_that_is_none(kept: float, wide: float) -> None:
    around = (kept - wide, kept + wide)
    points = [PlanePoint("npo", "other", 0.1, kept, None, around if wide else None)]
    axes = Figure().add_subplot()
    _limits(axes, points)
    low, high = axes.get_ylim()
    assert low <= kept <= high
    assert all(0 <= tick <= 1 for tick in axes.get_yticks())
    assert any(low <= tick <= high for tick in axes.get_yticks())


def test_a_curve_says_after_how_many_steps_it_is_back() -> None:
    for back, said in ((20, "from 20 relearning steps on"), (None, "After none of these more")):
        found = exhibit({**sample.curve(), "returns": back}, "e1", "relearning")
        assert found is not None
        assert said in found.notes[0]
    bare = exhibit(sample.curve(), "e1", "relearning")
    assert bare is not None
    assert bare.notes == ()
