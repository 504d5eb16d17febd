"""Check the options of a run before anything is concluded, also where nothing will run."""

from __future__ import annotations

from collections.abc import Sequence

from olvido.errors import InputError
from olvido.ledger.serving import SERVING
from olvido.ledger.store import Store
from olvido.schemas.options import RunOptions


def require_given(identifiers: Sequence[str], how: RunOptions) -> None:
    """Refuse options that are invalid for any run, whatever the requests turn out to need.

    Raises:
        UnknownName: no such method, or no such option of it.
        InputError: no request or one of them twice, or an option that the method does not take.
    """
    if not identifiers or len(set(identifiers)) < len(identifiers):
        raise InputError(
            f"give the ids of one or more requests, each once, got {', '.join(identifiers)}"
        )
    if how.method is not None:
        from olvido.methods import METHODS

        METHODS.make(how.method, how.options)


def require_known(store: Store, how: RunOptions) -> None:
    """Refuse a model or a dataset that the ledger does not know. Raises UnknownName."""
    for name in (how.holdout, how.neighbours, how.general):
        if name is not None:
            store.dataset(name)
    if how.model != SERVING:
        store.model(how.model)
