"""A stand-in for a model: what it finds of each text is written down by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from olvido.audits.scoring import Score
from olvido.tasks import Example


class Told:
    """Answers for a witness: losses in nats a token (one token, unless told), texts, by hand."""

    def __init__(
        self,
        losses: Mapping[str, float],
        answers: Mapping[str, str] | None = None,
        tokens: Mapping[str, int] | None = None,
    ) -> None:
        self.losses, self.texts, self.tokens = losses, answers or {}, tokens or {}

    def scores(self, records: Sequence[Example]) -> list[Score]:
        """By completion, or by prompt and completion."""
        return [scored(self._loss(r), self.tokens.get(r.completion, 1)) for r in records]

    def answers(self, records: Sequence[Example]) -> list[str]:
        """By prompt."""
        return [self.texts[record.prompt] for record in records]

    def _loss(self, record: Example) -> float:
        both = f"{record.prompt}|{record.completion}"
        return self.losses[both] if both in self.losses else self.losses[record.completion]


def scored(loss: float, tokens: int) -> Score:
    nothing = np.zeros(tokens)
    rank = np.full(tokens, 0 if loss < math.log(2) else 1)
    made: Any = Score
    score: Score = made(np.full(tokens, -loss), nothing, nothing, rank)
    return score
