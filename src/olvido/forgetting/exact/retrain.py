"""Train again without the records: the oracle that every other method is measured against."""

from __future__ import annotations

from typing import ClassVar

from olvido.forgetting.exact.base import Exact


class Retrain(Exact):
    """Run the logged training again from its start, in all its parts, without the records.

    Bourtoule et al. 2021 (arXiv 1912.03817) measure theirs against it; it needs no assumption at
    all.
    """

    name: ClassVar = "retrain"
    summary: ClassVar = "train again from the start without the records"
    loss: ClassVar = "none: the logged training is run again from its start"
    source: ClassVar = "Bourtoule et al. 2021, arXiv 1912.03817"
    suits: ClassVar = "the gold standard, and references for audits"
    from_start: ClassVar = True
