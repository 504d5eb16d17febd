"""Confidence intervals and error probabilities of differences, seed variance included."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95
LEAST_CONTROLS = 5
"""People who were never members, at the least, to estimate chance from."""
SEEDS = 3
"""Never-trained models, at the least, to estimate the variance between seeds."""


@dataclass(frozen=True)
class Chance:
    """Distribution of a model's difference from the never-trained models' mean on non-members.

    Attributes:
        sd: standard deviation of that difference.
        dof: degrees of freedom behind it.
    """

    sd: float
    dof: float

    def p(self, excess: float, low: float | None, high: float | None) -> float:
        """Probability that chance alone carries a difference this far out of a tolerated range.

        Two-sided where the range is closed on both sides; 1 within the range.
        """
        from scipy.stats import t

        out = max(
            excess - high if high is not None else -math.inf,
            low - excess if low is not None else -math.inf,
        )
        if not out > 0:
            return 1.0 if out <= 0 else math.nan
        tail = float(t.sf(out / self.sd, self.dof)) if self.sd else 0.0
        return min(1.0, tail * (2 if low is not None and high is not None else 1))

    def interval(self, excess: float) -> tuple[float, float]:
        """The limits of the 95% interval about a difference."""
        from scipy.stats import t

        reach = float(t.ppf((1 + LEVEL) / 2, self.dof)) * self.sd
        return excess - reach, excess + reach


def chance(forgotten: Values, controls: Values, *, unit: float) -> Chance | None:
    """Chance differences of the candidate's value on the forget set, from control subjects.

    A placebo test (Abadie et al. 2010, section 2.4): the comparison made for the forgotten is made
    for people for whom the candidate and the references are never-trained models alike, and for
    each reference in the candidate's place. The part that all differences share (another seed
    shifts everybody) is separated from the part that varies between people, since only the latter
    averages out over several forgotten people. The candidate's own shift counts only where there
    are fewer
    than three references: otherwise an odd candidate would widen its own tolerance.

    Args:
        forgotten: a value for each model, the candidate's first, and forgotten subject. [1 + R, K]
        controls: the same for subjects that no model was taught. [1 + R, G]
        unit: the least step by which a value can differ, the share of one record: where all
            placebos agree entirely, one such step among them cannot be ruled out.

    With fewer than five controls only the references count, each in the candidate's place.

    Returns:
        None where there are neither five controls nor three references: nothing can be said.
    """
    models, people = controls.shape
    references, subjects = models - 1, forgotten.shape[1]
    if people < LEAST_CONTROLS:
        if references < SEEDS:
            return None
        spread = float(np.var(forgotten[1:].mean(axis=1), ddof=1)) * (1 + 1 / references)
        return Chance(math.sqrt(spread + unit**2 / references), references - 1)
    rows = [controls[0] - controls[1:].mean(axis=0)]
    if references > 1:
        # A reference is compared with one fewer than the candidate: brought to the same spread.
        scale = math.sqrt((1 + 1 / references) / (1 + 1 / (references - 1)))
        both = np.concatenate([forgotten, controls], axis=1)[1:]
        rest = (both.sum(axis=0) - both) / (references - 1)
        rows += list(scale * (both - rest))
    count = sum(map(len, rows))
    floor = unit**2 / (count + 1)
    if references < SEEDS:
        values = np.concatenate(rows)
        return Chance(math.sqrt(float(np.mean(values**2)) / subjects + floor), people - 1)
    apart = [row - row.mean() for row in rows]
    within = sum(float(row @ row) for row in apart) / (count - len(rows))
    shared = float(np.mean([row.mean() ** 2 for row in rows[1:]])) - within / (people + subjects)
    between = max(0.0, shared)
    total = between + within / subjects + floor
    # Welch-Satterthwaite: few references make only a shared shift uncertain.
    parts = between**2 / (references - 1) + (within / subjects + floor) ** 2 / (count - len(rows))
    return Chance(math.sqrt(total), total**2 / parts if parts else float(count))


def by_luck(right: float, of: int, others: float, among: int) -> float:
    """Probability that one model gets this many right answers or more where all answer alike.

    The exact test of Fisher (1935), one-sided. Where questions are few an answer is right or wrong,
    and a share of them is not as smooth as `Chance` assumes. Where a fact is asked more than once,
    its right answers count as fractions of one; the fraction beyond whole facts is taken from the
    model and added to the others.

    Args:
        right, of: facts that the model answers, and how many it was asked.
        others, among: the same for never-trained models, all together.

    >>> round(by_luck(1, 10, 0, 270), 3)
    0.036
    """
    from scipy.stats import hypergeom

    floor_right, beside = math.floor(right + 1e-9), math.ceil(others - 1e-9)
    return float(hypergeom.sf(floor_right - 1, of + among, floor_right + beside, of))


def lower(forgotten: Values, others: Values, *, share: float = 1.0) -> float:
    """Probability that chance alone puts the forgotten's mean below this share of the others'.

    One-sided, by Student's t with the variance pooled over people: the forgotten and the others
    come from one population where nobody was taught.

    Args:
        forgotten: a value for each forgotten person. [K]
        others: the same for other people. [G]
        share: of the others' mean.

    Returns:
        nan where a value is not a number, or where there are fewer than two people.

    >>> round(lower(np.array([1.0]), np.array([3.0, 4.0, 5.0])), 3)
    0.061
    """
    from scipy.stats import t

    dof = len(forgotten) + len(others) - 2
    if dof < 1 or not len(forgotten):
        return math.nan
    apart = sum(float(((v - v.mean()) ** 2).sum()) for v in (forgotten, others))
    sd = math.sqrt(apart / dof * (1 / len(forgotten) + share**2 / len(others)))
    distance = float(forgotten.mean() - share * others.mean())
    if sd == 0:
        return math.nan if distance != distance else float(distance >= 0)
    return float(t.cdf(distance / sd, dof))


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted to bound the probability of any false alarm (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, p[i] * (len(p) - place)))
        adjusted[i] = highest
    return adjusted


def clusters_of(keys: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """Positions of the probes with equal keys, in the order of their first."""
    found: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, []).append(position)
    return [np.array(positions, dtype=np.intp) for positions in found.values()]


def excess_draws(
    candidate: Values,
    references: Sequence[Values],
    clusters: Sequence[NDArray[np.intp]],
    *,
    seed: int = 0,
) -> Values:
    """Bootstrap of the candidate's mean less the references' mean. [RESAMPLES]

    Clusters (subjects, or facts: probes of one are not independent) are drawn with replacement, and
    so are the references (another seed would have given another model). Efron and Tibshirani 1993,
    chapter 13.

    Args:
        candidate: one value a probe. [n]
        references: the same for each reference. R x [n]
        clusters: positions of each cluster's probes.
        seed: of the resampling.
    """
    draw = np.random.default_rng(seed)
    facts, models = len(clusters), len(references)
    sizes = np.array([len(at) for at in clusters], dtype=float)
    # How often each cluster, and each reference, is drawn in each resample.
    drawn = draw.multinomial(facts, np.full(facts, 1 / facts), size=RESAMPLES)
    judges = draw.multinomial(models, np.full(models, 1 / models), size=RESAMPLES)
    sums = np.array([[values[at].sum() for at in clusters] for values in (candidate, *references)])
    means = (drawn @ sums.T) / (drawn @ sizes)[:, None]
    found: Values = means[:, 0] - (means[:, 1:] * judges).sum(axis=1) / models
    return found


def limits(draws: Values) -> tuple[float, float]:
    """The middle 95% of a bootstrap."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def tail(draws: Values, low: float | None, high: float | None) -> float:
    """The share of a bootstrap on the tolerated side of the bound that is likelier exceeded.

    Never 0, however many draws (Davison and Hinkley 1997, section 4.2.5).

    >>> round(tail(np.array([-0.5, -0.4, -0.3]), -0.1, None), 2)
    0.25
    """
    if np.isnan(draws).any():
        return float("nan")
    sides = []
    if low is not None:
        sides.append(int((draws >= low).sum()))
    if high is not None:
        sides.append(int((draws <= high).sum()))
    if not sides:
        return 1.0
    return min(1.0, len(sides) * (1 + min(sides)) / (1 + len(draws)))


def auc(members: Values, others: Values) -> float:
    """Probability that a member's value lies above a non-member's, ties counted half.

    >>> auc(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    0.875
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    wins = ranks.sum() - len(members) * (len(members) + 1) / 2
    return float(wins / (len(members) * len(others)))


def bisected(
    holds: Callable[[float], bool], low: float, high: float, rounds: int
) -> tuple[float, float]:
    """Bisect for the point where a monotone predicate begins to hold.

    Args:
        holds: called once a round, in the middle of the interval.
        low, high: where it does not hold, and where it does.
        rounds: halvings.

    Returns:
        The last point at which it does not hold, and the first at which it does.

    >>> bisected(lambda x: x >= 0.3, 0.0, 1.0, 4)
    (0.25, 0.3125)
    """
    for _ in range(rounds):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low, high
