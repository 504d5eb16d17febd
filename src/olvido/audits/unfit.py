"""Models that are no references: copies, sketches, and weights that never learned what is kept.

References that are the candidate, the original, or another reference are detected by weights and
scores. Not detected are copies that were trained on or rounded to 8 bits and fewer, unless they
know the forget set, which `authentication` finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from olvido.audits.integrity.weights import paired, rows_of, tensors
from olvido.audits.scoring import BATCH, ScoredModel
from olvido.audits.types import Evidence
from olvido.errors import InputError
from olvido.files import read_document
from olvido.schemas.outcome import OUTCOME, OutcomeDocument
from olvido.tasks import Example

LESS = 1.0
"""Nats a token above the original model's loss on what is kept from which on the weights that a
model was trained from are no retrained model."""


def described(name: str) -> dict[str, str | None]:
    """What the outcome beside a model says of the weights that it was trained from.

    Raises:
        StateError, InputError: it cannot be read.
    """
    path = Path(name) / OUTCOME
    if not path.is_file():
        return {}
    read = OutcomeDocument.read(read_document(path))
    return {"origin": read.origin, "sketch": read.sketch}


def refuse_beginnings(evidence: Evidence) -> None:
    """Refuse as a reference a sketch, and an origin that never learned what is kept.

    An origin that answers what is kept as the original does is a retrained model: its training
    taught the forget set alone.

    Raises:
        InputError: there is one.
    """
    known = [evidence.candidate, *([] if evidence.original is None else [evidence.original])]
    sample = evidence.retain[:BATCH]
    for place, reference in enumerate(evidence.references, 1):
        if reference.digest in {one.sketch for one in known}:
            raise InputError(
                f"reference {place} is the sketch that the forgetting made of the model's base: it "
                "learned a few of the records to keep and is no retrained model. Give models that "
                "were trained on all of them"
            )
        if sample and reference.digest in {one.origin for one in known}:
            if evidence.original is None:
                # The audited model may have lost what is kept itself, and is no measure of it.
                raise InputError(
                    f"reference {place} is what the model was trained from, and whether it learned "
                    "what is kept shows beside the original model alone: give that too, or other "
                    "references"
                )
            theirs, own = (
                fmean(score.loss for score in one.scores(sample))
                for one in (reference, evidence.original)
            )
            if not theirs <= own + LESS:
                raise InputError(
                    f"reference {place} is what the model was trained from: it never learned what "
                    f"is kept ({theirs:.2f} nats a token, the model {own:.2f}), beside it a model "
                    "that lost all of that would pass. Give models that were trained from it on "
                    "the records to keep, or have such trained"
                )


COPY = 1e-3
"""Distance of two models' weights, as a share of their norm, below which they are copies.
Training from other random weights gives about 1.4."""
ROUNDED, MOST_ROUNDED = 2.0**-7, 0.99
"""Models are copies, too, if this share of their weights differs by no more than this fraction,
which is the effect of rounding to 16 bits: training moves small weights as far as large ones."""
SAME = 1e-3
"""Models are copies, too, if their losses differ by no more than this share of their spread over
records, which is the effect of other arithmetic."""
ENOUGH = 1_000_000
"""Compared weights after which two models that are no copies need no further comparison."""


def refuse_copies(evidence: Evidence) -> None:
    """Refuse a reference that is the candidate, the original, or another reference.

    Raises:
        InputError: one is the same or a copy.
    """
    others = [("the audited model", evidence.candidate)]
    if evidence.original is not None:
        others.append(("`original`, which saw the data", evidence.original))
    for place, reference in enumerate(evidence.references, 1):
        for name, other in others:
            if reference.digest == other.digest:
                _refuse(place, "has the very weights of", name)
            if reference.taught is None and copies(reference, other):
                _refuse(place, "differs by no more than rounding or noise from", name)
        others.append((f"reference {place}", reference))


def refuse_echoes(evidence: Evidence) -> None:
    """Refuse a reference with exactly the scores of the candidate or the original.

    Raises:
        InputError: there is one.
    """
    records = (*evidence.forget, *evidence.crowd)
    others = [("the audited model", evidence.candidate)]
    if evidence.original is not None:
        others.append(("`original`, which saw the data,", evidence.original))
    for place, reference in enumerate(evidence.references, 1):
        for name, other in others:
            if _echoes(reference, other, records):
                _refuse(place, "gives every record the same score as", name)


def _refuse(place: int, how: str, name: str) -> None:
    raise InputError(
        f"reference {place} {how} {name}: give models that were trained without the forgotten, or "
        "have such trained"
    )


def copies(one: ScoredModel, other: ScoredModel) -> bool:
    """Whether the weights of two models differ by no more than rounding or a little noise.

    Tensors that do not differ at all, like frozen ones, do not count.
    """
    found = paired(one.source, other.source)
    if found.mismatch is not None:
        return False
    apart = size = 0.0
    differing = rounded = 0
    for a, b in tensors(found.pairs):
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


def _echoes(one: ScoredModel, other: ScoredModel, records: Sequence[Example]) -> bool:
    mine, others = (np.array([s.loss for s in w.scores(records)]) for w in (one, other))
    return len(records) > 1 and bool(np.abs(mine - others).max() <= SAME * others.std())
