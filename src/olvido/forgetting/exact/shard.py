"""Shard: train again only the shards that learned the records, from the slice they came in."""

from __future__ import annotations

from typing import ClassVar

from olvido.forgetting.exact.base import Exact
from olvido.forgetting.guarantee import Need


class Shard(Exact):
    """SISA's way to forget (Bourtoule et al. 2021, arXiv 1912.03817)."""

    name: ClassVar = "shard"
    summary: ClassVar = "train again the shards that learned the records, from before they came in"
    loss: ClassVar = "none: their shards are trained again, from before they came in"
    source: ClassVar = "Bourtoule et al. 2021, arXiv 1912.03817"
    suits: ClassVar = "a model whose people leave one by one (learner `sharded`)"
    needs = frozenset({Need.SHARDS})
