"""IdkDPO: prefer "I don't know" to the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch.nn import Module

from olvido.methods.losses.preference import Preference, refused, refused_epoch_tokens
from olvido.methods.types import Split
from olvido.tasks import Example, Task


class IdkDPO(Preference):
    """Direct preference optimization towards refusals (Zhang et al. 2024, arXiv 2404.05868, section
    5, DPO; refusals after Maini et al. 2024, arXiv 2401.06121)."""

    name: ClassVar = "idkdpo"
    summary: ClassVar = "prefer a refusal to the records' answers"
    loss: ClassVar = "preference for a refusal"
    source: ClassVar = "Zhang et al. 2024, arXiv 2404.05868"
    suits: ClassVar = "text whose forgotten questions are to be declined, which an audit may see"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 1e-3}
    indirect: ClassVar = True

    def alternative_targets(
        self, original: Module, split: Split, task: Task, seed: int
    ) -> Mapping[str, Example]:
        return refused(split.forget, seed)

    def epoch_tokens(self, split: Split, task: Task) -> float:
        return refused_epoch_tokens(split.forget, task)
