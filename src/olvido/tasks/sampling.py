"""Sampling of records: uniformly, in an order keyed by record id, or the nearest ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from olvido.tasks.base import Example


def uniform(records: Sequence[Example], size: int, seed: int) -> tuple[Example, ...]:
    """At most `size` distinct records, drawn uniformly, in an order keyed by record id."""
    return tuple(shuffled(records, f"{seed}|uniform")[:size])


def nearest(
    forget: Sequence[Example], retain: Sequence[Example], count: int
) -> tuple[Example, ...]:
    """The retained records most similar to the forgotten ones; ties by id.

    Text: records that share the rarest words with a forgotten one, by cosine similarity of TF-IDF
    vectors of prompt and completion. Arrays: those at the smallest distance from one.
    """
    arrays = all(isinstance(e.fields.get("input"), np.ndarray) for e in (*forget, *retain))
    likeness = _array_likeness(forget, retain) if arrays else _text_likeness(forget, retain)
    order = sorted(range(len(retain)), key=lambda i: (-likeness[i], retain[i].id))
    return tuple(retain[i] for i in order[:count])


def _text_likeness(forget: Sequence[Example], retain: Sequence[Example]) -> Sequence[float]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    kept = words.fit_transform([e.text for e in retain])
    gone = words.transform([e.text for e in forget])
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


def shuffled(records: Sequence[Example], key: str) -> list[Example]:
    """The records in an order by keyed id, independent of the other records."""

    def rank(example: Example) -> bytes:
        return hashlib.blake2b(f"{key}|{example.id}".encode(), digest_size=16).digest()

    return sorted(records, key=rank)


def halves(records: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Two halves that share no person; a record about nobody stands for itself.

    >>> one, two, three = (Example(i, "", "x", {"subject": s}) for i, s in ("aA", "bB", "cA"))
    >>> [[record.id for record in half] for half in halves([one, two, three])]
    [['a', 'c'], ['b']]
    """
    owners = [str(e.fields.get("subjects") or e.fields.get("subject") or e.id) for e in records]
    first = set(list(dict.fromkeys(owners))[::2])
    sides = [owner in first for owner in owners]
    return (
        tuple(e for e, side in zip(records, sides, strict=True) if side),
        tuple(e for e, side in zip(records, sides, strict=True) if not side),
    )
