"""Random label: teach a plausible wrong answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError, ParameterName
from olvido.methods.gradient.answers import FORWARD, Answers
from olvido.methods.gradient.descent import Descent
from olvido.methods.losses.preference import answered, drawn
from olvido.methods.types import Split
from olvido.tasks import Example, Task


class RandomLabel(Descent):
    """Learn a wrong class, or another record's answer, for each forgotten record.

    Loss: -log q / |q| of the wrong answer q, drawn once for each record: for arrays one of the
    other classes (Graves et al. 2021, arXiv 2010.10981), for text the answer of a retained record,
    of the same topic where there is one (Yao et al. 2023, arXiv 2310.10683, random mismatch, there
    beside ascent).
    """

    name: ClassVar = "random_label"
    summary: ClassVar = "learn a wrong class, or another record's answer"
    loss: ClassVar = "-log q of a wrong class, or of another record's answer"
    source: ClassVar = "Graves et al. 2021, arXiv 2010.10981; Yao et al. 2023, arXiv 2310.10683"
    suits: ClassVar = "classifiers"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 1e-3}
    paired: ClassVar = True
    indirect: ClassVar = True
    reference_cost: ClassVar = FORWARD

    def check(self, split: Split, task: Task) -> None:
        if not (task.classes or split.retain or split.holdout):
            raise InputError(
                "random_label takes its wrong answers from retained records: give some (",
                ParameterName("retain"),
                ")",
            )

    def alternative_targets(
        self, original: Module, split: Split, task: Task, seed: int
    ) -> Mapping[str, Example]:
        others: dict[object, set[str]] = {}
        for record in split.retain or split.holdout:
            others.setdefault(record.fields.get("topic"), set()).add(record.completion)
        everything = set(task.classes).union(*others.values())
        found = {}
        for record in split.forget:
            near = set(task.classes) or others.get(record.fields.get("topic"), everything)
            wrong = sorted(near - {record.completion} or everything - {record.completion})
            if not wrong:
                raise InputError(f"there is no other answer than that of record {record.id!r}")
            found[record.id] = answered(record, drawn(wrong, f"{seed}|{record.id}"))
        return found

    def forget_losses(self, now: Answers) -> Tensor:
        return -now.alternative.mean(now.alternative.log_p)
