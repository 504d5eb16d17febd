"""Which records stand in which step, decided once and for all records before the first step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from olvido.errors import InputError

WINDOW = 16
"""Batches among which records of like length are brought together; more saves padding, less mixes
better."""


@dataclass(frozen=True)
class PlannedBatch:
    """One forward pass.

    Attributes:
        step: the optimizer step it belongs to.
        ids: the records that are present, in slot order.
        width: tokens a row is padded to, whoever is present.
        planned: rows that were planned; the loss is divided by the step's sum of these.
    """

    step: int
    ids: tuple[str, ...]
    width: int
    planned: int


@dataclass(frozen=True)
class SlotPlan:
    """A fixed place in every epoch for every record.

    Taking a record out leaves a hole and moves no other record, so a run without it does the very
    steps that the run with it did (definition *drop* of exact forgetting).

    Attributes:
        slots: record ids.
        widths: padded length of each record in tokens, by slot.
        batch_size, accumulate, epochs: of the recipe.
        seed: what the order is drawn from.
        absent: ids whose slots are holes.
    """

    slots: tuple[str, ...]
    widths: tuple[int, ...]
    batch_size: int
    accumulate: int
    epochs: int
    seed: int
    absent: frozenset[str] = frozenset()

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that are trained on."""
        return tuple(i for i in self.slots if i not in self.absent)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch, holes or not."""
        batches = -(-len(self.slots) // self.batch_size)
        return -(-batches // self.accumulate)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run, holes or not."""
        return self.epochs * self.steps_per_epoch

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole plan."""
        content = [
            self.slots,
            self.widths,
            self.batch_size,
            self.accumulate,
            self.epochs,
            self.seed,
            sorted(self.absent),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def without(self, ids: Iterable[str]) -> SlotPlan:
        """The same plan with holes where these records stood.

        Raises:
            InputError: a record that is not in the plan, or none would be left.
        """
        gone = frozenset(ids)
        strangers = sorted(gone - set(self.slots))
        if strangers:
            raise InputError(
                f"{len(strangers)} records to leave out are not in this run (first: "
                f"{strangers[0]!r}): name records that the run was trained on"
            )
        absent = self.absent | gone
        if len(absent) == len(self.slots):
            raise InputError("no record would be left to train on: use the base model instead")
        return replace(self, absent=absent)

    def steps(self, start: int = 0) -> Iterator[list[PlannedBatch]]:
        """The forward passes of each optimizer step, from step `start` on."""
        for epoch in range(start // self.steps_per_epoch, self.epochs):
            for step, batches in self._epoch(epoch):
                if step >= start:
                    yield batches

    def _epoch(self, epoch: int) -> Iterator[tuple[int, list[PlannedBatch]]]:
        order = sorted(range(len(self.slots)), key=lambda i: self._key(epoch, self.slots[i]))
        span = self.batch_size * WINDOW
        batches: list[list[int]] = []
        for start in range(0, len(order), span):
            window = sorted(order[start : start + span], key=lambda i: self.widths[i])
            batches += [
                window[at : at + self.batch_size] for at in range(0, len(window), self.batch_size)
            ]
        batches.sort(key=lambda batch: self._key(epoch, f"batch/{self.slots[batch[0]]}"))
        first = epoch * self.steps_per_epoch
        for offset in range(self.steps_per_epoch):
            step = first + offset
            chosen = batches[offset * self.accumulate : (offset + 1) * self.accumulate]
            yield (
                step,
                [
                    PlannedBatch(
                        step,
                        tuple(self.slots[i] for i in batch if self.slots[i] not in self.absent),
                        max(self.widths[i] for i in batch),
                        len(batch),
                    )
                    for batch in chosen
                ],
            )

    def _key(self, epoch: int, name: str) -> bytes:
        return hashlib.blake2b(f"{self.seed}|{epoch}|{name}".encode(), digest_size=16).digest()
