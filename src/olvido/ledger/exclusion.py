"""Which records of a dataset a training leaves out, and which of them were to be forgotten."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from olvido.errors import StateError, UnknownName
from olvido.ledger.facts import DatasetVersion
from olvido.ledger.store import Store


def named(
    store: Store, datasets: Sequence[DatasetVersion], ids: Collection[str]
) -> dict[str, frozenset[str]]:
    """Those of these records that each dataset holds, by the dataset's id.

    Raises:
        UnknownName: no dataset holds one of them.
    """
    found: dict[str, frozenset[str]] = {}
    known: set[str] = set()
    for dataset in datasets if ids else ():
        records = {record.id for record in store.records(dataset.id)}
        found[dataset.id] = frozenset(store.stored_ids(dataset.id, ids)) & records
        known |= records
    held = frozenset[str]().union(*found.values())
    for identifier in ids:
        if held.isdisjoint((identifier, store.key.pseudonym(identifier))):
            raise UnknownName("record to leave out", identifier, known)
    return {dataset.id: found.get(dataset.id, frozenset()) for dataset in datasets}


def barred(store: Store, dataset: DatasetVersion) -> frozenset[str]:
    """Records that carry a tombstone, or whose subject took the consent back: nothing is ever
    taught from those."""
    gone = frozenset(record.id for record in store.tombstoned(dataset.id))
    return gone | store.withdrawn(dataset.id)


def refuse_tombstoned(
    store: Store, datasets: Sequence[DatasetVersion], left_out: Mapping[str, frozenset[str]]
) -> None:
    """Refuse weights that are said to have learned records that were to be forgotten.

    Raises:
        StateError: a dataset has such records, and they are not said to be left out.
    """
    for dataset in datasets:
        gone = {record.id for record in store.tombstoned(dataset.id)} - left_out[dataset.id]
        if gone:
            raise StateError(
                f"a model that learned all of dataset {dataset.name!r} holds {len(gone)} records "
                "that were to be forgotten: enter one that never learned them, and name them as "
                "left out (--without)"
            )
