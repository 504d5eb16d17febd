"""Which retained records a step holds on to: half of them near the forgotten ones, half of all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from olvido.forgetting.types import Split
from olvido.tasks import Example

NEAR_SHARE = 0.5
"""Share of a step's retained records that are drawn from near the forgotten ones: damage falls
there first."""
NEAR_PER_FORGOTTEN = 8
"""Retained records that count as near, for each forgotten one."""


def retain_draws(split: Split, size: int, seed: int) -> Iterator[tuple[Example, ...]]:
    """Endless batches of at most `size` distinct retained records.

    Near and far, every record comes once before any comes twice, in an order keyed by record id.
    """
    near = nearest(split.forget, split.retain, NEAR_PER_FORGOTTEN * len(split.forget))
    close = _laps(near, round(size * NEAR_SHARE), f"{seed}|near")
    wide = _laps(split.retain, size - round(size * NEAR_SHARE), f"{seed}|all")
    for some, others in zip(close, wide, strict=True):
        yield tuple({example.id: example for example in (*some, *others)}.values())


def uniform(records: Sequence[Example], size: int, seed: int) -> tuple[Example, ...]:
    """At most `size` distinct records, all alike likely, in an order keyed by record id."""
    return tuple(_shuffled(records, f"{seed}|uniform")[:size])


def nearest(
    forget: Sequence[Example], retain: Sequence[Example], count: int
) -> tuple[Example, ...]:
    """The retained records that a change to the forgotten ones reaches first; ties by id.

    Text: those that share the rarest words with a forgotten one, by cosine similarity of TF-IDF
    vectors of prompt and completion. Arrays: those at the smallest distance from one.
    """
    arrays = all(isinstance(e.fields.get("input"), np.ndarray) for e in (*forget, *retain))
    likeness = _array_likeness(forget, retain) if arrays else _text_likeness(forget, retain)
    order = sorted(range(len(retain)), key=lambda i: (-likeness[i], retain[i].id))
    return tuple(retain[i] for i in order[:count])


def _text_likeness(forget: Sequence[Example], retain: Sequence[Example]) -> Sequence[float]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    kept = words.fit_transform([f"{e.prompt} {e.completion}" for e in retain])
    gone = words.transform([f"{e.prompt} {e.completion}" for e in forget])
    found: Sequence[float] = (kept @ gone.T).max(axis=1).toarray().ravel()
    return found


def _array_likeness(forget: Sequence[Example], retain: Sequence[Example]) -> Sequence[float]:
    from scipy.spatial.distance import cdist

    kept, gone = (
        np.stack([e.fields["input"].ravel() for e in some]).astype(np.float64)
        for some in (retain, forget)
    )
    found: Sequence[float] = -cdist(kept, gone).min(axis=1)
    return found


def _laps(records: Sequence[Example], size: int, key: str) -> Iterator[Sequence[Example]]:
    size = min(size, len(records))
    lap = 0
    while True:
        order = _shuffled(records, f"{key}|{lap}")
        for start in range(0, len(order), max(size, 1)):
            yield order[start : start + size]
        lap += 1


def _shuffled(records: Sequence[Example], key: str) -> list[Example]:
    def rank(example: Example) -> bytes:
        return hashlib.blake2b(f"{key}|{example.id}".encode(), digest_size=16).digest()

    return sorted(records, key=rank)
