"""Shard: train again only the shards that learned the records, from the slice they came in."""

from __future__ import annotations

from olvido.forgetting.exact.base import Exact
from olvido.forgetting.guarantee import Need


class Shard(Exact):
    """SISA's way to forget (Bourtoule et al. 2021, arXiv 1912.03817)."""

    summary = "train again the shards that learned the records, from before they came in"
    needs: frozenset[Need] = frozenset({Need.SHARDS})
