"""The order of an approved request: the options of its run, and its model by now."""

from __future__ import annotations

from olvido.errors import InputError
from olvido.ledger.facts import Request, RequestKind, RequestStatus
from olvido.ledger.serving import SERVING
from olvido.ledger.store import Store
from olvido.schemas.options import RunOptions

_READY = (RequestStatus.APPROVED, RequestStatus.RUNNING, RequestStatus.AUDITED)


def ordered(request: Request) -> RunOptions | None:
    """The options under which a request was last approved; None where there were none.

    Raises:
        InputError: another Olvido wrote it.
    """
    for step in reversed(request.history):
        if "order" in step.detail:
            try:
                return RunOptions.read(step.detail["order"])
            except InputError as error:
                raise InputError(
                    f"the order of request {request.id} cannot be read ({error}): cancel and "
                    "resume it, and approve its plan again"
                ) from None
    return None


def waiting(store: Store) -> tuple[Request, ...]:
    """The requests that a worker would take up: approved with an order, or interrupted."""
    return tuple(
        request
        for request in store.requests(_READY)
        if request.kind is not RequestKind.DESTROY and ordered(request) is not None
    )


def successor(store: Store, model: str) -> str:
    """The serving model, if it came from the ordered one by forgetting alone; otherwise the ordered
    one itself.

    Between an approval and its run another request may have been answered: forgetting in the
    ordered model would then leave the serving one unchanged.
    """
    known = {found.id: found for found in store.models()}
    serving = store.aliases().get(SERVING)
    at = known[store.model(model).id] if model != SERVING else known.get(serving or "")
    one = known.get(serving or "")
    while one is not None and at is not None and one.id != at.id:
        if one.method is None:
            return at.id
        one = known.get(one.parents[0]) if one.parents else None
    return serving if one is not None and serving is not None else model
