"""The files in a model's folder that the ledger's digests account for; a name accounts for none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from olvido.artifacts import NOTE, owned
from olvido.artifacts.shapes import ACTIVATIONS, CHECKPOINT, is_activations, is_checkpoint
from olvido.errors import InputError
from olvido.ledger.facts import Guarantee, Model, Request
from olvido.ledger.lineage import Holding, Lineage
from olvido.ledger.store import Store
from olvido.requests.closure.weights import digest_of, weights_in
from olvido.requests.desk import Office
from olvido.requests.scope import condemned

_VOCABULARIES = ("tokenizer.json", "vocab.json")
"""JSON that holds words without their being said of anybody; any other is short, and looked into:
the digest leaves some of its members out."""


@dataclass(frozen=True)
class Accounts:
    """What the folders of the ledger's models hold that need not be looked into.

    Attributes:
        files: by the model's id: all that is its own where it is an item with that, or else what
            the ledger's digests account for.
        checkpoints: among these, of models of which they are no item.
        folders: of the models, by id.
    """

    files: Mapping[str, frozenset[Path]]
    checkpoints: tuple[Path, ...]
    folders: Mapping[str, Path]

    @classmethod
    def of(cls, office: Office, request: Request, lineage: Lineage | None) -> Self:
        """Those of a request; the lineage is None where a model is to be destroyed."""
        store = office.store
        folders = {m.id: office.settings.models / m.path for m in store.models()}
        states = () if lineage is None else lineage.models
        whole = {s.model.id for s in states if s.holding is Holding.HOLDS}
        whole |= set() if lineage is not None else {m.id for m in condemned(store, request)}
        told = whole | {s.model.id for s in states if s.holding is Holding.FORGOTTEN}
        files = {
            model.id: frozenset(owned(folders[model.id]))
            if model.id in whole
            else accounted(model, folders[model.id])
            for model in store.models()
        }
        rest = (p for model, found in files.items() if model not in told for p in sorted(found))
        return cls(files, tuple(p for p in rest if CHECKPOINT.fullmatch(p.name)), folders)

    def weights(self, holding: Collection[str]) -> dict[str, tuple[Path, ...]]:
        """The files that are a model's weights, by its id: of one that holds the data, all."""
        return {
            model: tuple(
                p for p in weights_in(folder) if model in holding or p in self.files[model]
            )
            for model, folder in self.folders.items()
        }


def holding_of(store: Store, request: Request, lineage: Lineage | None) -> set[str]:
    """Models whose weights hold it; suppressing answers takes nothing out of them.

    Of a model to be destroyed, itself and all its descendants, gone or not.
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


def accounted(model: Model, folder: Path) -> frozenset[Path]:
    """The files that are what the ledger entered, and so need not be looked into.

    Weights are by the model's digest; vocabularies, adapters and step logs by that of its function;
    checkpoints and activations by what they say of themselves. Nothing is left to a model that is
    gone.
    """
    from olvido.models.digest import function_digest

    if model.tombstone is not None:
        return frozenset()
    own = frozenset(owned(folder))
    found = {path for path in own if is_checkpoint(path)}
    found |= {path for path in own if path.name == ACTIVATIONS and is_activations(path)}
    try:
        found |= _weights(model, folder)
        if function_digest(folder, own) == str(model.function):
            found |= _of_function(folder, own)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError):
        # What cannot be read accounts for nothing: it is looked into, file by file.
        pass
    return frozenset(found) & own


def _weights(model: Model, folder: Path) -> set[Path]:
    """The files of weights, where they are those of the model's digest."""
    if not (folder / "ensemble.json").is_file():
        files = _shards(folder)
        return files if files and digest_of(sorted(files)) == str(model.digest) else set()
    members = [_shards(folder / name) for name in _json(folder / "ensemble.json")["members"]]
    joined = "|".join(str(digest_of(sorted(files))) for files in members)
    fits = f"sha256:{hashlib.sha256(joined.encode()).hexdigest()}" == str(model.digest)
    return set().union(*members) if fits else set()


def _shards(folder: Path) -> set[Path]:
    """The files that a model in a folder is loaded from."""
    if (whole := folder / "model.safetensors").is_file():
        return {whole}
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    return {folder / name for name in _json(index)["weight_map"].values()}


def _of_function(folder: Path, own: frozenset[Path]) -> set[Path]:
    """What the digest of a model's function is over, or what its note has the digests of."""
    from olvido.models.digest import decides

    note = _json(folder / NOTE) if (folder / NOTE).is_file() else {}
    runs = note.get("runs", {})
    found = set()
    for path in own:
        name = path.relative_to(folder).as_posix()
        if decides(name) and (path.suffix != ".json" or path.name in _VOCABULARIES):
            found.add(path)
        elif name.startswith("logs/"):
            packed = hashlib.sha256(path.read_bytes()).hexdigest()
            found |= {path} if packed == runs[path.stem]["log"] else set()
    # Modules stand on what their training began with.
    begun = {note.get("origin"), *(run.get("origin") for run in runs.values())}
    if (folder / "routed.json").is_file():
        base = _shards(folder / "base")
        found |= base if digest_of(sorted(base)) in begun else set()
    return found


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
