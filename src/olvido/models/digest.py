"""The digest of a model's weights: same numbers, same digest, whatever file they lie in."""

from __future__ import annotations

import hashlib

import torch
from torch.nn import Module

from olvido.models.composite.ensemble import Ensemble


def weights_digest(model: Module) -> str:
    """SHA-256 over every distinct parameter and persistent buffer: name, dtype, shape, bytes.

    Tied weights count once, so a model keeps its digest through `save_pretrained`. An ensemble's is
    over its members' digests, whether or not members share weights in memory.

    Returns:
        `sha256:` and 64 hexadecimal digits.

    >>> a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    >>> weights_digest(a) == weights_digest(a), weights_digest(a) == weights_digest(b)
    (True, False)
    """
    if isinstance(model, Ensemble):
        digests = "|".join(weights_digest(member) for member in model.members)
        return f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}"
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    persistent = set(model.state_dict())
    named |= {name: buffer for name, buffer in model.named_buffers() if name in persistent}
    total = hashlib.sha256()
    for name in sorted(named):
        tensor = named[name].cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{total.hexdigest()}"
