"""From somebody's wish to a published model that has forgotten."""

from olvido.requests.flow import Attempt, Forgotten, Probes, locate, plan, receive, run
from olvido.requests.planner import Route, routes

__all__ = [
    "Attempt",
    "Forgotten",
    "Probes",
    "Route",
    "locate",
    "plan",
    "receive",
    "routes",
    "run",
]
