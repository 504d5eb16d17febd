"""Approved requests are answered step by step, whatever crashes: by `olvido run`."""

from olvido.requests.workflow.order import ordered, waiting
from olvido.requests.workflow.worker import Worker

__all__ = ["Worker", "ordered", "waiting"]
