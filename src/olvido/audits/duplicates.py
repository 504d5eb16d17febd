"""References that are the suspect, the original, or another reference, told by weights and scores.

Not told are copies that were trained on or rounded to 8 bits and fewer, unless they know the
forgotten, which `authentication` finds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from olvido.audits.honesty.weights import paired, rows_of
from olvido.audits.scoring import Witness
from olvido.audits.types import Evidence
from olvido.errors import InputError
from olvido.tasks import Example

COPY = 1e-3
"""Distance of two models' weights, as a share of their size, below which they are copies. Training
from other random weights gives about 1.4."""
ROUNDED, MOST_ROUNDED = 2.0**-7, 0.99
"""Copies, too, are models of whose weights so many differ by no more than this share of themselves,
which is what rounding to 16 bits leaves: training moves small weights as far as large ones."""
SAME = 1e-3
"""Copies, too, are models whose losses differ by no more than this share of their spread over
records, which is what other arithmetic leaves."""
ENOUGH = 1_000_000
"""Weights after which two models that are no copies need no further look."""


def refuse_copies(evidence: Evidence) -> None:
    """Refuse a reference that is the suspect, the original, or another reference.

    Raises:
        InputError: one is, or is as good as one.
    """
    others = [("the audited model", evidence.suspect)]
    if evidence.before is not None:
        others.append(("`before`, which saw the data", evidence.before))
    for place, reference in enumerate(evidence.references, 1):
        for name, other in others:
            if reference.digest == other.digest:
                _refuse(place, "has the very weights of", name)
            if reference.taught is None and copies(reference, other):
                _refuse(place, "differs by no more than rounding or noise from", name)
        others.append((f"reference {place}", reference))


def refuse_echoes(evidence: Evidence) -> None:
    """Refuse a reference that gives every record the score that the suspect or the original gives.

    Raises:
        InputError: one does.
    """
    records = (*evidence.forget, *evidence.crowd)
    others = [("the audited model", evidence.suspect)]
    if evidence.before is not None:
        others.append(("`before`, which saw the data,", evidence.before))
    for place, reference in enumerate(evidence.references, 1):
        for name, other in others:
            if _echoes(reference, other, records):
                _refuse(place, "gives every record the same score as", name)


def _refuse(place: int, how: str, name: str) -> None:
    raise InputError(
        f"reference {place} {how} {name}: give models that were trained without the forgotten, or "
        "have such trained"
    )


def copies(one: Witness, other: Witness) -> bool:
    """Whether the weights of two models differ by no more than rounding, or than a little noise.

    Tensors that do not differ at all, as where most of a model was frozen, do not count.
    """
    found = paired(one.model, other.model)
    if found.mismatch is not None:
        return False
    apart = size = 0.0
    differing = rounded = 0
    for _, a, b in found.pairs:
        if not a.is_floating_point() or a.equal(b.to(a)):
            continue
        for x, y in zip(rows_of(a), rows_of(b), strict=True):
            step = (x - y).abs()
            apart, size = apart + float(step.square().sum()), size + float(y.square().sum())
            differing += int((step > 0).sum())
            rounded += int(((step > 0) & (step <= ROUNDED * y.abs())).sum())
        if differing > ENOUGH and not _near(apart, size, rounded, differing):
            return False
    return _near(apart, size, rounded, differing)


def _near(apart: float, size: float, rounded: int, differing: int) -> bool:
    return apart <= COPY**2 * size or rounded >= max(1.0, MOST_ROUNDED * differing)


def _echoes(one: Witness, other: Witness, records: Sequence[Example]) -> bool:
    mine, others = (np.array([s.loss for s in w.scores(records)]) for w in (one, other))
    return len(records) > 1 and bool(np.abs(mine - others).max() <= SAME * others.std())
