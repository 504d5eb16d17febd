"""Gradient projection: what would undo the rest is taken out of the push to forget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Projection:
    """Takes the component that conflicts with the regulariser's gradient out of the forget
    gradient.

    Where the two point apart, g_forget - (g_forget . g_guard / |g_guard|^2) g_guard takes its
    place, which to first order leaves the regulariser's loss alone (Yu et al. 2020, arXiv
    2001.06782, algorithm 1, for one of the two gradients; over all parameters as one vector).
    Memory: one gradient more.

    Args:
        parameters: whose gradients are meant.
    """

    def __init__(self, parameters: Sequence[Any]) -> None:
        self._parameters = parameters
        self._forget: list[Any] = []

    def set_aside(self) -> None:
        """Take the forget gradient away, so that the regulariser's comes alone."""
        self._forget = [p.grad for p in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def bring_back(self) -> None:
        """Add what of the forget gradient does not conflict to the regulariser's."""
        pairs = [
            (ours, p.grad)
            for ours, p in zip(self._forget, self._parameters, strict=True)
            if ours is not None and p.grad is not None
        ]
        dot = sum(float((ours * theirs).sum()) for ours, theirs in pairs)
        norm = sum(float(theirs.square().sum()) for _, theirs in pairs)
        share = min(dot, 0.0) / norm if norm else 0.0
        for parameter, ours in zip(self._parameters, self._forget, strict=True):
            if ours is None:
                continue
            if parameter.grad is None:
                parameter.grad = ours
            else:
                parameter.grad.mul_(1 - share).add_(ours)
        self._forget = []
