"""Module: train again only the adapters that learned the records."""

from __future__ import annotations

from olvido.forgetting.exact.base import Exact
from olvido.forgetting.guarantee import Need


class Module(Exact):
    """Adapters apart from each other on a base that learned nothing: only theirs are trained again;
    the router loses the records' rows and the cache their activations (S3T, arXiv 2406.16257, has
    adapters learn shards slice by slice)."""

    summary = "train again the modules that learned the records, and unhook them from the router"
    needs: frozenset[Need] = frozenset({Need.MODULES})
