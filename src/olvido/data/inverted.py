"""Near copies in the ledger's datasets: inverted indexes of word runs, beside the rows' files.

A large dataset's index is stored when it is first needed, and made again when its file has
changed; a small one's is made each time and not stored.

A run weighs log(1 + N/n) where n of N rows have it, so that common runs, such as the form of a
question, count little; the similarity of two rows is the weight that they share, as a share of the
weight that either has (weighted Jaccard). Rows that share none of a row's heaviest runs, together
more than 1 - `ALIKE` of its weight, cannot be similar (prefix filtering: Chaudhuri, Ganti and
Kaushik 2006, "A primitive operator for similarity joins in data cleaning"): only the others are
compared, and none is missed. The cost grows with the query's rows, not with the ledger.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from olvido.artifact_shapes import remove
from olvido.data.near_copies import ALIKE, LEAST, WORDS, Copy, words
from olvido.errors import InputError, StateError
from olvido.files import new_file, read_document, write_document
from olvido.ledger.identity import Key
from olvido.ledger.rows import footer_digest, rows_at, rows_in, stored_rows, text_of
from olvido.ledger.store import Store
from olvido.ledger.store.datasets import chunks

SUFFIX = ".runs"
KEPT_FROM = 10_000
"""Rows from which an index is stored: fewer are indexed in a fifth of a second."""

_TOGETHER = 20_000
_ABOUT = "about.json"
_ARRAYS = ("runs", "ends", "places")
_HEX = re.compile(r"(sha256:)?[0-9a-f]{64}")
# Odd numbers of splitmix64 (Steele, Lea and Flood 2014).
_ODD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True, slots=True)
class Inverted:
    """The rows of each word run in one dataset; the arrays stay on disk.

    Attributes:
        rows: number of rows.
        runs: [distinct] digests of runs under the ledger's key, ascending.
        ends: [distinct + 1] offsets in `places` where a run's rows begin, and where the last end.
        places: row numbers in the file, ascending for each run.
    """

    rows: int
    runs: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    places: NDArray[np.uint32]

    @classmethod
    def of(cls, data: Path, file: str, key: Key) -> Self:
        """The index of a dataset's file, made now where it is missing or outdated.

        Raises:
            StateError: the file is missing or damaged.
        """
        folder, footer = index_path(data, file), footer_digest(data / file)
        if rows_in(data / file) < KEPT_FROM:
            return cls(*_made(data, file, key))
        whole = len(index_parts(data, file)) > len(_ARRAYS)
        try:
            about = read_document(folder / _ABOUT) if whole else {}
        except (InputError, OSError):
            about = {}
        made_of = {"footer": footer, "key": str(key.fingerprint)}
        if not made_of.items() <= about.items():
            made = _made(data, file, key)
            about = {**made_of, "rows": made[0]}
            _keep(data, file, about, dict(zip(_ARRAYS, made[1:], strict=True)))
        arrays = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
        return cls(about["rows"], *arrays)

    def counts(self, runs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of rows with each of these runs."""
        at, known = self._find(runs)
        found = np.zeros(len(runs), dtype=np.int64)
        found[known] = (self.ends[at[known] + 1] - self.ends[at[known]]).astype(np.int64)
        return found

    def having(self, runs: NDArray[np.uint64]) -> set[int]:
        """The rows with any of these runs."""
        at, known = self._find(runs)
        found: set[int] = set()
        for i in at[known]:
            found.update(self.places[self.ends[i] : self.ends[i + 1]].tolist())
        return found

    def _find(self, runs: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        at = np.searchsorted(self.runs, runs)
        inside = np.minimum(at, max(len(self.runs) - 1, 0))
        known = self.runs[inside] == runs if len(self.runs) else np.zeros(len(runs), dtype=bool)
        return inside, known


def index_path(data: Path, file: str) -> Path:
    """The path of a dataset's index, if there is one."""
    return data / f"{file}{SUFFIX}"


def index_parts(data: Path, file: str) -> tuple[Path, ...]:
    """The existing files of an index; without the first one it is none."""
    names = (_ABOUT, *(f"{name}.npy" for name in _ARRAYS))
    return tuple(path for name in names if os.path.isfile(path := index_path(data, file) / name))


def is_index(data: Path, file: str) -> bool:
    """Whether the path of a dataset's index holds an index, and nothing else."""
    folder = index_path(data, file)
    if len(index_parts(data, file)) <= len(_ARRAYS):
        return False
    try:
        about = read_document(folder / _ABOUT)
        runs, ends, places = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in _ARRAYS)
        rows = rows_in(data / file)
    except (InputError, StateError, OSError, ValueError, EOFError):
        return False
    kept = [about.get("footer"), about.get("key")]
    return (
        about.keys() == {"footer", "key", "rows"}
        and about["rows"] == rows
        and all(isinstance(said, str) and _HEX.fullmatch(said) for said in kept)
        and [a.dtype for a in (runs, ends, places)] == [np.uint64, np.uint64, np.uint32]
        and all(a.ndim == 1 for a in (runs, ends, places))
        and len(ends) == len(runs) + 1
        and bool(ends[0] == 0 and ends[-1] == len(places) and (ends[1:] > ends[:-1]).all())
        and bool((runs[1:] > runs[:-1]).all() and (places < rows).all())
    )


