"""Describe the models of a ledger, and switch the serving one.

The switch is atomic, and never goes back to a model from before an erasure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from olvido.errors import StateError
from olvido.files import sha256
from olvido.ledger.facts import DatasetUse, Model, UseBrief
from olvido.ledger.store import Store

SERVING, PREVIOUS = "serving", "previous"
ENTERED = "model-files"
"""The kind of the log's entry with the digests of a model's files."""


def publish(store: Store, fact: Model, uses: Sequence[DatasetUse]) -> Model:
    """Enter a staged model, and serve it if the one that it was made from is serving.

    While another model is serving, the aliases stay unchanged. A second call changes nothing.
    """
    (before,) = fact.parents
    made = store.add_model(fact, uses)
    store.set_aliases({PREVIOUS: before, SERVING: made.id}, replacing=(SERVING, before))
    return made


def serve(store: Store, ref: str) -> Model:
    """Do what `Workspace.serve` does, with the ledger alone."""
    model, before = store.model(ref), store.aliases().get(SERVING)
    if before == model.id:
        return model
    for state in store.lineage_of_tombstoned().models:
        if state.model.id == model.id and state.contained:
            raise StateError(
                f"model {model.id} holds {len(state.contained)} records that were to be forgotten: "
                "serve one that forgot them, or that never learned them"
            )
    named = {SERVING: model.id} if before is None else {PREVIOUS: before, SERVING: model.id}
    return store.set_aliases(named)[-1]


def enter_files(store: Store, model: str, files: Iterable[Path]) -> None:
    """Keep SHA-256, without names, of files that a writer has just put into a model's folder.

    The digests show later which files there are unchanged.
    """
    store.note(ENTERED, {"model": model, "files": sorted({sha256(path) for path in files})})


def files_entered(store: Store) -> Mapping[str, frozenset[str]]:
    """The digests of the files that writers put into each model's folder, by the model's id."""
    found: dict[str, frozenset[str]] = {}
    for event in store.events(ENTERED):
        model = event.detail["model"]
        found[model] = found.get(model, frozenset()) | frozenset(event.detail["files"])
    return found


def _line(store: Store, found: Sequence[Model]) -> dict[str, list[str]]:
    """For each model made by forgetting, the versions before it, back to their training."""
    if all(one.method is None for one in found):
        return {}
    known = {one.id: one for one in store.models()}
    line: dict[str, list[str]] = {}
    for model in found:
        one, above = model, []
        while one.method is not None and one.parents[0] in known:
            above.append(one.parents[0])
            one = known[one.parents[0]]
        line[model.id] = above
    return line


def _data(
    model: str, above: Sequence[str], uses: Mapping[str, Sequence[UseBrief]]
) -> list[UseBrief]:
    """The data that a model learned; for one made by forgetting, the data of its training."""
    data = {use.dataset: use for use in uses.get(model, ())}
    for use in uses.get(above[-1], ()) if above else ():
        own = data.get(use.dataset)
        data[use.dataset] = use if own is None else replace(own, excluded=use.excluded)
    return list(data.values())


def in_brief(store: Store, found: Sequence[Model]) -> list[dict[str, Any]]:
    """Describe models: how each was made, what it learned and what it forgot."""
    # An id is a digest, computed at each access.
    named = {one.id: one for one in found}
    aliases = store.aliases()
    line = _line(store, found)
    uses = store.uses_in_brief({*named, *(m for above in line.values() for m in above)})
    return [
        {
            "id": identifier,
            "digest": str(one.digest),
            "learner": one.learner,
            "training": one.training,
            "method": one.method,
            "parents": list(one.parents),
            "aliases": sorted(name for name, known in aliases.items() if known == identifier),
            "seed": one.seed,
            "data": [asdict(use) for use in _data(identifier, line.get(identifier, ()), uses)],
            "created_at": one.created_at.isoformat(),
            "gone": (stone := one.tombstone)
            and {"reason": stone.reason, "at": stone.at.isoformat()},
        }
        for identifier, one in named.items()
    ]
