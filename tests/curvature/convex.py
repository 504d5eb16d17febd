"""Softmax regression at its optimum, where every approximation can be held against the truth."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from tests.curvature.worlds import World

from olvido.tasks import Example


def optimum(world: World, records: Sequence[Example]) -> Any:
    """The model of the least mean loss over records, from where the world's model stands."""
    model = copy.deepcopy(world.model)
    batch = world.task.collate(records)
    descent = torch.optim.LBFGS(
        model.parameters(), max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        descent.zero_grad()
        loss = world.task.losses(model, batch).mean()
        loss.backward()
        return float(loss.detach())

    descent.step(closure)
    descent.zero_grad(set_to_none=True)
    return model.eval()


def weights(model: Any) -> torch.Tensor:
    """All weights, without the part that softmax cannot see (a shift of all classes alike)."""
    return torch.cat([(p - p.mean(0, keepdim=True)).detach().flatten() for p in model.parameters()])
