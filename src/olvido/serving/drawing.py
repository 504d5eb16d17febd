"""The lineage of a dataset or a model as a drawing: who came from whom, from top to bottom.

It is two boxes wide, so that it can be read on a phone. Lines between neighbouring rows are
straight; others run along the edge, so that none crosses a box.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

MOST = 8
"""Boxes above the one in question, and as many below: the nearest."""
BOX = (154, 46)
"""Width and height of a box, in units of the drawing."""
GAP = (12, 26)
EDGE = 18
"""Left and right of the boxes, where lines run; each box has a lane for those that it begins."""
LANES = 4
WIDTH = 2 * (EDGE + BOX[0]) + GAP[0]


@dataclass(frozen=True, slots=True)
class Node:
    """One dataset or model.

    Attributes:
        id: of the dataset or the model; no dataset's is a model's, they differ in length.
        kind: `dataset` or `model`.
        title: what it is called.
        note: what else its box says, in a few words.
        gone: whether its weights were removed.
        serving: whether it is the one that is served.
    """

    id: str
    kind: str
    title: str
    note: str
    gone: bool = False
    serving: bool = False

    @property
    def href(self) -> str:
        """Its page."""
        return f"/{'data' if self.kind == 'dataset' else 'models'}/{self.id}"


@dataclass(frozen=True, slots=True)
class Box:
    """A node in its place: the upper left corner of its box."""

    node: Node
    x: int
    y: int
    asked: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn.

    Attributes:
        boxes: in their places.
        lines: SVG paths.
        height: of all of it.
        says: the same in words.
        above, below: how many more there are that are not drawn.
    """

    boxes: tuple[Box, ...]
    lines: tuple[str, ...]
    height: int
    says: str
    above: int
    below: int


def draw(nodes: Mapping[str, Node], edges: Collection[tuple[str, str]], asked: str) -> Drawing:
    """Draw what a node came from and what came from it.

    Args:
        nodes: all there are, by id.
        edges: pairs of ids, the origin first; none leads back to where it came from.
        asked: id of the node in question.
    """
    up: dict[str, list[str]] = {}
    down: dict[str, list[str]] = {}
    for origin, made in edges:
        up.setdefault(made, []).append(origin)
        down.setdefault(origin, []).append(made)
    before, after = _reached(asked, up), _reached(asked, down)
    shown = {asked, *before[:MOST], *after[:MOST]}
    kept = [(origin, made) for origin, made in edges if {origin, made} <= shown]
    rows = _rows(shown, kept, list(nodes))
    places = {
        one: _place(row, at, len(rows[row]))
        for row in range(len(rows))
        for at, one in enumerate(rows[row])
    }
    row_of = {one: number for number, row in enumerate(rows) for one in row}
    lanes = {one: number % LANES for number, one in enumerate(dict.fromkeys(o for o, _ in kept))}
    return Drawing(
        boxes=tuple(Box(nodes[one], *places[one], one == asked) for row in rows for one in row),
        lines=tuple(
            _line(
                places[origin],
                places[made],
                None if row_of[made] - row_of[origin] == 1 else lanes[origin],
            )
            for origin, made in kept
        ),
        height=len(rows) * (BOX[1] + GAP[1]) - GAP[1] + 4,
        says=_says(nodes, rows, kept),
        above=max(0, len(before) - MOST),
        below=max(0, len(after) - MOST),
    )


def _reached(start: str, ways: Mapping[str, Sequence[str]]) -> list[str]:
    """All that can be reached, the nearest first."""
    found, waiting = {start: None}, [start]
    for one in waiting:
        fresh = [other for other in ways.get(one, ()) if other not in found]
        found |= dict.fromkeys(fresh)
        waiting += fresh
    return waiting[1:]


def _rows(shown: set[str], edges: Collection[tuple[str, str]], order: list[str]) -> list[list[str]]:
    """The boxes of each row, at most two: none above one that it came from."""
    depth = dict.fromkeys(shown, 0)
    for _ in shown:
        for origin, made in edges:
            depth[made] = max(depth[made], depth[origin] + 1)
    # What leads nowhere near stands right above what was made from it.
    for one in sorted(shown, key=lambda one: -depth[one]):
        nearest = [depth[made] for origin, made in edges if origin == one]
        depth[one] = min(nearest, default=depth[one] + 1) - 1
    rows = []
    for level in sorted(set(depth.values())):
        row = [one for one in order if depth.get(one) == level]
        rows += [row[at : at + 2] for at in range(0, len(row), 2)]
    return rows


def _place(row: int, at: int, boxes: int) -> tuple[int, int]:
    x = (WIDTH - BOX[0]) // 2 if boxes == 1 else EDGE + at * (BOX[0] + GAP[0])
    return x, 2 + row * (BOX[1] + GAP[1])


def _line(origin: tuple[int, int], made: tuple[int, int], lane: int | None) -> str:
    """From the lower edge of one box to the upper edge of another, or by a lane to its side."""
    x, y = origin[0] + BOX[0] // 2, origin[1] + BOX[1]
    if lane is None:
        return f"M{x} {y}L{made[0] + BOX[0] // 2} {made[1] - 3}"
    left = made[0] + BOX[0] // 2 <= WIDTH // 2
    aside = 2 + 4 * lane
    edge, side = (aside, made[0] - 1) if left else (WIDTH - aside, made[0] + BOX[0] + 1)
    return f"M{x} {y}v{6 + 4 * lane}H{edge}V{made[1] + BOX[1] // 2}H{side}"


def _says(
    nodes: Mapping[str, Node], rows: list[list[str]], edges: Collection[tuple[str, str]]
) -> str:
    told = []
    for one in (one for row in rows for one in row):
        origins = [nodes[origin].title for origin, made in edges if made == one]
        came = f", from {' and '.join(origins)}" if origins else ""
        node = nodes[one]
        told.append(f"{node.kind} {node.title} ({node.note}){came}")
    return f"Lineage: {'; '.join(told)}."
