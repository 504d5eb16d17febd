"""Replay: train again from the last checkpoint before the first use of any forgotten record."""

from __future__ import annotations

from typing import ClassVar

from olvido.forgetting.exact.base import Exact
from olvido.forgetting.guarantee import Need


class Replay(Exact):
    """Up to its records' first use a run is the same without them; from there it is done again.

    "Unlearning at Scale" (arXiv 2508.12220) replays a log of what each step did; here the plan
    says it beforehand, and the log's hash chain tells which checkpoints both runs share.
    """

    name: ClassVar = "replay"
    summary: ClassVar = "train again from the last checkpoint that knows nothing of the records"
    loss: ClassVar = (
        "none: the run is done again from the last checkpoint that knows nothing of them"
    )
    source: ClassVar = "arXiv 2508.12220"
    suits: ClassVar = "records that came late in a training that kept checkpoints"
    needs = frozenset({Need.STEP_LOG, Need.CHECKPOINTS})
