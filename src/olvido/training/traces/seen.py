"""What is seen of a training that another trainer runs: which records each step used, and when."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Seen:
    """A training as it was seen.

    Attributes:
        began: digest of the weights before the first step.
        records: ids of the records that were used, in the order of their first use.
        steps: for each optimizer step, in order, the places in `records` of what it used; a record
            counts as often as it passed.
        tokens: tokens that passed forward and backward, padding included.
        seconds: wall-clock time from before the first step to the end.
        checkpoints: by step, the digest of the weights of each checkpoint that the trainer saved.
    """

    began: str = ""
    records: tuple[str, ...] = ()
    steps: tuple[tuple[int, ...], ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    checkpoints: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def first(self) -> Mapping[str, int]:
        """The step, counted from 0, in which each record was used first."""
        found: dict[str, int] = {}
        for step, places in enumerate(self.steps):
            for place in places:
                found.setdefault(self.records[place], step)
        return found

    def before(self, ids: Collection[str]) -> int | None:
        """The step of the newest checkpoint that was saved before any of these records was used.

        Returns:
            None where there is none.
        """
        first = min((self.first[i] for i in ids if i in self.first), default=len(self.steps))
        return max((step for step in self.checkpoints if step <= first), default=None)

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens without these records, as if each use of a record had as many as any other."""
        uses = sum(map(len, self.steps))
        gone = {place for place, record in enumerate(self.records) if record in ids}
        left = sum(place not in gone for places in self.steps for place in places)
        return round(self.tokens * left / uses) if uses else 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the order of records is packed."""
        sizes = np.array([len(places) for places in self.steps], dtype="<u4")
        places = np.array([place for step in self.steps for place in step], dtype="<u4")
        return {
            "began": self.began,
            "records": list(self.records),
            "sizes": _packed(sizes),
            "places": _packed(places),
            "tokens": self.tokens,
            "seconds": self.seconds,
            "checkpoints": {str(step): digest for step, digest in self.checkpoints.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not.
        """
        ends = np.cumsum(_unpacked(values["sizes"]), dtype=np.int64)
        places = np.split(_unpacked(values["places"]), ends[:-1]) if len(ends) else []
        return cls(
            values["began"],
            tuple(values["records"]),
            tuple(tuple(map(int, step)) for step in places),
            values["tokens"],
            values["seconds"],
            {int(step): digest for step, digest in values["checkpoints"].items()},
        )


def _packed(numbers: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(zlib.compress(numbers.tobytes())).decode()


def _unpacked(text: str) -> np.ndarray[Any, Any]:
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<u4")
    except zlib.error as error:
        raise ValueError(f"the order of records is damaged ({error})") from error
