"""Which records of a ledger's model are taught again when it is trained further."""

from __future__ import annotations

from collections.abc import Sequence

from olvido.errors import InputError, ParameterName
from olvido.ledger.facts import DatasetUse, DatasetVersion
from olvido.ledger.store import Store
from olvido.training.traces.replay import drawn
from olvido.workspace.reading import Reading


def replayed(
    workspace: Reading, model: str, datasets: Sequence[str], share: float | None, seed: int
) -> dict[str, frozenset[str]]:
    """What of each dataset that a model learned before is not taught again; None: nothing is taught
    again, and no dataset is named.

    Raises:
        UnknownName: no such dataset or model.
        InputError: see `unreplayed`.
    """
    if share is None:
        return {}
    store = workspace.store
    new, held = [store.dataset(name) for name in datasets], workspace.left(store.model(model))
    return unreplayed(store, held, new, share=share, seed=seed)


def unreplayed(
    store: Store,
    learned: Sequence[DatasetUse],
    new: Sequence[DatasetVersion],
    *,
    share: float,
    seed: int,
) -> dict[str, frozenset[str]]:
    """What of each dataset that a model learned before is not taught again, by dataset.

    As uses with what they exclude, the ledger enters replayed records like any that were learned:
    a person is found in every training that had them.

    Args:
        store: the ledger.
        learned: what the model holds.
        new: the datasets of the next training: what is in them is taught anyway.
        share: see `olvido.training.traces.replay.drawn`.
        seed: of the coins.

    Raises:
        InputError: a share that is none, or nothing was drawn.
    """
    taught = {record.id for dataset in new for record in store.records(dataset.id)}
    own = {dataset.id for dataset in new}
    found: dict[str, frozenset[str]] = {}
    held = several = 0
    for use in learned:
        if use.dataset in own:
            continue
        ids = {record.id for record in store.records(use.dataset)}
        chosen = set(drawn(ids - use.excluded, share=share, seed=seed)) - taught
        held += len(ids - use.excluded)
        if chosen:
            found[use.dataset] = frozenset(ids - chosen)
            # One record may be in two datasets, and is taught once.
            taught |= chosen
        several += len(chosen)
    if not several:
        raise InputError(
            f"of {held} records that the model learned before, beside the datasets named, none "
            f"was drawn at a share of {share:g}: give a larger one (",
            *(ParameterName("replay"), "), or leave it out"),
        )
    return found
