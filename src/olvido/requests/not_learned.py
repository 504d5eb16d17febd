"""Answer requests without forgetting: no model in use has learned the records, or what it holds
of them is bounded by a private training's promise.

Also requests to destroy a whole model, with all models that were made from its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from olvido.artifact_shapes import remove_model
from olvido.errors import InputError, Overtaken, StateError
from olvido.ledger.exclusion import training_of
from olvido.ledger.facts import (
    DECLARED,
    PRIVATE,
    DatasetUse,
    Guarantee,
    Model,
    Request,
    RequestKind,
    RequestStatus,
    Training,
)
from olvido.ledger.lineage import Holding
from olvido.ledger.serving import PREVIOUS, SERVING
from olvido.ledger.store import Store
from olvido.requests.certificate.answer import ANSWER, certified, destroyed
from olvido.requests.closure.weights import keep_weights
from olvido.requests.guidance import not_now
from olvido.requests.handlers import RequestContext, demand_forgetting, demand_kind
from olvido.requests.scope import lineage_of, models_to_delete
from olvido.requests.tombstones import tombstone
from olvido.schemas.plan import Chosen

_S = RequestStatus
_CONCLUDED = "not_learned"
"""The key that marks the step of an answer without forgetting."""


@dataclass(frozen=True, slots=True)
class NotLearned:
    """Why no model has to forget.

    Attributes:
        because: the reason in a sentence.
        records: the number of records that the request is about.
        model: the serving model, None where none serves.
        guarantee: the guarantee under which it forgot them for an earlier request; None where it
            did not, or exactly.
        training: whether its training was `witnessed`, or is `declared`; None where none serves.
    """

    because: str
    records: int
    model: str | None
    guarantee: Guarantee | None
    training: Training | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "because": self.because,
            "records": self.records,
            "model": self.model,
            "guarantee": self.guarantee and self.guarantee.value,
            "training": self.training,
        }


def not_learned(store: Store, request: Request, ref: str = SERVING) -> NotLearned | None:
    """Why no model has to forget a request's records; None where one has to.

    Only models with an alias count, and not `previous`: an old version that holds the records is
    not changed but erased, as an item of the closure.

    Args:
        store: the ledger.
        request: the request.
        ref: the model that was meant; any other than the serving one has to forget.

    Raises:
        UnknownName: no such model.
        InputError: the request is of a kind for which no model ever has to forget.
    """
    demand_forgetting(request)
    if request.kind is RequestKind.DESTROY or not request.status.open:
        return None
    found, aliases = lineage_of(store, request), store.aliases()
    serving = aliases.get(SERVING)
    meant = serving if ref == SERVING else store.model(ref).id
    used = {model for name, model in aliases.items() if name != PREVIOUS} | {meant}
    states = {state.model.id: state for state in found.models}
    if meant != serving or any(
        states[model].holding is Holding.HOLDS for model in used if model in states
    ):
        return None
    guarantee = states[serving].guarantee if serving in states else None
    if not found.records:
        because = "no record in any dataset is about this: nothing is held"
    elif serving is None:
        because = "no model serves, so none has to forget"
    elif guarantee is not None:
        because = f"model {serving}, which serves, forgot it before ({guarantee})"
    else:
        because = f"model {serving}, which serves, holds none of its {len(found.records)} records"
    others = [
        id
        for id, state in states.items()
        if id not in _versions(store, serving) and state.holding is Holding.HOLDS
    ]
    if others:
        because += (
            f"; model {others[0]} does"
            + (f", and {len(others) - 1} more" if others[1:] else "")
            + f", and is not in use: 'olvido request run {request.id} --model {others[0]}' makes "
            "it forget, and else closing the request asks for it to be erased"
        )
    training = None if serving is None else store.model(serving).training
    if found.records and serving is not None and training == DECLARED:
        because += ", by what was declared of its training"
        if training_of(store, store.model(serving)).recipe.get("unknown_data"):
            because += "; it also learned data that nobody named"
    return NotLearned(because, len(found.records), serving, guarantee, training)


def _versions(store: Store, serving: str | None) -> set[str]:
    """The serving model and those that it was made from, with the one that served before."""
    found, left = set[str](), [serving, store.aliases().get(PREVIOUS)]
    while left:
        model = left.pop()
        if model is not None and model not in found:
            found.add(model)
            left += store.model(model).parents
    return found


def planned(why: NotLearned) -> dict[str, Any]:
    """The plan that is written down for such a request."""
    return {
        "model": why.model or SERVING,
        "routes": [],
        "chosen": {"order": [], "because": why.because},
        _CONCLUDED: why.to_dict(),
    }


def conclude(context: RequestContext, identifier: str) -> Request:
    """Answer an approved request without forgetting: its records get tombstones and are barred.

    Then its closure begins. Called again after a crash, this goes on where it was.

    Raises:
        UnknownName: no such request.
        StateError: a model in use holds the records and has to forget them.
        InputError: it is not approved.
    """
    store = context.store
    request = store.request(identifier)
    if concluded(request) is not None:
        return request
    why = not_learned(store, request)
    if why is None:
        raise StateError(
            f"a model in use holds what request {identifier} is about: plan it, and let that model "
            "forget"
        )
    if request.status is not _S.AUDITED:
        store.advance_request(identifier, _S.RUNNING, {"model": why.model})
        store.advance_request(identifier, _S.AUDITED, {"left": 0})
    tombstone(context, request, lineage_of(store, request), request.kind.value)
    return store.advance_request(identifier, _S.PUBLISHED, {_CONCLUDED: why.to_dict()})


def concluded(request: Request) -> Mapping[str, Any] | None:
    """The noted reason why nothing was forgotten for a request; None where something was."""
    for step in request.history:
        if step.status is _S.PUBLISHED and _CONCLUDED in step.detail:
            return {**step.detail[_CONCLUDED], "at": step.at}
    return None


def certify(
    context: RequestContext, identifier: str, model: str, chosen: Chosen, *, served: bool
) -> Request:
    """Answer an approved request by what a private training promised: the model stays as it is.

    The ledger notes that the model's weights bound the records. These get tombstones and are
    barred, and the closure begins. Called again after a crash, this goes on where it was.

    Args:
        context: the ledger and settings.
        identifier: the request's id.
        model: the id of the model.
        chosen: the plan, whose promise suffices.
        served: whether the model was planned for since it is serving.

    Raises:
        UnknownName: no such request or model.
        StateError: the plan is another, or the model is gone.
        Overtaken: another version serves by now; plan again.
        InputError: the request is not approved.
    """
    store, promise = context.store, chosen.promise
    request, fact = store.request(identifier), store.model(model)
    if request.status is _S.PUBLISHED and "model" in request.history[-1].detail:
        return request
    if promise is None or not (chosen.unchanged and promise.suffices):
        raise StateError(f"the plan of request {identifier} changes the model: run it")
    if fact.tombstone is not None:
        raise StateError(f"model {fact.id} is gone ({fact.tombstone.reason}): plan again")
    if served and store.aliases().get(SERVING) != fact.id:
        raise Overtaken(
            f"another model than {fact.id} serves by now, and request {identifier} was not "
            "answered: plan it again"
        )
    if request.status is not _S.AUDITED:
        detail = {"model": fact.id, "chosen": chosen.to_dict()}
        store.advance_request(identifier, _S.RUNNING, detail)
        store.advance_request(identifier, _S.AUDITED, {"method": PRIVATE})
    lineage = lineage_of(store, request)
    (state,) = [one for one in lineage.models if one.model.id == fact.id]
    held: dict[str, set[str]] = {}
    for record in state.contained:
        held.setdefault(record.dataset, set()).add(record.id)
    store.certify_records(
        fact.id,
        [
            DatasetUse(dataset=d, forgotten=frozenset(ids), guarantee=Guarantee.CERTIFIED)
            for d, ids in held.items()
        ],
        request=identifier,
    )
    tombstone(context, request, lineage, request.kind.value)
    said = {"model": fact.id, ANSWER: certified(store, request, fact, promise)}
    return store.advance_request(identifier, _S.PUBLISHED, said)


def destroys(store: Store, identifiers: Sequence[str]) -> bool:
    """Whether the request asks for a model's destruction.

    Raises:
        UnknownName: no such request.
        InputError: it does, and is given together with other requests.
    """
    kinds = {store.request(identifier).kind for identifier in identifiers}
    if RequestKind.DESTROY in kinds and len(identifiers) > 1:
        raise InputError("a model is destroyed by itself: give that request alone")
    return RequestKind.DESTROY in kinds


_TO_PLAN = (
    RequestStatus.RECEIVED,
    RequestStatus.IDENTIFIED,
    RequestStatus.LOCATED,
    RequestStatus.PLANNED,
)


def plan_destruction(context: RequestContext, identifier: str) -> tuple[Model, ...]:
    """Plan a destruction: of the model asked for and all its descendants.

    Raises:
        InputError: the request is of another kind, or not to be planned now.
    """
    request = _of_kind(context, identifier)
    if request.status not in _TO_PLAN:
        raise InputError(not_now(context, request, "its plan is made already, or waits"))
    going = models_to_delete(context.store, request)
    detail = {"destroy": [model.id for model in going]}
    if request.status in (RequestStatus.RECEIVED, RequestStatus.IDENTIFIED):
        request = context.store.advance_request(identifier, RequestStatus.LOCATED, detail)
    if request.status is RequestStatus.LOCATED:
        context.store.advance_request(identifier, RequestStatus.PLANNED, detail)
    return going


def destroy(context: RequestContext, identifier: str) -> tuple[Request, tuple[Model, ...]]:
    """Remove the weights, checkpoints and aliases of every model to destroy; its facts stay.

    Raises:
        InputError: two people have not approved it.
    """
    request = _of_kind(context, identifier)
    if request.status not in (RequestStatus.APPROVED, RequestStatus.RUNNING):
        raise InputError(
            not_now(context, request, "it is planned, and two people approve it, first")
        )
    going = models_to_delete(context.store, request)
    store = context.store
    if request.status is RequestStatus.APPROVED:
        store.advance_request(identifier, RequestStatus.RUNNING, {"destroy": [m.id for m in going]})
    for model in reversed(going):
        keep_weights(store, model, context.settings.models)
        store.tombstone_model(model.id, f"destroyed for request {identifier}")
    for model in store.models():
        if model.tombstone is not None:
            remove_model(context.settings.models / model.path)
    store.advance_request(
        identifier, RequestStatus.AUDITED, {"left": len(models_to_delete(store, request))}
    )
    detail = {
        ANSWER: destroyed(store, request, store.model(request.scope["model"])),
        "destroyed": [model.id for model in going],
    }
    return store.advance_request(identifier, RequestStatus.PUBLISHED, detail), going


def _of_kind(context: RequestContext, identifier: str) -> Request:
    request = context.store.request(identifier)
    demand_kind(request, RequestKind.DESTROY, "a model is destroyed for those")
    return request
