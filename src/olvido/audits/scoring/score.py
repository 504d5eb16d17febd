"""What one forward pass over a record tells, token by token."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

CHUNK = 256
"""Positions looked at together: with a vocabulary of 50,000 they take 50 MB a copy."""


@dataclass(frozen=True, eq=False)
class Score:
    """How one model sees one completion of T tokens, end of text included.

    Attributes:
        per_token: log-probability of each token, in nats. [T]
        mean: what that log-probability is expected to be if the model itself drew the token, which
            is minus the entropy of its distribution. [T]
        variance: of the log-probability of a token that the model drew. [T]
        rank: how many tokens the model finds likelier; 0: it would say this one. [T]
    """

    per_token: Floats
    mean: Floats
    variance: Floats
    rank: NDArray[np.int32]

    @property
    def entropy(self) -> Floats:
        """Of the model's distribution at each token, in nats. [T]"""
        return -self.mean

    @property
    def tokens(self) -> int:
        """T."""
        return len(self.per_token)

    @property
    def log_p(self) -> float:
        """Summed log-probability of the completion, in nats."""
        return float(self.per_token.sum(dtype=np.float64))

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood, nats a token."""
        return -self.log_p / self.tokens

    @property
    def probability(self) -> float:
        """Geometric mean probability of a token (TOFU, arXiv 2401.06121, section 2.2.2)."""
        return math.exp(-self.loss)

    @property
    def exact(self) -> bool:
        """Whether greedy decoding would give exactly the completion.

        It does where every token is the likeliest after the ones before it, so no generation is
        needed to know.
        """
        return not self.rank.any()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Score) and all(
            np.array_equal(mine, others, equal_nan=mine.dtype.kind == "f")
            for mine, others in zip(self.arrays, other.arrays, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, NDArray[np.int32]]:
        """All four, in the order of the attributes."""
        return self.per_token, self.mean, self.variance, self.rank


def look(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probability, its mean and variance under the model, and rank of each target.

    Args:
        logits: as the head gives them. [N, V]
        targets: [N]

    Returns:
        Four tensors on the processor. [N] each
    """
    found: list[tuple[Tensor, ...]] = []
    for start in range(0, len(targets), CHUNK):
        part, wanted = logits[start : start + CHUNK].float(), targets[start : start + CHUNK, None]
        log_p = part.log_softmax(-1)
        p = log_p.exp()
        # A token that a filter forbids has log-probability -inf; drawn never, it adds nothing.
        possible = p != 0
        mean = torch.where(possible, p * log_p, 0).sum(-1)
        off = torch.where(possible, p * (log_p - mean[:, None]).square(), 0).sum(-1)
        rank = (part > part.gather(-1, wanted)).sum(-1)
        # Of equals, decoding takes one; and what is not a number is not recalled.
        missed = part.argmax(-1, keepdim=True) != wanted
        rank = torch.maximum(rank, missed.squeeze(-1).to(rank))
        found.append((log_p.gather(-1, wanted).squeeze(-1), mean, off, rank))
    log_ps, means, variances, ranks = (
        torch.cat(column).cpu() for column in zip(*found, strict=True)
    )
    return log_ps, means, variances, ranks
