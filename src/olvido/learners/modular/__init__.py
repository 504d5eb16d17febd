"""Modules behind a router: adapters on a frozen base, each of which knows a few of the people."""

from olvido.learners.modular.learner import Modular

__all__ = ["Modular"]
