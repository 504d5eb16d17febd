"""A stand-in for a model: what it finds of each text is written down by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from olvido.audits.scoring import Score
from olvido.tasks import Example


class Told:
    """Answers for a witness with losses (nats a token, one token each) and texts given by hand."""

    def __init__(
        self, losses: Mapping[str, float], answers: Mapping[str, str] | None = None
    ) -> None:
        self.losses, self.texts = losses, answers or {}

    def scores(self, records: Sequence[Example]) -> list[Score]:
        """By completion, or by prompt and completion."""
        return [one_token(self._loss(r)) for r in records]

    def answers(self, records: Sequence[Example]) -> list[str]:
        """By prompt."""
        return [self.texts[record.prompt] for record in records]

    def _loss(self, record: Example) -> float:
        both = f"{record.prompt}|{record.completion}"
        return self.losses[both] if both in self.losses else self.losses[record.completion]


def one_token(loss: float) -> Any:
    nothing = np.zeros(1, dtype=np.float64)
    rank = np.array([0 if loss < math.log(2) else 1])
    return Score(np.array([-loss]), nothing, nothing, rank)
