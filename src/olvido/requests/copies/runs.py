"""Find runs of words in a text: many runs at once, at a cost that grows only with the text.

A run's hash is a polynomial over the numbers of its words, modulo 2^64, so that the hash of any
window of the text comes from two prefix sums (Karp and Rabin 1987, "Efficient randomized
pattern-matching algorithms"). A run of more than four words is looked for where its first four are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from olvido.names import words

Numbers = NDArray[np.int64]

# Characters that split a text without changing its words: white space and ASCII signs, but not the
# point, which Catalan words contain (l.l).
TOKEN = re.compile(r"""[^\s!"#$%&'()*+,/:;<=>?@\[\\\]^_`{|}~-]+""")
_LONG_TOKEN = 4096
_SYLLABLE, _LAST_SYLLABLE = "\uac00", "\ud7a3"
_LONG_WORD, _WORD = 24, 6
_MOST_WORDS = 2_000_000
_ANCHOR = 4
_BITS = 20
_ODD = np.uint64(0x9E3779B97F4A7C15)
_FEW_WORDS = 1 << 18


class NameKey(Protocol):
    """The key under which the forms of a name are digested."""

    def name(self, said: Sequence[str], /) -> str:
        """The keyed digest of a run of folded words, `name:v1:<number of words>:<hex>`."""
        ...


class _Tokens(dict[str, tuple[int, ...]]):
    """The numbers of the words of each token that was seen."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon

    def __missing__(self, token: str) -> tuple[int, ...]:
        # A text without any space is cut, so that the kept tokens stay small.
        if len(token) > _LONG_TOKEN:
            cuts = (token[i : i + _LONG_TOKEN] for i in range(0, len(token), _LONG_TOKEN))
            return tuple(n for cut in cuts for n in self._lexicon.numbered(words(cut)))
        found = tuple(self._lexicon.numbered(words(token)))
        if len(token) <= 64:
            self[token] = found
        return found


def _measured(word: str) -> int:
    if _SYLLABLE <= word[0] <= _LAST_SYLLABLE:
        return (len(word) + 1) // 2
    return 1 if len(word) < _LONG_WORD or not word.isalpha() else len(word) // _WORD


class Lexicon:
    """Gives words their numbers: the words of the runs have the lowest.

    >>> lexicon = Lexicon(["ana", "soler"])
    >>> lexicon.numbers("Ana SOLER, «Ana»").tolist()
    [0, 1, 0]
    """

    def __init__(self, known: Iterable[str]) -> None:
        self.words: list[str] = list(dict.fromkeys(known))
        self.known = len(self.words)
        self.age = 0
        self._number = {word: number for number, word in enumerate(self.words)}
        self._tokens = _Tokens(self)

    def numbered(self, folded: Iterable[str]) -> Iterable[int]:
        """The numbers of folded words; a new word gets the next one."""
        for word in folded:
            number = self._number.get(word)
            if number is None:
                number = self._number[word] = len(self.words)
                self.words.append(word)
            yield number

    def numbers(self, text: str) -> Numbers:
        """[words] the numbers of a text's words, the same as of `words(text)`."""
        found = map(self._tokens.__getitem__, TOKEN.findall(text))
        return np.fromiter(chain.from_iterable(found), dtype=np.int64)

    def measured(self, numbers: Numbers) -> int:
        """The number of words, where one that was written without spaces counts as several."""
        return sum(_measured(self.words[number]) for number in numbers.tolist())

    def forget(self) -> None:
        """Bound memory: the numbers of words that are in no run become invalid."""
        if len(self.words) > _MOST_WORDS:
            for word in self.words[self.known :]:
                del self._number[word]
            del self.words[self.known :]
            self._tokens = _Tokens(self)
            self.age += 1