def drop_index(data: Path, file: str) -> None:
    """Remove the index of a file whose rows are to be deleted; others' files in it stay."""
    remove(index_path(data, file), index_parts(data, file))


def near_copies(
    store: Store, data: Path, ids: Mapping[str, Collection[str]], *, alike: float = ALIKE
) -> dict[str, tuple[Copy, ...]]:
    """Rows of any dataset that are near copies of these rows.

    Args:
        store: the ledger.
        data: the workspace's data folder.
        ids: ids of the original records, by dataset; those without rows are skipped, and those with
            less than `LEAST` characters.
        alike: the least share of weight in common.

    Returns:
        Copies by dataset, the most similar first; no entry for a dataset that has none.

    Raises:
        InputError: `alike` is no share above 0.
        StateError: a file of rows is missing or damaged.
    """
    if not 0 < alike <= 1:
        raise InputError(f"alike is a share of weight in common in (0, 1], got {alike}")
    files = {dataset.id: dataset.file for dataset in store.datasets()}
    digest = _Digest(store.key)
    texts = {text_of(row) for d, some in ids.items() for row in stored_rows(data / files[d], some)}
    telling = sorted(text for text in texts if len(text) >= LEAST)
    wanted = [found for found in map(digest.runs, telling) if len(found)]
    if not wanted:
        return {}
    indexes = {d: Inverted.of(data, file, store.key) for d, file in files.items()}
    weights = _Weights(tuple(indexes.values()))
    heaviest = [_heaviest(runs, weights.of(runs), alike) for runs in wanted]
    found = {}
    for dataset, index in indexes.items():
        places: dict[int, list[int]] = {}
        for number, runs in enumerate(heaviest):
            for place in index.having(runs):
                places.setdefault(place, []).append(number)
        own = set(ids.get(dataset, ()))
        copies = []
        for place, row in rows_at(data / files[dataset], sorted(places)):
            if row["id"] not in own:
                other = digest.runs(text_of(row))
                share = max(weights.likeness(wanted[number], other) for number in places[place])
                if share >= alike:
                    copies.append(Copy(row["id"], share))
        if copies:
            found[dataset] = tuple(sorted(copies, key=lambda copy: (-copy.alike, copy.id)))
    return found


