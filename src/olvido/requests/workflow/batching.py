"""Open requests that touch the same part of a model are cheaper together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from olvido.ledger.facts import Request, RequestKind, RequestStatus
from olvido.ledger.lineage import Holding
from olvido.requests.handlers import needs_decision
from olvido.requests.scope import lineage_of
from olvido.workspace import SERVING, Workspace

_READY = (
    RequestStatus.RECEIVED,
    RequestStatus.IDENTIFIED,
    RequestStatus.LOCATED,
    RequestStatus.PLANNED,
    RequestStatus.APPROVED,
)


@dataclass(frozen=True)
class RequestBatch:
    """Requests to be answered in one run.

    Attributes:
        requests: their ids.
        parts: the shards or modules that are trained again for them.
    """

    requests: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def because(self) -> str:
        """Why the requests go together, in a sentence."""
        if len(self.requests) == 1:
            return f"{self.requests[0]} is alone in {', '.join(self.parts)}"
        return (
            f"{', '.join(self.requests)} touch {', '.join(self.parts)}: together it is trained "
            "again once"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "requests": list(self.requests),
            "parts": list(self.parts),
            "because": self.because,
        }


def _answerable(request: Request) -> bool:
    ready = request.status in _READY or needs_decision(request)
    return ready and request.kind.forgets and request.kind is not RequestKind.DESTROY


def batches(
    workspace: Workspace, ref: str = SERVING, among: Iterable[Request] | None = None
) -> tuple[RequestBatch, ...]:
    """Group the requests whose records a model holds by the parts that they share.

    A monolithic model is one part: all its requests go together.

    Args:
        workspace: the workspace with the requests and the model.
        ref: the model.
        among: the requests to look at; None: all that are open and do not run.

    Raises:
        UnknownName: no such model.
    """
    held = workspace.load(ref)
    trace = held.trained.trace
    found: list[tuple[set[str], set[str]]] = []
    if among is None:
        among = filter(_answerable, workspace.store.requests())
    for request in among:
        states = lineage_of(workspace.store, request).models
        ids = {
            record.id
            for state in states
            if state.model.id == held.fact.id and state.holding is Holding.HOLDS
            for record in state.contained
        }
        if not ids:
            continue
        parts = {"the model"} if trace.single else set(trace.hit(ids))
        requests = {request.id}
        for group in [group for group in found if group[1] & parts]:
            found.remove(group)
            requests |= group[0]
            parts |= group[1]
        found.append((requests, parts))
    return tuple(RequestBatch(tuple(sorted(r)), tuple(sorted(p))) for r, p in found)
