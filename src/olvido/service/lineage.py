"""The lineage of datasets and models, as the API and the pages show it.

The drawing has origins above and descendants below. It is two boxes wide, to fit a phone. Lines
between neighbouring rows are straight; others run along the edge, so that none crosses a box.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from olvido.ledger.facts import DatasetVersion, Model
from olvido.ledger.serving import SERVING, in_brief
from olvido.ledger.store import Store
from olvido.ledger.store.concerning import Touch
from olvido.reporting.words import several, shortened
from olvido.requests.handlers import RequestContext
from olvido.requests.rights.output_filter import OutputFilter, classified

MOST = 8
"""The number of boxes above the asked one, and of those below; the nearest are drawn."""
BOX = (154, 46)
"""Width and height of a box, in units of the drawing."""
GAP = (12, 26)
EDGE = 18
"""The margins for lines, left and right of the boxes; each box has a lane for its own lines."""
LANES = 4
WIDTH = 2 * (EDGE + BOX[0]) + GAP[0]


@dataclass(frozen=True, slots=True)
class LineageNode:
    """One dataset or model.

    Attributes:
        id: the id of the dataset or model, which differ in length.
        kind: `dataset` or `model`.
        title: its name.
        note: the further text in its box, a few words.
        gone: whether its weights were removed.
        serving: whether it is the serving model.
    """

    id: str
    kind: str
    title: str
    note: str
    gone: bool = False
    serving: bool = False

    @property
    def href(self) -> str:
        """The address of its page."""
        return f"/{'data' if self.kind == 'dataset' else 'models'}/{self.id}"


@dataclass(frozen=True, slots=True)
class Box:
    """A node with the place of its box: the upper left corner."""

    node: LineageNode
    x: int
    y: int
    asked: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing of a lineage.

    Attributes:
        boxes: the boxes in their places.
        lines: SVG paths.
        height: its height.
        says: the same in words.
        above, below: the numbers of further nodes that are not drawn.
    """

    boxes: tuple[Box, ...]
    lines: tuple[str, ...]
    height: int
    says: str
    above: int
    below: int


def draw(
    nodes: Mapping[str, LineageNode], edges: Collection[tuple[str, str]], asked: str
) -> Drawing:
    """Draw a node with its origins and descendants.

    Args:
        nodes: all nodes by id.
        edges: pairs of ids, the origin first, without cycles.
        asked: the id of the node in question.
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
    """All reachable nodes, the nearest first."""
    found, waiting = {start: None}, [start]
    for one in waiting:
        fresh = [other for other in ways.get(one, ()) if other not in found]
        found |= dict.fromkeys(fresh)
        waiting += fresh
    return waiting[1:]


def _rows(shown: set[str], edges: Collection[tuple[str, str]], order: list[str]) -> list[list[str]]:
    """The boxes of each row, at most two; none is above its origin."""
    depth = dict.fromkeys(shown, 0)
    for _ in shown:
        for origin, made in edges:
            depth[made] = max(depth[made], depth[origin] + 1)
    # An origin is placed in the row right above its first descendant.
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
    """A line from the lower edge of one box to the upper edge of another, or along a lane."""
    x, y = origin[0] + BOX[0] // 2, origin[1] + BOX[1]
    if lane is None:
        return f"M{x} {y}L{made[0] + BOX[0] // 2} {made[1] - 3}"
    left = made[0] + BOX[0] // 2 <= WIDTH // 2
    aside = 2 + 4 * lane
    edge, side = (aside, made[0] - 1) if left else (WIDTH - aside, made[0] + BOX[0] + 1)
    return f"M{x} {y}v{6 + 4 * lane}H{edge}V{made[1] + BOX[1] // 2}H{side}"


def _says(
    nodes: Mapping[str, LineageNode], rows: list[list[str]], edges: Collection[tuple[str, str]]
) -> str:
    described = []
    for one in (one for row in rows for one in row):
        origins = [nodes[origin].title for origin, made in edges if made == one]
        came = f", from {' and '.join(origins)}" if origins else ""
        node = nodes[one]
        described.append(f"{node.kind} {node.title} ({node.note}){came}")
    return f"Lineage: {'; '.join(described)}."


SAID = (
    "url", "legal_basis", "intended_use", "retention", "consent_reference", "opt_out",
    "collected_from", "collected_until", "language", "geography", "modality", "special_categories",
    "transform",
)  # fmt: skip
"""The owner's documentation of a dataset beyond the list, without its maker: maybe a person."""


def named(store: Store) -> dict[str, Model]:
    """All models by id (a digest, which is slow to compute), parents before their children."""
    return {one.id: one for one in store.models()}


