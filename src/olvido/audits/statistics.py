"""Intervals of differences, with the seed-to-seed spread of the references in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95


def clusters_of(keys: Sequence[str]) -> list[NDArray[np.intp]]:
    """Positions of the probes that ask for one and the same fact, fact by fact."""
    found: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, []).append(position)
    return [np.array(positions, dtype=np.intp) for positions in found.values()]


def excess_interval(
    suspect: Values,
    references: Sequence[Values],
    clusters: Sequence[NDArray[np.intp]],
    statistic: Callable[[Values], float] = lambda values: float(values.mean()),
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of statistic(suspect) - mean statistic(references).

    Facts are drawn with replacement (probes of one fact are not independent), and so are the
    references (another seed would have given another model). Efron and Tibshirani 1993, chapter 13.

    Args:
        suspect: one value a probe. [n]
        references: the same for each reference. R x [n]
        clusters: positions of each fact's probes.
        statistic: of a sample of values.
        seed: of the resampling.

    Returns:
        The limits of the 95% interval.
    """
    draw = np.random.default_rng(seed)
    found = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        chosen = draw.integers(0, len(clusters), len(clusters))
        at = np.concatenate([clusters[c] for c in chosen])
        others = draw.integers(0, len(references), len(references))
        expected = np.mean([statistic(references[r][at]) for r in others])
        found[i] = statistic(suspect[at]) - expected
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def auc(members: Values, others: Values) -> float:
    """Probability that a member's value lies above a non-member's, ties counted half.

    >>> auc(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    0.875
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    wins = ranks.sum() - len(members) * (len(members) + 1) / 2
    return float(wins / (len(members) * len(others)))
