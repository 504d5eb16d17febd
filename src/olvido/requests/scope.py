"""What a request is about, found in the ledger."""

from __future__ import annotations

from olvido.errors import InputError
from olvido.ledger.facts import Model, Request
from olvido.ledger.lineage import Lineage
from olvido.ledger.store import Store


def lineage_of(store: Store, request: Request) -> Lineage:
    """The records a request is about, their datasets, and how every model stands to them.

    Raises:
        InputError: it is about a model, not about records.
    """
    if request.subject is not None:
        return store.lineage(request.subject)
    if "source" in request.scope:
        return store.lineage_of_source(request.scope["source"])
    if "records" in request.scope:
        return store.lineage_of_records(request.scope["dataset"], request.scope["records"])
    raise InputError(f"request {request.id} is about no record: nothing can be located")


def condemned(store: Store, request: Request) -> tuple[Model, ...]:
    """The model that a request wants destroyed, and all that descend from it, so far as they last.

    A model made by exact forgetting or by a further training descends from it too: it was made from
    its weights.
    """
    gone = {request.scope["model"]}
    for model in store.models():
        if gone & set(model.parents):
            gone.add(model.id)
    return tuple(m for m in store.models() if m.id in gone and m.tombstone is None)