class Runs:
    """Finds whole runs of words.

    Args:
        runs: numbers of words, each run once; all below `known`.
        known: the number of different words in the runs.

    >>> lexicon = Lexicon("the cat sat on the mat".split())
    >>> runs = Runs([tuple(lexicon.numbers(r).tolist()) for r in ("the mat", "the cat sat on the")],
    ...             lexicon.known)
    >>> [found.tolist() for found in runs.find(lexicon.numbers("So the cat sat on the mat."))]
    [[5, 1], [0, 1]]
    """

    def __init__(self, runs: Sequence[tuple[int, ...]], known: int) -> None:
        self.runs = runs
        self._known = known
        values = np.random.default_rng(20261129).integers(1, 2**63, known + 1, dtype=np.uint64)
        # A word that is in no run never gives the hash of a run.
        values[known] = 0
        self._values = values
        by_length: dict[int, list[int]] = {}
        for number, run in enumerate(runs):
            by_length.setdefault(len(run), []).append(number)
        self._tables: dict[int, tuple[NDArray[np.uint64], Numbers]] = {}
        anchors: dict[int, list[NDArray[np.uint64]]] = {}
        for length, numbers in by_length.items():
            hashes = np.array([self._hash(runs[n]) for n in numbers], dtype=np.uint64)
            order = np.argsort(hashes)
            self._tables[length] = hashes[order], np.array(numbers, dtype=np.int64)[order]
            width = min(length, _ANCHOR)
            firsts = [self._hash(runs[n][:width]) for n in numbers]
            anchors.setdefault(width, []).append(np.array(firsts, dtype=np.uint64))
        self._anchors: dict[int, tuple[NDArray[np.uint64], NDArray[np.bool_], list[int]]] = {}
        for width, some in anchors.items():
            every = np.unique(np.concatenate(some))
            maybe = np.zeros(1 << _BITS, dtype=np.bool_)
            maybe[every >> np.uint64(64 - _BITS)] = True
            lengths = sorted(n for n in by_length if min(n, _ANCHOR) == width)
            self._anchors[width] = every, maybe, lengths

    def _hash(self, run: Sequence[int]) -> int:
        total, power = 0, 1
        for number in run:
            total += int(self._values[number]) * power
            power = power * int(_ODD) % 2**64
        return total % 2**64

    def find(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """[hits] the offset of each run found, and [hits] its index."""
        if not self._anchors:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        powers, inverses = _powers(max(_FEW_WORDS, 1 << len(numbers).bit_length()))
        valued = self._values[np.minimum(numbers, self._known)]
        sums = np.zeros(len(numbers) + 1, dtype=np.uint64)
        np.cumsum(valued * powers[: len(numbers)], out=sums[1:])
        places, which = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for width, (anchors, maybe, lengths) in self._anchors.items():
            count = len(numbers) - width + 1
            if count <= 0:
                continue
            hashes = (sums[width:] - sums[:-width]) * inverses[:count]
            at = np.flatnonzero(maybe[hashes >> np.uint64(64 - _BITS)])
            at = at[_is_in(hashes[at], anchors)[0]]
            for length in lengths:
                begins = at[at + length <= len(numbers)]
                table, runs = self._tables[length]
                there, index = _is_in(
                    (sums[begins + length] - sums[begins]) * inverses[begins], table
                )
                places.append(begins[there])
                which.append(runs[index[there]])
        found, which_run = np.concatenate(places), np.concatenate(which)
        # Hashes can collide by chance or by malice, though not that of a single word.
        true = [
            len(run := self.runs[r]) == 1 or tuple(numbers[p : p + len(run)].tolist()) == run
            for p, r in zip(found.tolist(), which_run.tolist(), strict=True)
        ]
        kept = np.array(true, dtype=np.bool_)
        return found[kept], which_run[kept]


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """[size] the powers of the base of the hashes from 1 on, and [size] those of its inverse."""
    made = []
    for base in (_ODD, np.uint64(pow(int(_ODD), -1, 2**64))):
        steps = np.full(size, base, dtype=np.uint64)
        steps[0] = 1
        made.append(np.multiply.accumulate(steps))
    return made[0], made[1]


class NameFinder:
    """Finds runs of words by their keyed digests.

    Args:
        key: the key that digests a run.
        digests: `name:v1:<number of words>:<hex>`, for the forms of one person's names.
        lexicon: gives words their numbers.
        whole: the digests whose form covers a whole name.
    """

    def __init__(
        self,
        key: NameKey,
        digests: Collection[str],
        lexicon: Lexicon,
        whole: Collection[str] = (),
    ) -> None:
        self._key, self._digests, self._lexicon = key, frozenset(digests), lexicon
        self._whole = frozenset(whole)
        self.widths = sorted({int(digest.split(":")[2]) for digest in digests})
        self._age = lexicon.age
        self._seen: dict[int, bool] = {}

    def find(self, numbers: Numbers) -> list[tuple[int, int]]:
        """The offset and the number of words of each form found, in the order of the text."""
        if self._age != self._lexicon.age or len(self._seen) > 2 * _MOST_WORDS:
            self._age, self._seen = self._lexicon.age, {}
        found = []
        for width in self.widths:
            count = len(numbers) - width + 1
            if count <= 0:
                continue
            mixed = np.full(count, width, dtype=np.uint64)
            for i in range(width):
                mixed = (mixed ^ numbers[i : i + count].astype(np.uint64)) * _ODD
                mixed ^= mixed >> np.uint64(31)
            different, first = np.unique(mixed, return_index=True)
            here = []
            for hashed, at in zip(different.tolist(), first.tolist(), strict=True):
                known = self._seen.get(hashed)
                if known is None:
                    known = self._digest(numbers[at : at + width]) in self._digests
                    self._seen[hashed] = known
                if known:
                    here.append(hashed)
            if here:
                places = np.flatnonzero(np.isin(mixed, np.array(here, dtype=np.uint64)))
                found += [(place, width) for place in places.tolist()]
        return sorted(found)

    def is_whole(self, numbers: Numbers) -> bool:
        """Whether these words are one whole name."""
        return len(numbers) in self.widths and self._digest(numbers) in self._whole

    def _digest(self, numbers: Numbers) -> str:
        return self._key.name([self._lexicon.words[n] for n in numbers.tolist()])


def _is_in(
    values: NDArray[np.uint64], table: NDArray[np.uint64]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Whether each value is in a sorted table, and its index there."""
    at = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return table[at] == values, at
