"""A whole model is destroyed, with all that was made from its weights."""

from __future__ import annotations

from olvido.artifacts import remove_model
from olvido.errors import InputError
from olvido.ledger.facts import Model, Request, RequestKind, RequestStatus
from olvido.requests.certificate.answer import ANSWER, destroyed
from olvido.requests.closure.weights import keep_weights
from olvido.requests.desk import Office, demand_kind
from olvido.requests.guidance import not_now
from olvido.requests.scope import condemned

_TO_PLAN = (
    RequestStatus.RECEIVED,
    RequestStatus.IDENTIFIED,
    RequestStatus.LOCATED,
    RequestStatus.PLANNED,
)


def plan_destruction(office: Office, identifier: str) -> tuple[Model, ...]:
    """Say which models would go: the one asked for and all its descendants.

    Raises:
        InputError: the request is of another kind, or not to be planned now.
    """
    request = _of_kind(office, identifier)
    if request.status not in _TO_PLAN:
        raise InputError(not_now(office, request, "its plan is made already, or waits"))
    going = condemned(office.store, request)
    detail = {"destroy": [model.id for model in going]}
    if request.status in (RequestStatus.RECEIVED, RequestStatus.IDENTIFIED):
        request = office.store.advance_request(identifier, RequestStatus.LOCATED, detail)
    if request.status is RequestStatus.LOCATED:
        office.store.advance_request(identifier, RequestStatus.PLANNED, detail)
    return going


def destroy(office: Office, identifier: str) -> tuple[Request, tuple[Model, ...]]:
    """Remove every condemned model's weights, checkpoints and names; the facts of it stay.

    Raises:
        InputError: two people have not approved it.
    """
    request = _of_kind(office, identifier)
    if request.status not in (RequestStatus.APPROVED, RequestStatus.RUNNING):
        raise InputError(
            not_now(office, request, "it is planned, and two people approve it, first")
        )
    going = condemned(office.store, request)
    store = office.store
    if request.status is RequestStatus.APPROVED:
        store.advance_request(identifier, RequestStatus.RUNNING, {"destroy": [m.id for m in going]})
    for model in reversed(going):
        keep_weights(store, model, office.settings.models)
        store.bury_model(model.id, f"destroyed for request {identifier}")
    for model in store.models():
        if model.tombstone is not None:
            remove_model(office.settings.models / model.path)
    store.advance_request(
        identifier, RequestStatus.AUDITED, {"left": len(condemned(store, request))}
    )
    detail = {
        ANSWER: destroyed(store, request, store.model(request.scope["model"])),
        "destroyed": [model.id for model in going],
    }
    return store.advance_request(identifier, RequestStatus.PUBLISHED, detail), going


def _of_kind(office: Office, identifier: str) -> Request:
    request = office.store.request(identifier)
    demand_kind(request, RequestKind.DESTROY, "a model is destroyed for those")
    return request