class _Weights:
    """Weights of runs over several datasets together."""

    def __init__(self, indexes: Sequence[Inverted]) -> None:
        self._indexes = indexes
        self._rows = sum(index.rows for index in indexes)

    def of(self, runs: NDArray[np.uint64]) -> NDArray[np.float64]:
        count = np.sum([index.counts(runs) for index in self._indexes], axis=0)
        return np.log1p(self._rows / np.maximum(count, 1))

    def likeness(self, one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
        either = np.union1d(one, other)
        weights = self.of(either)
        both = np.isin(either, np.intersect1d(one, other))
        # Summed exactly, so that identical rows have similarity 1.
        return math.fsum(weights[both]) / math.fsum(weights)


def _heaviest(
    runs: NDArray[np.uint64], weights: NDArray[np.float64], alike: float
) -> NDArray[np.uint64]:
    """A row's heaviest runs, of which a similar row must share one."""
    order = np.lexsort((runs, -weights))
    before = np.cumsum(weights[order]) - weights[order]
    # A little more than needed, since sums are rounded.
    return runs[order[before <= (1 - alike) * weights.sum() * (1 + 1e-9)]]


class _Digest:
    """Digests of word runs; without the key nobody can read them or test a guess."""

    def __init__(self, key: Key) -> None:
        self._key = key.derived(b"runs", b"")
        self._known: dict[str, int] = {}

    def runs(self, text: str) -> NDArray[np.uint64]:
        """The digests of one text's runs, ascending. [distinct]"""
        return np.unique(self.of_many([text])[0])

    def of_many(self, texts: Iterable[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Digests of several texts' runs, concatenated [runs], and the number of each text
        [texts]."""
        known, flat, lengths = self._known, [], []
        for text in texts:
            said = words(text)
            # A text of fewer words is one run.
            said += [""] * (WORDS - len(said)) if said else []
            try:
                flat += [known[word] for word in said]
            except KeyError:
                for word in said:
                    if word not in known:
                        known[word] = self._word(word)
                flat += [known[word] for word in said]
            lengths.append(len(said))
        counts = np.array(lengths, dtype=np.int64)
        numbers = np.array(flat, dtype=np.uint64)
        mixed = np.zeros_like(numbers[: max(len(numbers) - WORDS + 1, 0)])
        for i in range(WORDS):
            mixed = (mixed ^ numbers[i : i + len(mixed)]) * _ODD
            mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
        # No run spans two texts.
        last = np.zeros(len(numbers), dtype=bool)
        ends = np.cumsum(counts)[counts > 0]
        for i in range(1, WORDS):
            last[ends - i] = True
        return mixed[~last[: len(mixed)]], np.maximum(counts - WORDS + 1, 0)

    def _word(self, word: str) -> int:
        said = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8)
        return int.from_bytes(said.digest())


def _made(
    data: Path, file: str, key: Key
) -> tuple[int, NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint32]]:
    """The parts of a file's index, in order."""
    digest, texts = _Digest(key), (text_of(row) for row in stored_rows(data / file))
    parts: list[NDArray[np.uint64]] = []
    lengths: list[NDArray[np.int64]] = []
    for some in chunks(texts, _TOGETHER):
        runs, counts = digest.of_many(some)
        parts.append(runs)
        lengths.append(counts)
    runs = np.concatenate([np.zeros(0, dtype=np.uint64), *parts])
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *lengths])
    del parts, lengths
    order = np.argsort(runs, kind="stable")
    runs = runs[order]
    places = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)[order]
    del order
    fresh = np.ones(len(runs), dtype=bool)
    fresh[1:] = (runs[1:] != runs[:-1]) | (places[1:] != places[:-1])
    runs, places = runs[fresh], places[fresh]
    first = np.flatnonzero(np.concatenate([[True], runs[1:] != runs[:-1]]))[: len(runs)]
    ends = np.concatenate([first, [len(runs)]]).astype(np.uint64)
    return len(counts), runs[first], ends, places


def _keep(
    data: Path, file: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write the index of a file; it is valid as soon as its last file exists."""
    drop_index(data, file)
    folder = index_path(data, file)
    for name, array in arrays.items():
        with new_file(folder / f"{name}.npy") as unfinished, unfinished.open("wb") as opened:
            np.save(opened, array)
    write_document(about, folder / _ABOUT)
