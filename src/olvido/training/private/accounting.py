"""What a private training promises; all sums are done by the accountants of Opacus."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from olvido.errors import InputError, UnknownName
from olvido.extras import extra

ACCOUNTANTS = ("prv", "rdp")
"""Numerical composition of privacy loss (Gopi et al. 2021, arXiv 2106.02848), and Renyi's
divergences (Mironov 2017, arXiv 1702.07476)."""

RELATION = "add or remove one unit"

_LARGEST = 100.0
"""An epsilon beyond which nothing is promised: some accountants take all memory there."""


@dataclass(frozen=True)
class Spent:
    """The promise of one private training: all that its epsilon was computed from.

    The distribution of the weights with a unit and without it differs by at most (epsilon, delta).

    Attributes:
        epsilon, delta: the promise.
        unit: `subject` or `record`.
        units: their number, which counts as public.
        accountant: which one computed epsilon.
        rate: the chance of each unit to be drawn in a step.
        noise: standard deviation of the noise of a step, in clipping bounds; with a clipping bound
            that adapts, of sums and bound together.
        clip: the longest gradient of a unit; of a bound that adapts, the first.
        steps: steps that were taken, empty draws included.
        most: records of a unit in a step, at the most.
        dropped: records that were left out, since they are about people of two units.
        quantile: of norms, that the clipping bound followed; None: it was constant.
        secret: whether draws and noise came from the operating system, and are gone.
    """

    epsilon: float
    delta: float
    unit: str
    units: int
    accountant: str
    rate: float
    noise: float
    clip: float
    steps: int
    most: int
    dropped: int = 0
    quantile: float | None = None
    secret: bool = True

    @property
    def batch(self) -> float:
        """The expected number of units of a step."""
        return self.rate * self.units

    def __str__(self) -> str:
        """The promise, in words."""
        whole = {"subject": "person, with all records that name them", "record": "record"}
        kept = "" if self.secret else "; the seed of its noise was chosen, and whoever knows it " \
            "can undo the noise"  # fmt: skip
        return (
            f"epsilon {self.epsilon:.3g} at delta {self.delta:.2g} for adding or removing one "
            f"{whole[self.unit]} (unit {self.unit}, {self.units} units; accountant "
            f"{self.accountant}; sampling probability {self.rate:.3g}, {self.batch:.3g} units "
            f"expected in a step; noise {self.noise:.3g}, clip {self.clip:g}, {self.steps} "
            f"steps){kept}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; relation, expected batch and words for people stand beside them."""
        return asdict(self) | {"relation": RELATION, "batch": self.batch, "promise": str(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: another neighbouring relation, under which the numbers mean something else.
        """
        given = {name: value for name, value in values.items() if name not in ("batch", "promise")}
        if (relation := given.pop("relation")) != RELATION:
            raise ValueError(f"expected the relation {RELATION!r}, got {relation!r}")
        return cls(**given)


def require_delta(delta: float | None, units: int) -> float:
    """The delta of a promise about so many units; None: the largest that says anything.

    Raises:
        InputError: it is so large that one unit in ten may be published as it is.
    """
    most = 1 / (10 * units)
    if delta is None:
        return most
    if not 0 < delta <= most:
        raise InputError(
            f"delta must lie above 0 and be at most 1/(10 n), {most:.3g} for {units} units, got "
            f"{delta:g}: a larger one allows whole units to be published"
        )
    return delta


@cache
def epsilon_of(
    noise: float, *, delta: float, rate: float, steps: int, accountant: str = "prv"
) -> float:
    """Epsilon of so many steps with Poisson sampling and Gaussian noise.

    Args:
        noise: its standard deviation, in clipping bounds.
        delta, rate, steps, accountant: see `Spent`.

    Raises:
        InputError: the noise is so small that no epsilon can be computed.
        UnknownName: no such accountant.
    """
    _require_known(accountant)
    found = _epsilon([(noise, rate, steps)], delta, accountant)
    if found == math.inf:
        raise InputError(
            f"noise {noise:g} is too little to promise anything (no epsilon up to {_LARGEST:g} "
            f"over {steps} steps, each with {rate:.2g} of all units): give more noise, fewer "
            "epochs or smaller batches"
        )
    return found


def together(promises: Sequence[tuple[Spent, int]]) -> tuple[float, float]:
    """What several private trainings promise one person, all of their results published.

    Where the person is one unit, the accountant adds up all steps of all trainings, at the least of
    their deltas; each may have begun at an earlier one's result, if its noise and steps did not
    hang on that. A promise about one record holds for a person's k records with k epsilon and
    k exp((k - 1) epsilon) delta (Dwork and Roth 2014, theorem 2.2), which are added to the rest.

    Args:
        promises: each with the number of the person's records that it covers.

    Returns:
        Epsilon and delta; infinity where nothing is promised.
    """
    whole: list[Spent] = []
    epsilon = delta = 0.0
    for spent, records in promises:
        if spent.unit == "subject" or records == 1:
            whole.append(spent)
            continue
        epsilon += records * spent.epsilon
        grown = math.exp(min((records - 1) * spent.epsilon, _LARGEST))
        delta += records * grown * spent.delta
    if len(whole) == 1:
        epsilon, delta = epsilon + whole[0].epsilon, delta + whole[0].delta
    elif whole:
        least = min(spent.delta for spent in whole)
        names = {spent.accountant for spent in whole}
        history = [(spent.noise, spent.rate, spent.steps) for spent in whole]
        epsilon += _epsilon(history, least, names.pop() if len(names) == 1 else "rdp")
        delta += least
    return (epsilon, delta) if epsilon <= _LARGEST and delta < 1 else (math.inf, min(delta, 1.0))


def _epsilon(history: list[tuple[float, float, int]], delta: float, accountant: str) -> float:
    """Epsilon of steps with these noises and rates; infinity where there is none up to 100."""
    with extra("private"):
        from opacus.accountants import create_accountant
    found = math.inf
    # First the one that is looser, and cheap: the other takes all memory where epsilon is large.
    for name in dict.fromkeys(("rdp", accountant)):
        counted = create_accountant(name)
        counted.history = history
        with _quiet(), np.errstate(all="ignore"):
            try:
                found = float(counted.get_epsilon(delta=delta))
            except (ValueError, RuntimeError, OverflowError, ZeroDivisionError):
                found = math.inf
        if not 0 <= found <= _LARGEST:
            return math.inf
    return found


@cache
def noise_for(
    epsilon: float, *, delta: float, rate: float, steps: int, accountant: str = "prv"
) -> float:
    """The noise that so many steps need for an epsilon, in clipping bounds.

    Raises:
        InputError: no noise will do, or the epsilon promises nothing.
        UnknownName: no such accountant.
    """
    _require_known(accountant)
    if not 0 < epsilon <= _LARGEST:
        raise InputError(
            f"epsilon must lie above 0 and be at most {_LARGEST:g}, beyond which it promises "
            f"nothing, got {epsilon:g}"
        )
    with extra("private"):
        from opacus.accountants.utils import get_noise_multiplier
    try:
        with _quiet(), np.errstate(all="ignore"):
            return float(
                get_noise_multiplier(
                    target_epsilon=epsilon,
                    target_delta=delta,
                    sample_rate=rate,
                    steps=steps,
                    accountant=accountant,
                    epsilon_tolerance=min(0.01, epsilon / 100),
                )
            )
    except ValueError as error:
        raise InputError(
            f"no noise gives epsilon {epsilon:g} at delta {delta:.2g} over {steps} steps ({error}):"
            " ask for a larger epsilon"
        ) from error


def noise_of_sums(noise: float, of_counts: float) -> float:
    """The noise of the sums of gradients where counts are published as well, so that both together
    cost what `noise` costs.

    Andrew et al. 2021 (arXiv 1905.03871), theorem 1: each unit adds a half or takes one from the
    count, hence the 2.

    Args:
        noise: of both together.
        of_counts: standard deviation of the noise of a count.

    >>> round(noise_of_sums(1.0, 2.0), 4)
    1.0328
    """
    if not 2 * of_counts > noise:
        raise InputError(
            f"counts with noise {of_counts:g} would spend the budget of noise {noise:g} alone: "
            "give them more"
        )
    return float((noise**-2 - (2 * of_counts) ** -2) ** -0.5)


def _require_known(accountant: str) -> None:
    if accountant not in ACCOUNTANTS:
        raise UnknownName("accountant", accountant, ACCOUNTANTS)


@contextmanager
def _quiet() -> Iterator[None]:
    """Accountants warn of orders and of logarithms of zero on their way to a number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
