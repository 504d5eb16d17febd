"""The records of each step, decided for all records before the first step."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from olvido.errors import InputError, UnknownName
from olvido.training.contents import Widths

WINDOW = 16
"""Batches among which records of like length are brought together; more saves padding, less mixes
better."""

KEPT = 2**22
"""Slots of the epochs whose batches are kept: some 25 MB."""

TOGETHER = 512
"""Records, at the least, whose widths are asked for together."""

DEFINITIONS = ("drop", "tombstone")
"""Kinds of absence: `drop` leaves a record's row out of the batch; `tombstone` fills the row with a
blank of weight 0, so that no other row changes its place."""


@dataclass(frozen=True)
class PlannedBatch:
    """One forward pass.

    Attributes:
        step: the optimizer step it belongs to.
        rows: the records in slot order; None for a blank.
        width: tokens a row is padded to, whatever records are present.
        planned: planned rows; the loss is divided by the step's sum of these.
    """

    step: int
    rows: tuple[str | None, ...]
    width: int
    planned: int

    @property
    def ids(self) -> tuple[str, ...]:
        """The present records, in slot order."""
        return tuple(row for row in self.rows if row is not None)


class Sampler(Protocol):
    """Who takes part in each step, decided before the first: all that the loop asks of a plan."""

    @property
    def present(self) -> Collection[str]:
        """Ids of the records that are trained on."""
        ...

    @property
    def blank(self) -> Collection[str]:
        """Ids of records whose rows are filled with blanks."""
        ...

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        ...

    @property
    def boundaries(self) -> Sequence[int]:
        """Steps at which the learning rate's schedule begins anew."""
        ...

    @property
    def layout(self) -> str:
        """A digest of everything except absences, for the log's hash chain."""
        ...

    def steps(self, start: int = 0) -> Iterator[list[PlannedBatch]]:
        """The forward passes of each optimizer step, from step `start` on."""
        ...

    def place(self, step: int) -> tuple[int, int]:
        """A step's place in its schedule, and the schedule's length."""
        ...


@dataclass(frozen=True)
class _Stage:
    """Steps over the same slots: `slots` are indices, `first` the number of the first step."""

    slots: tuple[int, ...]
    first: int
    steps_per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs


