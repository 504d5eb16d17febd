"""Gradient projection: remove the component of the forget gradient that damages the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from olvido.training.sharding import dot


class Projection:
    """Remove from the forget gradient the component that conflicts with the regulariser's
    gradient.

    Where the two conflict, g_forget - (g_forget . g_guard / |g_guard|^2) g_guard replaces it,
    which to first order leaves the regulariser's loss unchanged (Yu et al. 2020, arXiv
    2001.06782, algorithm 1, for one of the two gradients; over all parameters as one vector).
    Memory: one more gradient.

    Args:
        parameters: the parameters of the gradients.
    """

    def __init__(self, parameters: Sequence[Any]) -> None:
        self._parameters = parameters
        self._forget: list[Any] = []

    def set_aside(self) -> None:
        """Store and clear the forget gradient, so that the regulariser's is computed alone."""
        self._forget = [p.grad for p in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def bring_back(self) -> None:
        """Add the part of the forget gradient that does not conflict to the regulariser's."""
        pairs = [
            (ours, p.grad)
            for ours, p in zip(self._forget, self._parameters, strict=True)
            if ours is not None and p.grad is not None
        ]
        ours_, theirs_ = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
        square = dot(theirs_, theirs_)
        share = min(dot(ours_, theirs_), 0.0) / square if square else 0.0
        for parameter, ours in zip(self._parameters, self._forget, strict=True):
            if ours is None:
                continue
            if parameter.grad is None:
                parameter.grad = ours
            else:
                parameter.grad.mul_(1 - share).add_(ours)
        self._forget = []
