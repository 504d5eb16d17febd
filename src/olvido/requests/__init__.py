"""From somebody's wish to a published model that has forgotten."""

from olvido.requests.batching import Batch, batches
from olvido.requests.flow import locate, plan, receive, run
from olvido.requests.planner import Choice, Route, choose, routes
from olvido.requests.types import Attempt, Forgotten, Probes

__all__ = [
    "Attempt",
    "Batch",
    "Choice",
    "Forgotten",
    "Probes",
    "Route",
    "batches",
    "choose",
    "locate",
    "plan",
    "receive",
    "routes",
    "run",
]
