"""Erase what an inventory found, by its kind. Erased items are searched for again."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from olvido.artifact_shapes import remove
from olvido.artifacts import Disposal, parts, recognised
from olvido.data.inverted import drop_index, near_copies
from olvido.errors import InputError, ParameterName, StateError
from olvido.files import sha256, write
from olvido.ledger.facts import Request
from olvido.ledger.rows import COLUMNS, KEY, RowWriter, stored_rows
from olvido.ledger.serving import enter_files, files_entered
from olvido.requests.closure.places import Artefact, is_live, seen_at
from olvido.requests.closure.rewriting import without
from olvido.requests.closure.weights import cached_ids, keep_weights
from olvido.requests.handlers import RequestContext


def erase(
    context: RequestContext,
    request: Request,
    artefact: Artefact,
    ids: Mapping[str, set[str]],
    *,
    whole: bool = False,
) -> str:
    """Remove one item, and say what was done. An item that changed since it was seen is refused.

    Args:
        context: the workspace.
        request: the request.
        artefact: the item, from the inventory.
        ids: the ids of the request's records, by dataset.
        whole: remove a file although it holds data of others.

    Raises:
        InputError: Olvido cannot erase it itself, or it holds data of others.
        StateError: the model is serving, or the item has changed.
    """
    name, path = artefact.kind.name, artefact.path
    if path is None or artefact.kind.way in (Disposal.KEPT, Disposal.STATED) or name == "unread":
        raise InputError(
            f"{artefact.item} lies where Olvido cannot erase it: say what was done with it (",
            ParameterName("done"),
            "), or give it another exit",
        )
    if artefact.seen is not None and seen_at(context, path) != artefact.seen:
        raise StateError(f"{artefact.item} has changed since it was looked at: look at it again")
    if name in _ERASERS:
        return _ERASERS[name](context, request, artefact, ids)
    look = artefact.look
    if name == "file" and artefact.others and look is not None and look.rewritable and not whole:
        mode = stat.S_IMODE(path.stat().st_mode)
        write(path, without(path, look), mode=mode)
        return f"written again without {len(look.records)} records"
    if name in ("file", "mention", "foreign") and artefact.others and not whole:
        raise _others(artefact)
    changed = artefact.kind.shape is not None and (
        recognised(path, by_content=artefact.kind.by_content) is None or is_live(path)
    )
    if changed:
        raise StateError(f"{artefact.item} has changed since it was looked at: look at it again")
    return f"removed{_staying(remove(path, parts(path, artefact.kind)))}"


def _staying(others: Collection[Path]) -> str:
    """The sentence about files that were not removed with their folder."""
    if not others:
        return ""
    # Each is an item of its own; the sentence is kept, and names of files may be those of people.
    count = f"{len(others)} files" if len(others) > 1 else "1 file"
    return f"; what Olvido did not write stays: {count}"


def _others(artefact: Artefact) -> InputError:
    return InputError(
        f"{artefact.item} may hold what belongs to others ({artefact.says}), and cannot be written "
        f"without what is the person's: take it out where the file is made and say so with --done "
        f"'{artefact.item}=HOW', or remove the whole file with --whole '{artefact.item}'"
    )


def erase_rows(data: Path, file: str, gone: Collection[str]) -> int:
    """Write a dataset's file again without these rows; return how many it had.

    Its Merkle root is unchanged: the ledger has the digest of every row that was removed.
    """
    rows = list(stored_rows(data / file, keys=True))
    kept = [row for row in rows if row["id"] not in gone]
    if len(kept) < len(rows):
        # The index holds digests of the rows' content.
        drop_index(data, file)
        with RowWriter(data) as writer:
            bare = [tuple(row.get(column) for column in COLUMNS) for row in kept]
            writer.add(bare, b"".join(row[KEY] for row in kept))
            writer.publish(file)
    return len(rows) - len(kept)


def _rows(context: RequestContext, request: Request, artefact: Artefact, ids: Any) -> str:
    identifier = artefact.item.partition(":")[2]
    dataset = context.store.dataset(identifier)
    # A row is removed only under a tombstone, by which the root still checks without it.
    context.store.tombstone(ids[identifier], request.kind.value, dataset=identifier)
    count = erase_rows(context.settings.data, dataset.file, ids[identifier])
    return f"{count} rows removed from their file"


def _near(context: RequestContext, request: Request, artefact: Artefact, ids: Any) -> str:
    identifier = artefact.item.partition(":")[2]
    store, data = context.store, context.settings.data
    found = {copy.id for copy in near_copies(store, data, ids).get(identifier, ())}
    learned = store.lineage_of_records(identifier, found).holding()
    holding = [model.id for model in learned if model.tombstone is None]
    if holding:
        raise StateError(
            f"model {', '.join(holding)} learned these copies: have them forgotten with 'olvido "
            f"request new --kind outdated --dataset {identifier} --record {sorted(found)[0]}"
            f"{' --record ...' if len(found) > 1 else ''}', and name that request with --done"
        )
    store.tombstone(found, f"near copies of what request {request.id} is about", dataset=identifier)
    count = erase_rows(data, store.dataset(identifier).file, found)
    return f"{count} rows removed from their file"


def _model(context: RequestContext, request: Request, artefact: Artefact, ids: Any) -> str:
    identifier = artefact.item.partition(":")[2]
    names = [name for name, known in context.store.aliases().items() if known == identifier]
    if "serving" in names and request.scope.get("model") is None:
        raise StateError(
            f"model {identifier} serves now and holds the data: make it forget first, or serve "
            "another one with 'olvido models serve'"
        )
    keep_weights(context.store, context.store.model(identifier), context.settings.models)
    # The ledger marks the model first, so that a half-removed one is never served.
    context.store.tombstone_model(identifier, f"erased for request {request.id}")
    assert artefact.path is not None
    stays = remove(artefact.path, parts(artefact.path, artefact.kind))
    return f"weights, checkpoints and optimizer states removed{_staying(stays)}"


def _export(context: RequestContext, request: Request, artefact: Artefact, ids: Any) -> str:
    assert artefact.path is not None
    stays = remove(artefact.path, parts(artefact.path, artefact.kind))
    return f"the copy of the model removed{_staying(stays)}"


def _checkpoints(context: RequestContext, request: Request, artefact: Artefact, ids: Any) -> str:
    assert artefact.path is not None
    removed = parts(artefact.path, artefact.kind)
    remove(artefact.path, removed)
    return f"{len(removed)} checkpoints removed"


def _activations(context: RequestContext, request: Request, artefact: Artefact, ids: Any) -> str:
    from olvido.learners.halves import Activations

    assert artefact.path is not None
    gone = {i for some in ids.values() for i in some}
    model = artefact.item.partition(":")[2]
    known = files_entered(context.store).get(model, frozenset())
    for path in parts(artefact.path, artefact.kind):
        if cached_ids(path) & gone:
            ours = sha256(path) in known
            Activations.load(path).without(gone).save(path)
            if ours:
                enter_files(context.store, model, [path])
    return "the records' activations removed"


_ERASERS: Mapping[str, Callable[[RequestContext, Request, Artefact, Any], str]] = {
    "rows": _rows,
    "near": _near,
    "model": _model,
    "checkpoints": _checkpoints,
    "activations": _activations,
    "export": _export,
}
"""The erasers of kinds that are more than one file; all other kinds are removed."""