def model(store: Store, ref: str, known: Mapping[str, Model]) -> dict[str, Any]:
    """One model: its entry in the list, its descendants, and the requests about it.

    Args:
        store: the ledger.
        ref: an alias, an id or its beginning, or a digest.
        known: see `named`.

    Raises:
        UnknownName: there is none.
    """
    found = known.get(ref) or store.model(ref)
    (brief,) = in_brief(store, [found])
    children = [one for one, made in known.items() if brief["id"] in made.parents]
    return brief | {
        "path": found.path,
        "function": found.function and str(found.function),
        "recipe": dict(found.recipe),
        "environment": dict(found.environment),
        "children": children,
        "requests": [_touched(one, brief["id"]) for one in store.touching(brief["id"])][::-1],
    }


def _touched(touch: Touch, model: str) -> dict[str, Any]:
    """The relation of a request to a model, with its evidence."""
    answer = touch.answer
    part = None
    if answer is not None:
        after = answer["models"]["after"]
        part = "destroyed" if after is None else "made" if after["id"] == model else "replaced"
        if after == answer["models"]["before"]:
            part = "stays"
    audit = answer and answer["audit"]
    return {
        "id": touch.request,
        "part": part or ("held" if touch.located else "named"),
        "method": answer and answer["method"]["name"],
        "guarantee": answer and answer["guarantee"],
        "verdict": audit and audit["verdict"],
        "closure": touch.exit or ("open" if touch.listed else None),
    }


def dataset(found: DatasetVersion) -> dict[str, Any]:
    """One version of a dataset, with its owner's documentation."""
    about = found.documentation
    return {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "root": str(found.root),
        "rows": found.rows,
        "parent": found.parent,
        "licence": about.licence,
        "source_class": about.source_class.value,
        "description": about.description,
        "created_at": found.created_at.isoformat(),
    }


def one_dataset(store: Store, ref: str) -> dict[str, Any]:
    """One dataset: its counts, its versions, the models that learned it, and its requests.

    Args:
        store: the ledger.
        ref: its id, or its name for the newest version.

    Raises:
        UnknownName: there is none.
    """
    found = store.dataset(ref)
    counts, concerning = store.concerning(found.id)
    others = [
        one
        for one in store.datasets()
        if one.id != found.id
        and (one.name == found.name or one.id == found.parent or one.parent == found.id)
    ]
    return dataset(found) | {
        "documentation": {name: getattr(found.documentation, name) for name in SAID},
        "people": counts.people,
        "without_subject": counts.nameless,
        "sources": counts.sources,
        "consents": dict(counts.consents),
        "tombstoned": dict(counts.tombstones),
        "versions": [
            {"id": one.id, "name": one.name, "version": one.version, "rows": one.rows}
            for one in others
        ],
        "models": [
            {"model": identifier} | asdict(use)
            for identifier, uses in reversed(store.uses_in_brief().items())
            for use in uses
            if use.dataset == found.id
        ],
        "requests": sorted(concerning, key=lambda one: (len(one), one), reverse=True),
    }


def lineage(store: Store, asked: str, known: Mapping[str, Model]) -> Drawing:
    """The drawing of the origins and descendants of a dataset or a model."""
    uses = store.uses_in_brief()
    serving = store.aliases().get(SERVING)
    nodes: dict[str, LineageNode] = {}
    edges: list[tuple[str, str]] = []
    for one in store.datasets():
        title = f"{shortened(one.name, 18)} v{one.version}"
        nodes[one.id] = LineageNode(one.id, "dataset", title, several(one.rows, "record"))
        if one.parent is not None:
            edges.append((one.parent, one.id))
    for identifier, made in known.items():
        own = uses.get(identifier, ())
        gone, serves = made.tombstone is not None, identifier == serving
        note = ("gone: " if gone else "serving: " if serves else "") + (made.method or made.learner)
        nodes[identifier] = LineageNode(identifier, "model", identifier, note, gone, serves)
        edges += [(parent, identifier) for parent in made.parents]
        # A model made by forgetting learned nothing itself.
        edges += [(use.dataset, identifier) for use in own if made.method is None]
    return draw(nodes, edges, asked)


def answer(context: RequestContext, ref: str, given: Any) -> dict[str, Any]:
    """A classifier's answer to one input; the model is loaded for it.

    Raises:
        UnknownName: no such model.
        InputError: it is no classifier, or takes other inputs.
        StateError, DigestMismatch: its files are gone, or are not those that were entered.
    """
    from olvido.workspace import Workspace

    with Workspace(context.settings) as workspace:
        return classified(workspace.load(ref), OutputFilter(workspace.store), given)
