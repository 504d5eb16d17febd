"""Redistillation: go part of the way back to the base, then learn again what is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch

from olvido.errors import InputError
from olvido.learners import Trained
from olvido.methods.gradient.descent import Start
from olvido.methods.origin.repair import Repaired
from olvido.methods.origin.weights import module_of
from olvido.methods.types import Split
from olvido.tasks import Task


class Redistil(Repaired):
    """Begin between the original and the weights that it was trained from, then repair.

    keep * before + (1 - keep) * base, then many steps of `distillation` on retained records. Lee et
    al. 2025, arXiv 2506.06278 (UNDO), with the base in the place of noise: `keep` is a dial between
    the original and retraining on its own answers.

    Args:
        keep: share of the original weights.
    """

    name: ClassVar = "redistil"
    summary: ClassVar = "go part of the way back to the base, and learn again what is kept"
    loss: ClassVar = "that of `distillation`, from between the original and its base"
    source: ClassVar = "Lee et al. 2025, arXiv 2506.06278"
    suits: ClassVar = "resistance to relearning, at a good part of the price of retraining"
    example: ClassVar[Mapping[str, Any]] = {"keep": 0.7, "steps": 60}

    keep: float = 0.5
    retain_batch: int = 24
    steps: int | None = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.keep < 1:
            raise InputError(f"keep is a share from 0 to below 1, got {self.keep}")

    def start(self, trained: Trained, split: Split, task: Task, seed: int) -> Start:
        """Mix the weights."""
        begun = super().start(trained, split, task, seed)
        assert split.origin is not None
        model = copy.deepcopy(trained.model)
        with torch.no_grad():
            origin = module_of(split.origin)
            for ours, base in zip(model.parameters(), origin.parameters(), strict=True):
                if ours.requires_grad:
                    ours.lerp_(base.to(ours), 1 - self.keep)
        says = f"{self.keep:.0%} of the original weights and the rest of its base were taken"
        return replace(begun, model=model, says=says)
