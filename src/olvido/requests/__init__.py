"""From somebody's wish to a published model that has forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from olvido.requests.flow import answer, locate, plan, run
    from olvido.requests.handlers import receive
    from olvido.requests.planner import Choice, Route, choose, routes
    from olvido.requests.types import Attempt, ProbeSets, RequestOutcome
    from olvido.requests.workflow.batching import RequestBatch, batches

_HOMES = {
    "Attempt": "types",
    "RequestBatch": "workflow.batching",
    "Choice": "planner",
    "RequestOutcome": "types",
    "ProbeSets": "types",
    "Route": "planner",
    "answer": "flow",
    "batches": "workflow.batching",
    "choose": "planner",
    "locate": "flow",
    "plan": "flow",
    "receive": "handlers",
    "routes": "planner",
    "run": "flow",
}

__all__ = [
    "Attempt",
    "Choice",
    "ProbeSets",
    "RequestBatch",
    "RequestOutcome",
    "Route",
    "answer",
    "batches",
    "choose",
    "locate",
    "plan",
    "receive",
    "routes",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a name at its first use: laws and deadlines need no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'olvido.requests' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"olvido.requests.{_HOMES[name]}"), name)
