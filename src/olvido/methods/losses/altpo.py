"""AltPO: prefer a plausible alternative answer that the model generates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch.nn import Module

from olvido.methods.gradient.answers import FORWARD
from olvido.methods.gradient.sampling import asked_of_others
from olvido.methods.losses.preference import Preference, answered, refused
from olvido.methods.types import Split
from olvido.tasks import Example, Language, Task

VARIANTS = 3
"""Other people that are asked about, until one of them has another answer."""


class AltPO(Preference):
    """Alternate preference optimization (Mekala et al. 2024, arXiv 2409.13474;
    github.com/molereddy/Alternate-Preference-Optimization).

    The alternatives are generated once, before the first step, one for each record. There the model
    is instructed to invent other answers, five for each; here any model can be used, with the same
    question about somebody else. Where that gives no other answer, a refusal is used.
    """

    name: ClassVar = "altpo"
    summary: ClassVar = "prefer the answers that the model gives about others"
    loss: ClassVar = "preference for what the model answers about others"
    source: ClassVar = "Mekala et al. 2024, arXiv 2409.13474"
    suits: ClassVar = "text whose forgotten questions are to have plausible answers"
    reference_cost: ClassVar = FORWARD * (1 + VARIANTS)

    def alternative_targets(
        self, original: Module, split: Split, task: Task, seed: int
    ) -> Mapping[str, Example]:
        assert isinstance(task, Language)
        found: dict[str, Example] = {}
        for variant in range(VARIANTS):
            left = [record for record in split.forget if record.id not in found]
            others = asked_of_others(original, task, left, variant=variant, seed=seed)
            for record in left:
                other = others.get(record.id)
                if other is not None and other.completion != record.completion:
                    found[record.id] = answered(record, other.completion)
        return {**refused(split.forget, seed), **found}
