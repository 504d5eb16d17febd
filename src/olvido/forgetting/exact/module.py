"""Module: train again only the adapters that learned the records."""

from __future__ import annotations

from typing import ClassVar

from olvido.forgetting.exact.base import Exact
from olvido.forgetting.guarantee import Need


class Modules(Exact):
    """Adapters apart from each other on a base that learned nothing: only theirs are trained again;
    the router loses the records' rows and the cache their activations (S3T, arXiv 2406.16257, has
    adapters learn shards slice by slice)."""

    name: ClassVar = "module"
    summary: ClassVar = "train again the modules that learned the records, and unhook their rows"
    loss: ClassVar = "none: their modules are trained again"
    suits: ClassVar = "a pretrained model whose people leave one by one (learner `modular`)"
    needs = frozenset({Need.MODULES})
