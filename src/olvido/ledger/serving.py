"""Which model is served: switched in one step, and never back to one from before an erasure."""

from __future__ import annotations

from collections.abc import Sequence

from olvido.errors import StateError
from olvido.ledger.facts import Model, Use
from olvido.ledger.store import Store

SERVING, PREVIOUS = "serving", "previous"


def publish(store: Store, fact: Model, uses: Sequence[Use]) -> Model:
    """Enter a staged model, and serve it where the one it was made from is served.

    While another model is served, the aliases stay as they are. Again, it changes nothing.
    """
    (before,) = fact.parents
    made = store.add_model(fact, uses)
    if store.aliases().get(SERVING, before) == before:
        store.set_aliases({PREVIOUS: before, SERVING: made.id})
    return made


def serve(store: Store, ref: str) -> Model:
    """What `Workspace.serve` does, for whoever has the ledger alone."""
    model, before = store.model(ref), store.aliases().get(SERVING)
    if before == model.id:
        return model
    for state in store.lineage_of_buried().models:
        if state.model.id == model.id and state.held:
            raise StateError(
                f"model {model.id} holds {len(state.held)} records that were to be forgotten: "
                "serve one that forgot them, or that never learned them"
            )
    named = {SERVING: model.id} if before is None else {PREVIOUS: before, SERVING: model.id}
    return store.set_aliases(named)[-1]
