"""Tombstones and the suppression list, which keep forgotten records from being learned again.

Both can be replayed into a ledger that was restored from an earlier backup.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from olvido.artifact_shapes import remove_model
from olvido.data.arrays.rows import array_in, said_in
from olvido.errors import InputError, UnknownName
from olvido.files import read_document, write_document
from olvido.ledger.facts import Request, RequestKind
from olvido.ledger.identity import Named
from olvido.ledger.lineage import Lineage
from olvido.ledger.rows import stored_rows, subjects_of, text_of
from olvido.names import fold, measured, words
from olvido.requests.handlers import RequestContext
from olvido.requests.scope import names_of

FORM = "olvido-tombstones"
VERSION = 1

TELLING = 12
"""The number of words from which a text counts as one person's own: "Yes, I do." is nobody's."""
NUMBERS = 64
"""The same of an array: a few numbers may be those of anybody."""


def tombstone(context: RequestContext, request: Request, lineage: Lineage, reason: str) -> None:
    """Set tombstones on a request's records, and bar the records from being imported again.

    This covers every dataset, learned from or not. A subject is barred as such; for a source, or a
    wrong or outdated fact, only the content of its rows, since new data may come from there. A
    row's content is barred for the row's subjects; and for anybody else if it names the person,
    or if it is long and no remaining record has it.
    """
    key, named = context.store.key, Named(context.store.key, names_of(request))
    corrects = request.kind is RequestKind.RECTIFICATION
    barred = set() if corrects else set(map(str, request.subjects))
    gone: dict[str, set[str]] = {}
    long: dict[tuple[str | None, ...], str] = {}
    for dataset in lineage.datasets:
        about = gone[dataset.id] = {r.id for r in lineage.records if r.dataset == dataset.id}
        for row in stored_rows(context.settings.data / dataset.file, about):
            said = said_in(row)
            barred.add(key.content(*said, about=subjects_of(row, key)))
            if named.in_text(text_of(row)):
                barred.add(key.content(*said))
            elif _telling(row, said):
                long[_folded(said)] = key.content(*said)
        context.store.tombstone(about, reason, dataset=dataset.id)
    barred.update(_of_nobody_else(context, long, gone))
    context.store.suppress(barred)


def _telling(row: Mapping[str, Any], said: Sequence[str | None]) -> bool:
    """Whether a row's content is long enough to be one person's own."""
    if (array := array_in(row)) is not None:
        return math.prod(array["shape"]) >= NUMBERS
    return max(measured(words(text or "")) for text in said[1:]) >= TELLING


def _of_nobody_else(
    context: RequestContext,
    long: Mapping[tuple[str | None, ...], str],
    gone: Mapping[str, Collection[str]],
) -> set[str]:
    """The digests of contents that only the records to forget have.

    Args:
        context: the ledger and settings.
        long: digests by folded content.
        gone: ids of the records to forget, by dataset.
    """
    found = dict(long)
    for dataset in context.store.datasets() if long else ():
        tombstoned = {record.id for record in context.store.tombstoned(dataset.id)}
        tombstoned.update(gone.get(dataset.id, ()))
        for row in stored_rows(context.settings.data / dataset.file):
            if row["id"] not in tombstoned:
                found.pop(_folded(said_in(row)), None)
    return set(found.values())


def _folded(said: Collection[str | None]) -> tuple[str | None, ...]:
    return tuple(text and fold(text) for text in said)


def write_tombstones(context: RequestContext, path: Path) -> dict[str, Any]:
    """Write all tombstones to a file, as ids and digests alone, to be kept apart from backups.

    Raises:
        InputError: the file exists.
    """
    if path.exists():
        raise InputError(f"{path} exists: name a new file")
    store = context.store
    document = {
        "form": FORM,
        "version": VERSION,
        "key": str(store.key.fingerprint),
        "records": {
            dataset.id: {
                r.id: r.tombstone.reason for r in store.tombstoned(dataset.id) if r.tombstone
            }
            for dataset in store.datasets()
        },
        "models": {m.id: m.tombstone.reason for m in store.models() if m.tombstone is not None},
        "erased": _erased_rows(context),
        "suppressed": sorted(store.suppressed()),
    }
    write_document(document, path)
    return document


def _erased_rows(context: RequestContext) -> list[str]:
    """The datasets from whose files rows were erased."""
    found = []
    for dataset in context.store.datasets():
        gone = {record.id for record in context.store.tombstoned(dataset.id)}
        if gone:
            there = sum(1 for _ in stored_rows(context.settings.data / dataset.file, gone))
            if there < len(gone):
                found.append(dataset.id)
    return found


def replay_tombstones(context: RequestContext, path: Path) -> dict[str, int]:
    """Set the tombstones again that a restored backup lacks; entries that it lacks are skipped.

    Weights of models with a tombstone are removed, and rows from files that had lost theirs.

    Raises:
        InputError: the file is no list of tombstones, or of another ledger.
    """
    from olvido.requests.closure.erasing import erase_rows

    document, store = read_document(path), context.store
    if document.get("form") != FORM or document.get("version") != VERSION:
        raise InputError(f"{path} is no list of tombstones: make one with 'olvido data tombstones'")
    versions = range(1, store.key.version + 1)
    if document["key"] not in [str(store.key.at(version).fingerprint) for version in versions]:
        raise InputError(f"{path} was written for another ledger: its key is another")
    counts = {"records": 0, "rows": 0, "models": 0, "digests": 0}
    for identifier, tombstoned in document["records"].items():
        try:
            dataset = store.dataset(identifier)
        except UnknownName:
            # It was added after the backup was made.
            continue
        known = {record.id for record in store.records(identifier)}
        for reason in sorted(set(tombstoned.values())):
            some = [i for i, why in tombstoned.items() if why == reason and i in known]
            counts["records"] += store.tombstone(some, reason, dataset=identifier)
        if identifier in document["erased"]:
            counts["rows"] += erase_rows(context.settings.data, dataset.file, tombstoned)
    for model in store.models():
        if model.id in document["models"]:
            counts["models"] += store.tombstone_model(model.id, document["models"][model.id])
            remove_model(context.settings.models / model.path)
    counts["digests"] = store.suppress(document["suppressed"])
    return counts
