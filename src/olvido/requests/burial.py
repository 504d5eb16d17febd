"""That nobody learns from them again: tombstones for records, and a list of what may not come back.

Both are said again to a ledger that was restored from a backup made before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from olvido.artifacts import remove_model
from olvido.documents import read_document, write_document
from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import Request
from olvido.ledger.lineage import Lineage
from olvido.ledger.rows import stored_rows
from olvido.requests.desk import Office

FORM = "olvido-tombstones"
VERSION = 1


def bury(office: Office, request: Request, lineage: Lineage, reason: str) -> None:
    """Mark a request's records, and bar them from being brought in again.

    In every dataset, learned from or not. A subject is barred as such; of a source or a fact that
    is out of date only what its rows say, for something new may come from there.
    """
    barred = set() if request.subject is None else {str(request.subject)}
    for dataset in lineage.datasets:
        about = {record.id for record in lineage.records if record.dataset == dataset.id}
        for row in stored_rows(office.settings.data / dataset.file, about):
            said = (row.get(name) for name in ("prompt", "completion", "text"))
            barred.add(office.store.key.content(*said))
        office.store.tombstone(about, reason, dataset=dataset.id)
    office.store.suppress(barred)


def write_tombstones(office: Office, path: Path) -> dict[str, Any]:
    """Write down everything that is buried, to be kept apart from backups: ids and digests alone.

    Raises:
        InputError: the file exists.
    """
    if path.exists():
        raise InputError(f"{path} exists: name a new file")
    store = office.store
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
        "erased": _erased_rows(office),
        "suppressed": sorted(store.suppressed()),
    }
    write_document(document, path)
    return document


def _erased_rows(office: Office) -> list[str]:
    """Datasets of which rows were taken out of their files."""
    found = []
    for dataset in office.store.datasets():
        gone = {record.id for record in office.store.tombstoned(dataset.id)}
        if gone:
            there = sum(1 for _ in stored_rows(office.settings.data / dataset.file, gone))
            if there < len(gone):
                found.append(dataset.id)
    return found


def replay_tombstones(office: Office, path: Path) -> dict[str, int]:
    """Bury again what a restored backup had brought back; what it does not hold is passed over.

    Weights of buried models are removed, and rows from files that had lost theirs.

    Raises:
        InputError: the file is no list of tombstones, or of another ledger.
    """
    from olvido.requests.closure.erasing import erase_rows

    document, store = read_document(path), office.store
    if document.get("form") != FORM or document.get("version") != VERSION:
        raise InputError(f"{path} is no list of tombstones: make one with 'olvido data tombstones'")
    if document["key"] != str(store.key.fingerprint):
        raise InputError(f"{path} was written for another ledger: its key is another")
    counts = {"records": 0, "rows": 0, "models": 0, "digests": 0}
    for identifier, buried in document["records"].items():
        try:
            dataset = store.dataset(identifier)
        except UnknownName:
            # Added after the backup was made: it is not there.
            continue
        known = {record.id for record in store.records(identifier)}
        for reason in sorted(set(buried.values())):
            some = [i for i, why in buried.items() if why == reason and i in known]
            counts["records"] += store.tombstone(some, reason, dataset=identifier)
        if identifier in document["erased"]:
            counts["rows"] += erase_rows(office.settings.data, dataset.file, buried)
    for model in store.models():
        if model.id in document["models"]:
            counts["models"] += store.bury_model(model.id, document["models"][model.id])
            remove_model(office.settings.models / model.path)
    counts["digests"] = store.suppress(document["suppressed"])
    return counts
