"""Digests of what records say and of their tokens, as they go into a log's hash chain; and their
widths, as they go into a plan."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload

from olvido.tasks import Example, Task
from olvido.training.records import Records

_SIZE = 32
TOGETHER = 1000
"""Records whose texts are tokenized together."""


def digest_of(record: Example, task: Task) -> bytes:
    """32 bytes for a record's id, content and tokens.

    A tokenizer or template that has changed since gives other tokens for the same words.
    """
    total = hashlib.sha256(record.id.encode() + b"\0" + task.content(record))
    total.update(hashlib.sha256(task.fingerprint(record)).digest())
    return total.digest()


def digests_of(
    records: Sequence[Example], task: Task, *, every: bool = True
) -> Mapping[str, bytes]:
    """The digest of each record, by its id.

    Args:
        records: the records.
        task: how they become tokens.
        every: whether all are going to be asked for; otherwise those of records that are not held
            in memory are made one by one, when they are asked for.
    """
    if isinstance(records, Records):
        found = _Digests(records, task)
        if every:
            found.make()
        return found
    return {record.id: digest_of(record, task) for record in records}


class _Digests(Mapping[str, bytes]):
    """Digests of records that are read when they are asked for: 33 bytes for each."""

    def __init__(self, records: Records, task: Task) -> None:
        self._records, self._task = records, task
        self._digests, self._made = bytearray(_SIZE * len(records)), bytearray(len(records))

    def make(self) -> None:
        """Make all of them, by the order of the records."""
        for start in range(0, len(self._records), TOGETHER):
            some = self._records[start : start + TOGETHER]
            self._task.widths(some)
            for place, record in enumerate(some, start):
                self._put(place, record)

    def _put(self, place: int, record: Example) -> None:
        self._digests[_SIZE * place : _SIZE * (place + 1)] = digest_of(record, self._task)
        self._made[place] = True

    def __getitem__(self, name: str) -> bytes:
        place = self._records.place(name)
        if not self._made[place]:
            self._put(place, self._records[place])
        return bytes(self._digests[_SIZE * place : _SIZE * (place + 1)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._records.ids)

    def __len__(self) -> int:
        return len(self._records)


def widths_of(records: Sequence[Example], task: Task) -> Sequence[int]:
    """The width of each record, in their order; where they are read when they are asked for, so
    are their widths."""
    return Widths(records, task) if isinstance(records, Records) else tuple(task.widths(records))


class Widths(Sequence[int]):
    """Widths of records that are read when they are asked for: 5 bytes for each.

    The records are let go when the last width is known. They are sent to another process, and
    compared, as the numbers themselves.
    """

    def __init__(self, records: Records, task: Task) -> None:
        self._source: tuple[Records, Task] | None = (records, task)
        self._widths, self._known = array("I", bytes(4 * len(records))), bytearray(len(records))
        self._unknown = len(records)

    def ask(self, places: Iterable[int]) -> None:
        """Measure those of these that are not known, together.

        Raises:
            InputError: the task cannot use a record.
        """
        fresh = sorted({place for place in places if not self._known[place]})
        if not fresh or self._source is None:
            return
        records, task = self._source
        for place, width in zip(fresh, task.widths(records.at(fresh)), strict=True):
            self._widths[place], self._known[place] = width, True
        self._unknown -= len(fresh)
        if not self._unknown:
            self._source = None

    def _all(self) -> array[int]:
        for start in range(0, len(self), TOGETHER):
            self.ask(range(start, min(start + TOGETHER, len(self))))
        return self._widths

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[int, ...]: ...
    def __getitem__(self, place: int | slice) -> int | tuple[int, ...]:
        """The width of the record at a place, or of those at several. Raises as `ask`."""
        if isinstance(place, slice):
            return tuple(self)[place]
        if not self._known[place]:
            self.ask((range(len(self))[place],))
        return self._widths[place]

    def __len__(self) -> int:
        return len(self._widths)

    def __iter__(self) -> Iterator[int]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple | Widths) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type[tuple[int, ...]], tuple[list[int]]]:
        return tuple, (list(self),)
