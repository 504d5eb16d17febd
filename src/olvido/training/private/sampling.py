"""Who is drawn in each step: units by coins of their own, from randomness that nobody keeps."""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from olvido.errors import InputError, UnknownName, require_seed
from olvido.tasks import Example

UNITS = ("subject", "record")

_BITS = 256
"""Of a step's randomness."""


@dataclass(frozen=True)
class Units:
    """What is protected as one.

    Attributes:
        members: the records of each unit.
        dropped: records of no unit.
    """

    members: tuple[tuple[str, ...], ...]
    dropped: frozenset[str] = frozenset()

    @property
    def records(self) -> tuple[str, ...]:
        """Ids of all records that may be drawn."""
        return tuple(i for unit in self.members for i in unit)


def units_of(records: Sequence[Example], unit: str) -> Units:
    """Divide records into units, so that nobody is in two of them.

    A unit `subject` is a set of people with the records that name exactly these. Two sets that
    share a person would both change with that person, so that of such sets the one with more
    records is taken, and the records of the other are dropped. Then a person with all records that
    name them is a whole unit or none, and its gradient is clipped once. The choice depends on who
    is named where, and on nothing else (a greedy bound on a fixed graph of records and people, as
    in arXiv 2503.03622). A record about nobody is a unit.

    Raises:
        UnknownName: no such unit.

    >>> both = Example("both", "", "x", {"subjects": ["Ada", "Bo"]})
    >>> alone = [Example(i, "", "x", {"subject": "Ada"}) for i in "12"]
    >>> units_of([both, *alone, Example("nobody", "", "x")], "subject")
    Units(members=(('1', '2'), ('nobody',)), dropped=frozenset({'both'}))
    """
    if unit not in UNITS:
        raise UnknownName("unit", unit, UNITS)
    if unit == "record":
        return Units(tuple((record.id,) for record in records))
    named: dict[tuple[str, ...], list[str]] = defaultdict(list)
    lonely: list[tuple[str, ...]] = []
    for record in records:
        if people := tuple(sorted(set(record.subjects))):
            named[people].append(record.id)
        else:
            lonely.append((record.id,))
    taken: set[str] = set()
    chosen, dropped = [], []
    for people, ids in sorted(named.items(), key=lambda one: (-len(one[1]), len(one[0]), one[0])):
        if taken.isdisjoint(people):
            taken.update(people)
            chosen.append(tuple(ids))
        else:
            dropped += ids
    return Units((*chosen, *lonely), frozenset(dropped))


class Secret:
    """Randomness of draws and noise, which lives as long as the training.

    Args:
        seed: for tests and experiments; None: 32 bytes from the operating system, kept in memory.
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None:
            require_seed(seed)
        key = secrets.token_bytes(32) if seed is None else f"noise {seed}".encode()
        self._key = key

    def seed(self, step: int, what: str, bits: int = 63) -> int:
        """A seed for one use in one step: no two uses share one."""
        made = hashlib.blake2b(f"{step}|{what}".encode(), digest_size=32, key=self._key).digest()
        return int.from_bytes(made) >> (_BITS - bits)

    def generator(self, step: int, what: str, device: torch.device) -> torch.Generator:
        """A generator for one use in one step.

        On a processor, torch reads 32 bits of a seed and drops the others, so that all seeds of a
        step could be tried: the noise of one weight that no record touches tells which it was. The
        whole state is filled instead, as NumPy fills that of the same generator.
        """
        made = torch.Generator(device).manual_seed(self.seed(step, what))
        if device.type == "cpu":
            key: Any = np.random.MT19937(self.seed(step, what, _BITS)).state["state"]
            state = made.get_state()
            # Its seed, two flags and a place stand before the 624 words.
            state.view(torch.int64)[3 : 3 + len(key["key"])] = torch.from_numpy(
                key["key"].astype(np.int64)
            )
            made.set_state(state)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be written down."""
        raise TypeError("the randomness of a private training stays in its process")


@dataclass(frozen=True)
class Poisson:
    """Poisson sampling: in each step a coin for every unit, and some records of each drawn one.

    Attributes:
        units: who can be drawn.
        batch: units expected in a step; all of them where there are fewer.
        epochs: how often each is expected to be drawn.
        most: records of a unit in a step, at the most.
    """

    units: Units
    batch: int
    epochs: int
    most: int

    @property
    def expected(self) -> float:
        """The expected number of units of a step."""
        return float(min(self.batch, len(self.units.members)))

    @property
    def rate(self) -> float:
        """The chance of a unit to be drawn."""
        return self.expected / len(self.units.members)

    @property
    def total_steps(self) -> int:
        """Steps of the run."""
        return max(1, round(self.epochs / self.rate))

    def steps(self, secret: Secret) -> Iterator[list[tuple[str, ...]]]:
        """For each step the records of every unit that was drawn; the list may be empty."""
        for step in range(self.total_steps):
            chance = np.random.default_rng(secret.seed(step, "draws", _BITS))
            drawn = np.flatnonzero(chance.random(len(self.units.members)) < self.rate)
            yield [self._some(self.units.members[unit], chance) for unit in drawn]

    def _some(self, ids: tuple[str, ...], chance: np.random.Generator) -> tuple[str, ...]:
        if len(ids) <= self.most:
            return ids
        return tuple(ids[i] for i in sorted(chance.choice(len(ids), self.most, replace=False)))


def require_units(units: Units) -> None:
    """Raise InputError where too few are left to hide among."""
    if len(units.members) < 2:
        raise InputError(
            f"a private training needs 2 units or more, and there is {len(units.members)}: records "
            "name the people whom they are about in 'subject' or 'subjects'"
        )
