"""Which trainings made a model, what each left out, and which records were to be forgotten."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.facts import DatasetUse, DatasetVersion, Model
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


def refuse_sketch(store: Store, digest: str) -> None:
    """Refuse, as a model that never saw some records, the sketch that a forgetting made.

    Beside it a model that lost what is kept would pass: it learned a few dozen of those records.

    Raises:
        InputError: the digest is that of a sketch.
    """
    for model in store.models():
        if model.recipe.get("sketch") == digest:
            raise InputError(
                f"these weights are the sketch that the forgetting of model {model.id} made: they "
                "learned a few of the records to keep, and are no retrained model. Enter one that "
                "was trained on all of them"
            )


def training_of(store: Store, model: Model) -> Model:
    """The training that a model descends from: the model itself, unless forgetting made it."""
    while model.method is not None:
        model = store.model(model.parents[0])
    return model


def chain_of(store: Store, model: Model) -> tuple[Model, ...]:
    """The trainings that a model descends from, each from the one before, the first first."""
    training = training_of(store, model)
    before = map(store.model, training.parents)
    return (*(link for parent in before for link in chain_of(store, parent)), training)


def left_in(store: Store, model: Model, *, chain: bool = True) -> tuple[DatasetUse, ...]:
    """The datasets a model was trained on, with all records left out or forgotten since.

    Args:
        store: the ledger.
        model: of the ledger.
        chain: also those of the models that it was trained from.
    """
    uses = {use.dataset: use for use in store.uses(model.id)}
    if model.method is None and not chain:
        return tuple(uses.values())
    inherited = {
        use.dataset: use
        for parent in model.parents
        for use in left_in(store, store.model(parent), chain=chain)
    }
    if model.method is None:
        # What either training learned, the model holds.
        both = {d: uses[d].excluded & inherited[d].excluded for d in uses if d in inherited}
        found = {**inherited, **uses}
        return tuple(
            replace(use, excluded=both.get(name, use.excluded)) for name, use in found.items()
        )
    return tuple(
        replace(use, excluded=use.excluded | uses[name].forgotten) if name in uses else use
        for name, use in inherited.items()
    )
