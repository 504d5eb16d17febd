"""Approved requests are answered step by step, whatever crashes: by `olvido run`."""

from olvido.requests.workflow.order import Order
from olvido.requests.workflow.worker import Worker, waiting

__all__ = ["Order", "Worker", "waiting"]
