"""Placement of records: one person in one shard, and those likely to be removed in its last
slice."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from olvido.errors import InputError, require_count
from olvido.tasks import Example

PRIOR_OF_CONSENT = {"withdrawn": 1.0, "unknown": 0.5, "granted": 0.25, "not-required": 0.1}
"""Relative probability that a record with such consent must be removed. Only the order
counts."""


@dataclass(frozen=True)
class Home:
    """The shard of a record, and its slice in it, both counted from 0."""

    shard: int
    slice: int


def prior(record: Example) -> float:
    """How likely a record is to be forgotten: its field `prior`, or else a value by its consent.

    Raises:
        InputError: `prior` is no number.

    >>> prior(Example("a", "Who?", "Ada", {"consent": "withdrawn"}))
    1.0
    """
    by_id = record.fields.get("prior")
    if by_id is None:
        return PRIOR_OF_CONSENT.get(str(record.fields.get("consent")), 0.5)
    if isinstance(by_id, bool) or not isinstance(by_id, int | float) or by_id != by_id:
        raise InputError(f"record {record.id!r}: 'prior' must be a number, got {by_id!r}")
    return float(by_id)


def place(
    records: Sequence[Example], *, shards: int, slices: int = 1, seed: int = 0
) -> dict[str, Home]:
    """Give every record its shard and slice.

    Records that share a subject are placed together, so that removing one person touches one shard,
    and one slice in it. Shards and slices are filled evenly; within a shard those likeliest to be
    removed come last, where retraining costs least.

    Args:
        records: at least as many unrelated groups as there are shards.
        shards, slices: their numbers.
        seed: breaks ties.

    Raises:
        InputError: too few groups, or no shard.
    """
    require_count("shards", shards)
    require_count("slices", slices)
    groups = together(records)
    if len(groups) < shards:
        raise InputError(
            f"{shards} shards need at least as many subjects, and there are {len(groups)}: ask for "
            "fewer shards"
        )
    chances = {record.id: prior(record) for record in records}

    def key(group: tuple[str, ...]) -> bytes:
        return hashlib.blake2b(f"{seed}|{min(group)}".encode(), digest_size=16).digest()

    filled: list[list[tuple[str, ...]]] = [[] for _ in range(shards)]
    sizes = [0] * shards
    for group in sorted(groups, key=lambda g: (-len(g), key(g))):
        least = min(range(shards), key=sizes.__getitem__)
        filled[least].append(group)
        sizes[least] += len(group)
    homes: dict[str, Home] = {}
    for shard, members in enumerate(filled):
        likely = {group: max(chances[i] for i in group) for group in members}
        ordered = sorted(members, key=lambda g: (likely[g], key(g)))
        for group, slice_ in zip(ordered, _cut(ordered, slices), strict=True):
            homes |= {i: Home(shard, slice_) for i in group}
    return homes


def together(records: Iterable[Example]) -> list[tuple[str, ...]]:
    """Ids of records that are linked by their subjects; a record about nobody stands alone."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    ids = []
    for record in records:
        ids.append(record.id)
        for subject in record.subjects:
            parent[root(f"record/{record.id}")] = root(f"subject/{subject}")
    groups: Mapping[str, list[str]] = defaultdict(list)
    for i in ids:
        groups[root(f"record/{i}")].append(i)
    return [tuple(group) for group in groups.values()]


def _cut(groups: Sequence[tuple[str, ...]], slices: int) -> list[int]:
    """The slice of each group: nearly equal numbers of records, and none empty unless groups are
    too few."""
    total = sum(map(len, groups))
    found: list[int] = []
    before = 0
    for group in groups:
        middle = before + len(group) / 2
        found.append(min(int(middle * slices / total), slices - 1))
        before += len(group)
    # A large group may have skipped a slice: number them without a gap.
    numbers = {slice_: n for n, slice_ in enumerate(dict.fromkeys(found))}
    return [numbers[slice_] for slice_ in found]
