"""The files in a model's folder that the ledger accounts for by their bytes, never by a name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from olvido.artifact_shapes import CHECKPOINT, is_checkpoint, owned
from olvido.files import digest_at, open_plain
from olvido.ledger.facts import Guarantee, Model, Request
from olvido.ledger.lineage import Holding, Lineage
from olvido.ledger.serving import files_entered
from olvido.ledger.store import Store
from olvido.requests.closure.weights import digest_of, weights_in
from olvido.requests.handlers import RequestContext
from olvido.requests.scope import models_to_delete

_VOCABULARIES = ("tokenizer.json", "vocab.json")
"""JSON files with words that are about nobody, such as a vocabulary; all others are short."""


@dataclass(frozen=True)
class AccountedFiles:
    """The files in the folders of the ledger's models that need not be examined.

    Attributes:
        own: files that belong to the item of their model.
        entered: SHA-256, by path, of each other file that is unchanged since its model was entered.
        weights: the weights' files by the model's id; all files of a model that holds the data.
        checkpoints: those of `entered` that are checkpoints of models for which they are no item.
        forgot: ids of the models whose checkpoints are from before the forgetting.
    """

    own: frozenset[Path]
    entered: Mapping[Path, str]
    weights: Mapping[str, tuple[Path, ...]]
    checkpoints: tuple[Path, ...]
    forgot: frozenset[str]

    @classmethod
    def of(cls, context: RequestContext, request: Request, lineage: Lineage | None) -> Self:
        """The accounted files for a request; lineage None: a model is to be destroyed."""
        store = context.store
        states = () if lineage is None else lineage.models
        whole = {s.model.id for s in states if s.holding is Holding.HOLDS}
        whole |= set() if lineage is not None else {m.id for m in models_to_delete(store, request)}
        forgot = frozenset(s.model.id for s in states if s.holding is Holding.FORGOTTEN)
        holding, digests = holding_of(store, request, lineage), files_entered(store)
        own: set[Path] = set()
        entered: dict[Path, str] = {}
        weights: dict[str, tuple[Path, ...]] = {}
        checkpoints: list[Path] = []
        for model in store.models():
            folder, known = context.settings.models / model.path, {}
            if model.id in whole:
                own |= frozenset(owned(folder))
            else:
                known = accounted(model, folder, digests.get(model.id, frozenset()))
            kept = {p for p in owned(folder) if CHECKPOINT.fullmatch(p.name)}
            if model.id in forgot:
                own |= {path for path in kept if is_checkpoint(path)}
            elif model.id not in whole:
                checkpoints += sorted(kept & known.keys())
            entered |= known
            named = weights_in(folder)
            if model.id not in holding:
                same = named if known.keys() >= set(named) else _weights(model, folder)
                named = tuple(path for path in named if path in same)
            weights[model.id] = named
        return cls(frozenset(own), entered, weights, tuple(checkpoints), forgot)


def holding_of(store: Store, request: Request, lineage: Lineage | None) -> set[str]:
    """The models whose weights hold the data; suppressing answers removes nothing from them.

    For a model to be destroyed: itself and all its descendants, removed or not.
    """
    if lineage is not None:
        return {
            state.model.id
            for state in lineage.models
            if state.holding is Holding.HOLDS or state.guarantee is Guarantee.SUPPRESSED
        }
    gone = {request.scope["model"]}
    for model in store.models():
        if gone & set(model.parents):
            gone.add(model.id)
    return gone


def accounted(model: Model, folder: Path, entered: Collection[str]) -> dict[Path, str]:
    """The files that equal, byte for byte, what the ledger entered, each with its digest.

    A removed model has none, and short JSON is always examined.

    Args:
        model: the model.
        folder: the model's folder.
        entered: SHA-256 of the files with which it was entered, in hex.
    """
    if model.tombstone is not None or not entered:
        return {}
    files = {path: digest_at(path) for path in owned(folder) if not _short(path)}
    return {path: digest for path, digest in files.items() if digest and digest in entered}


def _short(path: Path) -> bool:
    return path.suffix == ".md" or (path.suffix == ".json" and path.name not in _VOCABULARIES)


def _weights(model: Model, folder: Path) -> Collection[Path]:
    """The files of weights, if their tensors have the model's digest."""
    try:
        if not (folder / "ensemble.json").is_file():
            files = _shards(folder)
            return files if files and digest_of(sorted(files)) == str(model.digest) else ()
        members = [_shards(folder / name) for name in _json(folder / "ensemble.json")["members"]]
        joined = "|".join(str(digest_of(sorted(files))) for files in members)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Weights that cannot be read account for nothing: the folder is examined file by file.
        return ()
    fits = f"sha256:{hashlib.sha256(joined.encode()).hexdigest()}" == str(model.digest)
    return set().union(*members) if fits else ()


def _shards(folder: Path) -> set[Path]:
    """The files that a model in a folder is loaded from."""
    if (whole := folder / "model.safetensors").is_file():
        return {whole}
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    return {folder / name for name in _json(index)["weight_map"].values()}


def _json(path: Path) -> Any:
    with open_plain(path) as file:
        return json.load(file)
