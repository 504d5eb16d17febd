"""Splits of public benchmarks by name: `tofu:forget05`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olvido.data import tofu
from olvido.errors import UnknownName


@dataclass(frozen=True)
class Benchmark:
    """The records of one split, as rows.

    Attributes:
        forget: the forget set.
        retain: the retain set: everything else that the benchmark teaches a model.
        general: general knowledge, to test what should be retained.
    """

    forget: Sequence[Mapping[str, Any]]
    retain: Sequence[Mapping[str, Any]]
    general: Sequence[Mapping[str, Any]]


def _tofu(split: str, where: str | Path | None) -> Benchmark:
    authors = tofu.FORGET_SETS[split]
    every = tofu.rows(where)
    gone = {f"tofu-author-{author}" for author in authors}
    return Benchmark(
        [row for row in every if row["subject"] in gone],
        [row for row in every if row["subject"] not in gone],
        # TOFU's utility distinguishes the two sets by their field `split`.
        [*tofu.real_authors(where), *tofu.world_facts(where)],
    )


BENCHMARKS: Mapping[str, tuple[Sequence[str], Callable[[str, str | Path | None], Benchmark]]] = {
    "tofu": (tuple(tofu.FORGET_SETS), _tofu),
}
"""Benchmarks by name, with the names of their splits and the reader of one."""


def load_benchmark(name: str, where: str | Path | None = None) -> Benchmark:
    """Load the split of that name.

    Args:
        name: a benchmark and its split, as `tofu:forget01`, `tofu:forget05` or `tofu:forget10`
            (Maini et al. 2024, arXiv 2401.06121: the official forget sets, with real authors and
            world facts as general knowledge).
        where: a folder, a file or a hub id; None: see `olvido.data.tofu.rows`.

    Raises:
        UnknownName: no such benchmark or split; the nearest is named.
        MissingNeed: the data cannot be reached.
        BadRow: a row is not in the benchmark's layout.

    >>> len(load_benchmark("tofu:forget05").forget)  # doctest: +SKIP
    200
    """
    source, _, split = name.partition(":")
    known = [f"{source}:{split}" for source, (splits, _) in BENCHMARKS.items() for split in splits]
    if name not in known:
        raise UnknownName("benchmark", name, known)
    return BENCHMARKS[source][1](split, where)
