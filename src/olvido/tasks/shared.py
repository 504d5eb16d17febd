"""A beginning that several texts share is read once: many answers to one long question."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from olvido.tasks.base import Batch

WORTH = 512
"""Tokens, at the least, that have to be saved: two passes over little cost more than one."""
TRIED = 16
"""Tokens on either side of the cut on which a model is tried."""
NEAR = 1e-5
"""How far apart, as a share of the largest state, both ways may lie: ten times what float32 leaves,
and less than half precision does."""


def shared_tokens(batch: Batch) -> int:
    """Tokens that all rows begin with and that nothing is asked of; 0 where they save too little.

    The last of them stays with the rest, since the first answer is read off its state.
    """
    alike = (batch.input_ids == batch.input_ids[:1]).all(dim=0).long().cumprod(dim=0).sum()
    first = (batch.targets != -100).int().argmax(dim=1).min()
    shared = int(min(alike, first)) - 1
    return shared if shared * (len(batch.ids) - 1) >= WORTH else 0


def reread(body: Any, batch: Batch, shared: int) -> Tensor:
    """States after the tokens that follow the shared ones. [B, T - shared, D]"""
    return _after(body, batch.input_ids, batch.attention_mask, shared)


@torch.no_grad()
def goes_on(body: Any, batch: Batch, shared: int) -> bool:
    """Whether a model goes on from what it has read as if it had read it all at once.

    Found by trying it on a few tokens, so that no list of architectures can go stale.
    """
    cut = min(shared, TRIED)
    ids = batch.input_ids[:2, shared - cut : shared + TRIED]
    mask = batch.attention_mask[:2, shared - cut : shared + TRIED]
    if not _keeps(body(input_ids=ids[:1, :cut], use_cache=True)):
        return False
    whole = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, cut:]
    apart = (_after(body, ids, mask, cut) - whole)[mask[:, cut:] == 1].abs().max()
    return bool(apart <= NEAR * whole.abs().max())


def _after(body: Any, ids: Tensor, mask: Tensor, shared: int) -> Tensor:
    kept = body(input_ids=ids[:1, :shared], use_cache=True).past_key_values
    kept.batch_repeat_interleave(len(ids))
    states: Tensor = body(
        input_ids=ids[:, shared:], attention_mask=mask, past_key_values=kept, use_cache=True
    ).last_hidden_state
    return states


def _keeps(out: Any) -> bool:
    return hasattr(getattr(out, "past_key_values", None), "batch_repeat_interleave")
