"""Intervals of differences, with the seed-to-seed spread of the references in them."""

from __future__ import annotations

from collections.abc import Sequence

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
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of the suspect's mean less the references' mean.

    Facts are drawn with replacement (probes of one fact are not independent), and so are the
    references (another seed would have given another model). Efron and Tibshirani 1993, chapter 13.

    Args:
        suspect: one value a probe. [n]
        references: the same for each reference. R x [n]
        clusters: positions of each fact's probes.
        seed: of the resampling.

    Returns:
        The limits of the 95% interval.
    """
    draw = np.random.default_rng(seed)
    facts, models = len(clusters), len(references)
    sizes = np.array([len(at) for at in clusters], dtype=float)
    # How often each fact, and each reference, is drawn in each resample.
    drawn = draw.multinomial(facts, np.full(facts, 1 / facts), size=RESAMPLES)
    judges = draw.multinomial(models, np.full(models, 1 / models), size=RESAMPLES)
    sums = np.array([[values[at].sum() for at in clusters] for values in (suspect, *references)])
    means = (drawn @ sums.T) / (drawn @ sizes)[:, None]
    expected = (means[:, 1:] * judges).sum(axis=1) / models
    low, high = np.quantile(means[:, 0] - expected, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
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
