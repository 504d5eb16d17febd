"""Requests about what no model in use has learned: nothing to forget, and all the rest to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from olvido.errors import StateError
from olvido.ledger.facts import Guarantee, Request, RequestKind, RequestStatus
from olvido.ledger.lineage import Holding
from olvido.ledger.serving import PREVIOUS, SERVING
from olvido.ledger.store import Store
from olvido.requests.burial import bury
from olvido.requests.desk import Office, demand_forgetting
from olvido.requests.scope import lineage_of

_S = RequestStatus
_CONCLUDED = "untaught"
"""Marks the step by which a request was answered without any forgetting."""


@dataclass(frozen=True, slots=True)
class Untaught:
    """Why nothing is to be forgotten.

    Attributes:
        because: in a sentence.
        records: how many the request is about.
        model: the one that serves, None where none does.
        guarantee: under which it forgot them for an earlier request; None where it did not, or
            exactly.
    """

    because: str
    records: int
    model: str | None
    guarantee: Guarantee | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "because": self.because,
            "records": self.records,
            "model": self.model,
            "guarantee": self.guarantee and self.guarantee.value,
        }


def untaught(store: Store, request: Request, ref: str = SERVING) -> Untaught | None:
    """Why no model has to forget what a request is about; None where one has.

    Only names that point to models count, and not `previous`: an old version that holds it is
    erased, not taught again, and stands in the closure.

    Args:
        store: the ledger.
        request: what is asked.
        ref: the model that was meant; another one than that which serves is never excused.

    Raises:
        UnknownName: no such model.
        InputError: it is of a kind for which none ever has.
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
    return Untaught(because, len(found.records), serving, guarantee)


def planned(why: Untaught) -> dict[str, Any]:
    """What is written down as the plan of such a request."""
    return {
        "model": why.model or SERVING,
        "routes": [],
        "chosen": {"order": [], "because": why.because},
        _CONCLUDED: why.to_dict(),
    }


def conclude(office: Office, identifier: str) -> Request:
    """Answer an approved request that no model has to forget for: bury its records, bar them.

    Its closure begins then, as that of any other. Taken again it goes on where it was.

    Raises:
        UnknownName: no such request.
        StateError: a model in use holds the records: one has to forget them.
        InputError: it is not approved.
    """
    store = office.store
    request = store.request(identifier)
    if concluded(request) is not None:
        return request
    why = untaught(store, request)
    if why is None:
        raise StateError(
            f"a model in use holds what request {identifier} is about: plan it, and let that model "
            "forget"
        )
    if request.status is not _S.AUDITED:
        store.advance_request(identifier, _S.RUNNING, {"model": why.model})
        store.advance_request(identifier, _S.AUDITED, {"left": 0})
    bury(office, request, lineage_of(store, request), request.kind.value)
    return store.advance_request(identifier, _S.PUBLISHED, {_CONCLUDED: why.to_dict()})


def concluded(request: Request) -> Mapping[str, Any] | None:
    """Why nothing was forgotten for a request, as it was written down; None where something was."""
    for step in request.history:
        if step.status is _S.PUBLISHED and _CONCLUDED in step.detail:
            return {**step.detail[_CONCLUDED], "at": step.at}
    return None
