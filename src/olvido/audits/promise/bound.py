"""What guesses about coins prove of a promise of privacy, from one training.

Steinke, Nasr and Jagielski 2023 (Privacy Auditing with One Training Run, arXiv 2305.08846; the
formula is that of the program in appendix D): of m canaries each took part by a fair coin, and
somebody who sees the result alone, and not the coins, guesses r of them.
"""

from __future__ import annotations

import math

import numpy as np

from olvido.errors import InputError
from olvido.statistics import LEVEL, bisected

_LARGEST = 100.0
"""An epsilon beyond which no promise is made."""
_ROUNDS = 50


def p_value(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """The largest probability of so many right guesses, where the promise holds.

    With delta 0 each guess is right with a probability of e^epsilon / (1 + e^epsilon) at the most,
    whatever the others were, and the number of right ones is at the most binomial. Delta adds
    2 m delta max over i of P[v > Bin >= v - i] / i.

    Args:
        right: right guesses v.
        guesses: all guesses r, whose number was fixed before anybody looked.
        canaries: all canaries m, those about which nothing was guessed too.
        epsilon, delta: the promise for adding or removing one unit.

    Raises:
        InputError: more right than guessed, or more guessed than there are.

    >>> round(p_value(100, 100, 100, 3.49, 0.0), 3)
    0.05
    """
    from scipy.stats import binom

    if not 0 <= right <= guesses <= canaries:
        raise InputError(
            f"expected right guesses <= guesses <= canaries, got {right}, {guesses}, {canaries}"
        )
    chance = 1 / (1 + math.exp(-epsilon))
    found = float(binom.sf(right - 1, guesses, chance))
    if delta > 0 and right > 0:
        below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, chance))
        found += 2 * canaries * delta * float((below / np.arange(1, right + 1)).max())
    return min(1.0, found)


def at_least(right: int, guesses: int, canaries: int, delta: float) -> float:
    """The epsilon that so many right guesses show, with 95% confidence; 0: they show nothing.

    Arguments and errors are those of `p_value`.

    >>> [round(at_least(r, r, r, 0.0), 2) for r in (50, 100, 1000)]
    [2.78, 3.49, 5.81]
    """

    def possible(epsilon: float) -> bool:
        return p_value(right, guesses, canaries, epsilon, delta) >= 1 - LEVEL

    return 0.0 if possible(0.0) else bisected(possible, 0.0, _LARGEST, _ROUNDS)[0]


def ceiling(guesses: int, canaries: int, delta: float) -> float:
    """The largest epsilon that so many guesses can show: all of them right."""
    return at_least(guesses, guesses, canaries, delta)
