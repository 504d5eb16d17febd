"""The step log: 60 bytes for each forward pass, with a hash chain over all passes before it.

With the plan's table of record ids this suffices for deterministic replay ("Unlearning at
Scale", arXiv 2508.12220, logs the like): seeds and order follow from the plan, so the log holds
measurements, and a hash chain over the record and content in each row. Two runs whose
chains agree up to a step are the same run up to there, whatever records are missing later; so a
checkpoint is known to serve a run from which records were removed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

from olvido.training.plan import PlannedBatch, Sampler

_ENTRY = struct.Struct("<IHHIdff32s")
ENTRY_BYTES = _ENTRY.size


class LoggedStep(NamedTuple):
    """One forward pass.

    Attributes:
        step: its optimizer step.
        planned, rows: planned slots, and the number of them with a record.
        width: tokens of a row.
        loss: its part of the step's loss; nan where no row held a record.
        seconds: its time; the last of a step includes the optimizer's work.
        rate: learning rate.
        chain: SHA-256 over all passes up to and including this one.
    """

    step: int
    planned: int
    rows: int
    width: int
    loss: float
    seconds: float
    rate: float
    chain: bytes


@dataclass(frozen=True)
class Log:
    """Entries in order, as packed bytes."""

    packed: bytes = b""

    def __add__(self, entries: Iterable[LoggedStep]) -> Log:
        return Log(self.packed + b"".join(_ENTRY.pack(*entry) for entry in entries))

    def __iter__(self) -> Iterator[LoggedStep]:
        return map(LoggedStep._make, _ENTRY.iter_unpack(self.packed))

    def __len__(self) -> int:
        return len(self.packed) // ENTRY_BYTES

    @cached_property
    def losses(self) -> tuple[float | None, ...]:
        """The loss of every step; None for one in which no row held a record."""
        found: list[float | None] = []
        for _, entries in groupby(self, lambda entry: entry.step):
            parts = [entry.loss for entry in entries if entry.rows]
            found.append(sum(parts) if parts else None)
        return tuple(found)

    @cached_property
    def tokens(self) -> int:
        """Tokens processed forward and backward, padding included."""
        return sum(entry.rows * entry.width for entry in self)

    @property
    def digest(self) -> str:
        """SHA-256 of every byte: the chain covers the computation, this also its measurements."""
        return hashlib.sha256(self.packed).hexdigest()

    @property
    def end(self) -> str:
        """The chain after the last entry, in hexadecimal; empty without an entry."""
        return _ENTRY.unpack(self.packed[-ENTRY_BYTES:])[-1].hex() if self.packed else ""


def beginning(
    origin: str, recipe: Mapping[str, Any], seed: int, plan: Sampler, contract: Mapping[str, str]
) -> bytes:
    """The chain before the first step: everything that determines the run but its records."""
    content = [origin, dict(recipe), seed, plan.layout, dict(contract)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


def said(batch: PlannedBatch, contents: Mapping[str, bytes]) -> bytes:
    """What the chain covers of one forward pass.

    Args:
        batch: the records in its slots; a blank counts as a blank, whatever record it replaces.
        contents: 32-byte digest of each record's id and content.
    """
    counts = struct.pack("<IIII", batch.step, batch.width, batch.planned, len(batch.rows))
    rows = (bytes(32) if row is None else contents[row] for row in batch.rows)
    return b"".join((counts, *rows))


def linked(before: bytes, one: bytes) -> bytes:
    """The chain after one more forward pass, of which this is `said`."""
    return hashlib.sha256(before + one).digest()


def chain_at(
    start: bytes, plan: Sampler, contents: Mapping[str, bytes], steps: Iterable[int]
) -> dict[int, str]:
    """The chain after so many steps of a plan, in hexadecimal, for each of `steps`."""
    wanted = set(steps)
    found = {0: start.hex()} if 0 in wanted else {}
    chain = start
    for done, batches in enumerate(plan.steps(), start=1):
        if not wanted - found.keys():
            break
        for batch in batches:
            chain = linked(chain, said(batch, contents))
        if done in wanted:
            found[done] = chain.hex()
    return found
