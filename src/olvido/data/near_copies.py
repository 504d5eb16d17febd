"""Near copies of a text in a collection, found without comparing all pairs.

A text is the set of its runs of `WORDS` words; the similarity of two texts is the share of runs
that they have in common (Jaccard). Minima of hashed runs agree with that probability (MinHash:
Broder 1997, "On the resemblance and containment of documents"), so only texts that share a band of
minima are compared.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from olvido.errors import InputError

WORDS = 2
"""Words of a run: records are short."""
BANDS, ROWS = 42, 3
"""Minima: of texts with similarity 0.6, all but one in 20,000 share a band; with 0.2, a third do,
and the comparison sorts them out."""
ALIKE = 0.6
"""Share of runs in common from which a text counts as a copy."""
LEAST = 12
"""Least characters of a text that identifies a record; a shorter one occurs by chance."""

_WORD = re.compile(r"\w+")
_DRAW = np.random.Generator(np.random.PCG64(20261124))
_FACTORS = _DRAW.integers(1, 2**64, size=(2, BANDS * ROWS), dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Copy:
    """A text that is nearly another.

    Attributes:
        id: id of the found text.
        alike: shared word runs as a share of the runs of either.
    """

    id: str
    alike: float


class Copies:
    """An index of texts in which copies are found.

    Args:
        texts: by id. Case, punctuation and spaces do not count.

    >>> index = Copies({"a": "Who lives at 12 Oak Street? Ada Lovelace.", "b": "Who was Ada?"})
    >>> [copy.id for copy in index.of("who lives at 12 Oak Street - Ada Lovelace")]
    ['a']
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._runs = {name: runs(text) for name, text in texts.items()}
        self._homes: dict[tuple[int, bytes], list[str]] = defaultdict(list)
        for name, found in self._runs.items():
            for band in _bands(found):
                self._homes[band].append(name)

    def of(self, text: str, *, alike: float = ALIKE) -> tuple[Copy, ...]:
        """The near copies of a text, the most similar first, ties by id.

        Args:
            text: the original text.
            alike: the least share in common.

        Raises:
            InputError: `alike` is no share above 0.
        """
        if not 0 < alike <= 1:
            raise InputError(f"alike is a share of runs in common in (0, 1], got {alike}")
        wanted = runs(text)
        near = {name for band in _bands(wanted) for name in self._homes.get(band, ())}
        found = [Copy(name, jaccard(wanted, self._runs[name])) for name in near]
        kept = [copy for copy in found if copy.alike >= alike]
        return tuple(sorted(kept, key=lambda copy: (-copy.alike, copy.id)))


def runs(text: str) -> frozenset[str]:
    """The runs of words of a text; of a shorter one, the text itself.

    >>> sorted(runs("To be, or not to BE"))
    ['be or', 'not to', 'or not', 'to be']
    """
    said = words(text)
    if len(said) <= WORDS:
        return frozenset([" ".join(said)])
    return frozenset(" ".join(said[i : i + WORDS]) for i in range(len(said) - WORDS + 1))


def words(text: str) -> list[str]:
    """The words of a text, without case and separators."""
    return _WORD.findall(text.casefold())


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Size of the intersection as a share of the union."""
    return len(one & other) / len(one | other)


def _bands(found: frozenset[str]) -> list[tuple[int, bytes]]:
    """Names of the bands of a text's minima."""
    hashed = np.array(
        [int.from_bytes(hashlib.blake2b(run.encode(), digest_size=4).digest()) for run in found],
        dtype=np.uint64,
    )
    # Multiply-add modulo 2^64, with the upper half (Dietzfelbinger 1996).
    mixed: NDArray[np.uint64] = hashed[:, None] * _FACTORS[0] + _FACTORS[1]
    minima = (mixed >> np.uint64(32)).min(axis=0).astype("<u4")
    return [(b, minima[b * ROWS : (b + 1) * ROWS].tobytes()) for b in range(BANDS)]