@dataclass(frozen=True)
class SlotPlan:
    """A fixed place in every epoch for every record.

    Removing a record leaves a hole or a blank and moves no other record, so a run without it takes
    the very steps that the run with it took.

    With slices, training has stages: the first over slice 0, the next over slices 0 and 1, and
    so on (Bourtoule et al. 2021, arXiv 1912.03817, section IV), `epochs` passes each. A record of
    slice j is first used in stage j, so that an earlier checkpoint does not depend on it.

    Attributes:
        slots: record ids.
        widths: padded length of each record in tokens, by slot; measured when they are asked for,
            where the records are read so.
        batch_size, accumulate: the recipe's.
        epochs: passes over the records in each stage.
        seed: determines the order.
        slices: the slice of each slot, counted from 0 without a gap; empty: all in one.
        absent: ids whose slots are holes.
        blank: ids whose slots are blanks.
    """

    slots: tuple[str, ...]
    widths: Sequence[int]
    batch_size: int
    accumulate: int
    epochs: int
    seed: int
    slices: tuple[int, ...] = ()
    absent: frozenset[str] = frozenset()
    blank: frozenset[str] = frozenset()

    @cached_property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that are trained on."""
        return tuple(i for i in self.slots if i not in self.removed)

    @cached_property
    def removed(self) -> frozenset[str]:
        """Ids of the absent records, of either kind."""
        return self.absent | self.blank

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run, holes or not."""
        last = self._stages[-1]
        return last.first + last.steps

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The first step of every stage."""
        return tuple(stage.first for stage in self._stages)

    @property
    def first_epoch(self) -> int:
        """Steps of the first pass of the first stage."""
        return self._stages[0].steps_per_epoch

    @cached_property
    def layout(self) -> str:
        """SHA-256 of everything except absences."""
        content = [
            self.slots,
            list(self.widths),
            self.batch_size,
            self.accumulate,
            self.epochs,
            self.seed,
            self.slices,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole plan."""
        content = [self.layout, sorted(self.absent), sorted(self.blank)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @cached_property
    def _stages(self) -> tuple[_Stage, ...]:
        slices = self.slices or (0,) * len(self.slots)
        stages: list[_Stage] = []
        first = 0
        for number in range(max(slices) + 1):
            slots = tuple(i for i, slice_ in enumerate(slices) if slice_ <= number)
            batches = -(-len(slots) // self.batch_size)
            stage = _Stage(slots, first, -(-batches // self.accumulate), self.epochs)
            first += stage.steps
            stages.append(stage)
        return tuple(stages)

    def without(self, ids: Iterable[str], *, definition: str = "drop") -> SlotPlan:
        """The plan without these records.

        Args:
            ids: records in the plan, possibly all of them; earlier absences stay as they are.
            definition: the kind of absence, see `DEFINITIONS`.

        Raises:
            InputError: a record that is not in the plan.
            UnknownName: no such definition.
        """
        if definition not in DEFINITIONS:
            raise UnknownName("definition", definition, DEFINITIONS)
        removed = frozenset(ids)
        unknown = sorted(removed - set(self.slots))
        if unknown:
            raise InputError(
                f"{len(unknown)} records to leave out are not in this run (first: "
                f"{unknown[0]!r}): name records that the run was trained on"
            )
        if definition == "drop":
            made = replace(self, absent=self.absent | (removed - self.blank))
        else:
            made = replace(self, blank=self.blank | (removed - self.absent))
        vars(made)["_orders"] = self._orders
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again."""
        return {name: value for name, value in vars(self).items() if name != "_orders"}

    def first_use(self, ids: Iterable[str]) -> int:
        """The first step in which any of these records is present; `total_steps` where none is."""
        wanted = frozenset(ids) - self.removed
        if wanted:
            for step, batches in enumerate(self.steps()):
                if any(not wanted.isdisjoint(batch.rows) for batch in batches):
                    return step
        return self.total_steps

    def place(self, step: int) -> tuple[int, int]:
        """A step's place in its stage, and the number of steps of the stage: the learning rate
        rises and falls in every stage anew."""
        stage = max((s for s in self._stages if s.first <= step), key=lambda s: s.first)
        return step - stage.first, stage.steps

    def steps(self, start: int = 0) -> Iterator[list[PlannedBatch]]:
        """The forward passes of each optimizer step, from step `start` on."""
        epoch = 0
        for stage in self._stages:
            for turn in range(stage.epochs):
                first = stage.first + turn * stage.steps_per_epoch
                if first + stage.steps_per_epoch > start:
                    for step, batches in self._epoch(stage, epoch, first):
                        if step >= start:
                            yield batches
                epoch += 1

    def _epoch(
        self, stage: _Stage, epoch: int, first: int
    ) -> Iterator[tuple[int, list[PlannedBatch]]]:
        batches = self._orders.get(epoch)
        if batches is None:
            batches = _Epoch(self, stage, epoch)
            if (len(self._orders) + 1) * len(self.slots) <= KEPT:
                self._orders[epoch] = batches
        for offset in range(stage.steps_per_epoch):
            step = first + offset
            chosen = batches[offset * self.accumulate : (offset + 1) * self.accumulate]
            yield step, [self._batch(step, batch) for batch in chosen]

    @cached_property
    def _orders(self) -> dict[int, _Epoch]:
        """The batches of epochs that were asked for, which are asked for again."""
        return {}

    def _batch(self, step: int, batch: Sequence[int]) -> PlannedBatch:
        names = [self.slots[i] for i in batch]
        return PlannedBatch(
            step,
            tuple(None if i in self.blank else i for i in names if i not in self.absent),
            max(self.widths[i] for i in batch),
            len(batch),
        )

    def shuffled(self, epoch: int, slots: Sequence[int], what: str = "") -> array[int]:
        """Slots in the order of their records' keys in an epoch; `what` gives other keys."""
        begun = hashlib.blake2b(f"{self.seed}|{epoch}|{what}".encode(), digest_size=16)

        def key(slot: int) -> bytes:
            total = begun.copy()
            total.update(self.slots[slot].encode())
            return total.digest()

        keys = np.frombuffer(b"".join(map(key, slots)), "S16")
        return array("I", np.array(slots, np.uint32)[np.argsort(keys, kind="stable")].tobytes())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "slots": list(self.slots),
            "widths": list(self.widths),
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "epochs": self.epochs,
            "seed": self.seed,
            "slices": list(self.slices),
            "absent": sorted(self.absent),
            "blank": sorted(self.blank),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SlotPlan:
        """Read a plan that `to_dict` wrote.

        >>> plan = SlotPlan(("a", "b"), (4, 8), 1, 1, 2, 0).without(["a"])
        >>> SlotPlan.from_dict(plan.to_dict()) == plan
        True
        """
        return cls(
            tuple(values["slots"]),
            tuple(values["widths"]),
            values["batch_size"],
            values["accumulate"],
            values["epochs"],
            values["seed"],
            tuple(values["slices"]),
            frozenset(values["absent"]),
            frozenset(values["blank"]),
        )


class _Epoch:
    """The slots of each batch of an epoch, found when they are asked for; absences change nothing
    about them.

    Records in the order of their keys are cut into windows, the records of a window are sorted by
    width and cut into batches, and the batches of all windows are put into the order of their first
    record's second key. Whether a record is the first of its batch follows from its own window, so
    the second keys of all records are gone through in their order: a batch needs the widths of few
    windows and not of all, one window for each record between two first ones.
    """

    def __init__(self, plan: SlotPlan, stage: _Stage, epoch: int) -> None:
        self._widths, self._size = plan.widths, plan.batch_size
        self._order = plan.shuffled(epoch, stage.slots)
        self._places = array("I", bytes(4 * len(plan.slots)))
        for place, slot in enumerate(self._order):
            self._places[slot] = place
        self._turns = plan.shuffled(epoch, stage.slots, "batch/")
        self._turns.reverse()
        self._batches: dict[int, array[int]] = {}
        self._cut: set[int] = set()
        self._found: list[array[int]] = []

    def __getitem__(self, part: slice) -> list[array[int]]:
        while self._turns and len(self._found) < part.stop:
            slot = self._turns[-1]
            self._cut_window(self._places[slot] // (self._size * WINDOW))
            if slot in self._batches:
                self._found.append(self._batches.pop(slot))
            self._turns.pop()
        if not self._turns:
            self._order, self._places = array("I"), array("I")
        return self._found[part]

    def _cut_window(self, number: int) -> None:
        if number in self._cut:
            return
        start, span = number * self._size * WINDOW, self._size * WINDOW
        if isinstance(self._widths, Widths):
            self._widths.ask(self._order[start : start + max(span, TOGETHER)])
        window = sorted(self._order[start : start + span], key=self._widths.__getitem__)
        for at in range(0, len(window), self._size):
            self._batches[window[at]] = array("I", window[at : at + self._size])
        self._cut.add(number)
