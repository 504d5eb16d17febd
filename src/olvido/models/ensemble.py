"""Several models that answer together by the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, ModuleList

AGGREGATIONS = ("mean",)


class Ensemble(Module):
    """Members behind one forward."""

    def __init__(self, members: Iterable[Module], *, aggregation: str = "mean") -> None:
        super().__init__()
        self.members, self.aggregation = ModuleList(members), aggregation

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Log of the mean of the members' probabilities."""
        outputs = [member(*inputs, **named) for member in self.members]
        if isinstance(outputs[0], Tensor):
            return _mean(outputs)
        outputs[0].logits = _mean([output.logits for output in outputs])
        return outputs[0]


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack([one.log_softmax(-1) for one in logits]).logsumexp(0)
