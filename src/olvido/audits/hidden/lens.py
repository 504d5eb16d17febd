"""The logit lens: what each layer would say if it were the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Module

from olvido.audits.hidden.anatomy import NEAR, anatomy, picked, streams
from olvido.errors import InputError
from olvido.tasks import Example, Task


@dataclass(frozen=True)
class Reading:
    """What the lens shows at each layer for each record.

    Attributes:
        log_p: mean log-probability of the answer's tokens, nats a token. [L, R]
        exact: share of the answer's tokens that are the likeliest. [L, R]
    """

    log_p: NDArray[np.float64]
    exact: NDArray[np.float64]


@torch.no_grad()
def lens(model: Module, records: Sequence[Example], task: Task, *, batch: int = 16) -> Reading:
    """Read every layer's residual stream through the model's last norm and head.

    nostalgebraist 2020, "interpreting GPT: the logit lens". One forward pass; the head is applied
    where an answer's token is predicted and nowhere else. The last layer is the model itself.

    Args:
        model: a Hugging Face causal model, plain or with adapters; not changed.
        records: whose completions are looked for.
        task: language; of the model.
        batch: records a pass.

    Returns:
        Layers from the first block to the last, records in their order.

    Raises:
        InputError: no records; a model whose norm or head cannot be found; one that does something
            more to its logits, so that its last layer read off differs from what it says; or a
            task without tokens.
    """
    if not records:
        raise InputError("there are no records to look for")
    if not hasattr(task.collate(records[:1]), "input_ids"):
        raise InputError("the logit lens reads answers of tokens: arrays with a label have none")
    parts = anatomy(model)
    log_p = np.zeros((len(parts.blocks), len(records)))
    exact = np.zeros_like(log_p)
    device = next(model.parameters()).device
    for start in range(0, len(records), batch):
        ready = task.collate(records[start : start + batch]).to(device)
        seen = streams(model, parts, ready, task)
        size = len(ready.ids)
        counts = torch.bincount(seen.rows, minlength=size).double()
        for layer, states in enumerate(seen.states):
            logits = parts.head(parts.norm(states[seen.rows, seen.columns]))
            found = picked(logits, seen.targets)
            right = (logits.argmax(-1) == seen.targets).double()
            if layer == len(seen.states) - 1:
                _require_own(model, found, seen.log_p)
            for table, values in ((log_p, found.double()), (exact, right)):
                totals = torch.zeros_like(counts).index_add(0, seen.rows, values)
                table[layer, start : start + size] = (totals / counts).cpu().numpy()
    return Reading(log_p, exact)


def _require_own(model: Module, found: torch.Tensor, own: torch.Tensor) -> None:
    apart = float((found - own).abs().max())
    if not apart <= NEAR:
        raise InputError(
            f"the last layer of the {type(model).__name__} read through its norm and head is "
            f"{apart:.2g} nats off what the model says, at most {NEAR:g} is right: something "
            "stands after the head (a cap, a scale, a hook)"
        )
