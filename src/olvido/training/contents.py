"""Digests of what records say and of their tokens, as they go into a log's hash chain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

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
