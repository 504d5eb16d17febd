"""Targets drawn from the model's own distribution, each record's by itself.

A record's draws depend on its id, the seed and what the model says to it, and on no other record:
in other batches, or without some of them, the rest draw the same. So the curvature of all records
less that of some is the curvature of the rest, and not something near it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def drawn_targets(logits: Tensor, ids: Sequence[str], rows: Tensor, draw: str) -> Tensor:
    """A class for each target, with the probability that the model gives it. [N]

    Args:
        logits: of each target. [N, V]
        ids: of the batch's records. [B]
        rows: the record of each target, in ascending order. [N]
        draw: names the draw; another name draws anew.
    """
    counts = torch.bincount(rows, minlength=len(ids)).tolist()
    uniform = torch.cat(
        [
            torch.rand(count, generator=torch.Generator().manual_seed(_seed(f"{draw}/{name}")))
            for name, count in zip(ids, counts, strict=True)
        ]
    )
    heights = logits.detach().float().softmax(-1).cumsum(-1)
    # Rounding may leave the last height a little off 1.
    wanted = uniform.to(heights).unsqueeze(-1) * heights[:, -1:]
    found = torch.searchsorted(heights, wanted, right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1
