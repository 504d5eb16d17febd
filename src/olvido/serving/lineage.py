"""What the API and the pages show of datasets and models, and how they came from one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from olvido.ledger.facts import Dataset, Model
from olvido.ledger.serving import SERVING, in_brief
from olvido.ledger.store import Store
from olvido.ledger.store.concerning import Touch
from olvido.reporting.words import several, shortened
from olvido.serving.drawing import Drawing, Node, draw

SAID = (
    "url", "legal_basis", "intended_use", "retention", "consent_reference", "opt_out",
    "collected_from", "collected_until", "language", "geography", "modality", "special_categories",
    "transform",
)  # fmt: skip
"""What a dataset's owner says of it beyond the list, but who made it, which may be a person."""


def named(store: Store) -> dict[str, Model]:
    """All models by id, which is a digest that takes its time; parents before their children."""
    return {one.id: one for one in store.models()}


def model(store: Store, ref: str, known: Mapping[str, Model]) -> dict[str, Any]:
    """One model: what the list says of it, and what was made of it and asked of it.

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
    """What a request had to do with a model, and the evidence that there is of it."""
    answer = touch.answer
    part = None
    if answer is not None:
        after = answer["models"]["after"]
        part = "destroyed" if after is None else "made" if after["id"] == model else "replaced"
    audit = answer and answer["audit"]
    return {
        "id": touch.request,
        "part": part or ("held" if touch.located else "named"),
        "method": answer and answer["method"]["name"],
        "guarantee": answer and answer["guarantee"],
        "verdict": audit and audit["verdict"],
        "closure": touch.exit or ("open" if touch.listed else None),
    }


def dataset(found: Dataset) -> dict[str, Any]:
    """One version of a dataset, and what its owner says of it."""
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
    """One dataset: its counts, its versions, who learned it, and which requests concern it.

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
    """The drawing of what a dataset or a model came from, and of what came from it."""
    uses = store.uses_in_brief()
    serving = store.aliases().get(SERVING)
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    for one in store.datasets():
        title = f"{shortened(one.name, 18)} v{one.version}"
        nodes[one.id] = Node(one.id, "dataset", title, several(one.rows, "record"))
        if one.parent is not None:
            edges.append((one.parent, one.id))
    for identifier, made in known.items():
        own = uses.get(identifier, ())
        gone, serves = made.tombstone is not None, identifier == serving
        note = ("gone: " if gone else "serving: " if serves else "") + (made.method or made.learner)
        nodes[identifier] = Node(identifier, "model", identifier, note, gone, serves)
        edges += [(parent, identifier) for parent in made.parents]
        # What was made by forgetting learned nothing of its own.
        edges += [(use.dataset, identifier) for use in own if made.method is None]
    return draw(nodes, edges, asked)
