"""Records where there are too many to hold: each is read when it is asked for."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Protocol, overload

from olvido.errors import InputError
from olvido.tasks.base import Example, Row, example_of, examples

_LATEST = 1024
"""Records read last that are kept, since a step asks for each more than once."""


class Source(Protocol):
    """Rows with the ids of their records, in one order; each is read when it is asked for."""

    @property
    def ids(self) -> Sequence[str]: ...

    def __getitem__(self, place: int) -> Row | Example: ...


class Records(Sequence[Example]):
    """Records in their order, each read when it is asked for, by its place or by its id.

    In memory are their ids, and some bytes for each. They are sent to another process as the
    records themselves.

    Args:
        parts: sources, each with the places of its records that are meant.

    Raises:
        InputError: an id stands twice.
    """

    def __init__(self, *parts: tuple[Source, Sequence[int]]) -> None:
        self.parts = tuple((source, array("I", places)) for source, places in parts)
        self._ends = list(accumulate(len(places) for _, places in self.parts))
        self.ids = tuple(source.ids[at] for source, places in self.parts for at in places)
        self._latest: OrderedDict[int, Example] = OrderedDict()
        self._order = array("I", sorted(range(len(self.ids)), key=self.ids.__getitem__))
        for one, other in zip(self._order, self._order[1:], strict=False):
            if self.ids[one] == self.ids[other]:
                raise InputError(
                    f"the id {self.ids[one]!r} stands twice among the records; ids are unique"
                )

    @classmethod
    def of(cls, *sources: Source) -> Records:
        """All records of these sources."""
        return cls(*((source, range(len(source.ids))) for source in sources))

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, place: int | slice) -> Example | tuple[Example, ...]:
        """Read the record at a place, or the records at several.

        Raises:
            DigestMismatch: what was read is not the record that was checked.
            InputError: a row is no record.
        """
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(len(self))))
        place = range(len(self))[place]
        if place in self._latest:
            return self._latest[place]
        number = bisect_right(self._ends, place)
        source, places = self.parts[number]
        row = source[places[place - (self._ends[number - 1] if number else 0)]]
        try:
            found = row if isinstance(row, Example) else example_of(row)
        except InputError as error:
            raise InputError(f"record {self.ids[place]!r}: ", *error.args) from error
        self._latest[place] = found
        if len(self._latest) > _LATEST:
            self._latest.popitem(last=False)
        return found

    def at(self, places: Sequence[int]) -> Records:
        """Those at these places, which ascend."""
        parts = []
        for end, (source, own) in zip(self._ends, self.parts, strict=True):
            first = end - len(own)
            some = places[bisect_left(places, first) : bisect_left(places, end)]
            parts.append((source, [own[place - first] for place in some]))
        return Records(*parts)

    def __reduce__(self) -> tuple[type[tuple[Example, ...]], tuple[list[Example]]]:
        """Send the records themselves: the files they are read from stay in this process."""
        return tuple, (list(self),)

    @cached_property
    def by_id(self) -> Mapping[str, Example]:
        """The records by their ids, each read when it is asked for."""
        return _ById(self)

    def place(self, name: str) -> int:
        """The place of a record. Raises KeyError where none has this id."""
        at = bisect_left(self._order, name, key=self.ids.__getitem__)
        if at == len(self._order) or self.ids[found := self._order[at]] != name:
            raise KeyError(name)
        return found

    def where(self, wanted: Callable[[str], bool]) -> Records:
        """Those of the records whose ids are wanted."""
        return Records(
            *(
                (source, [at for at in places if wanted(source.ids[at])])
                for source, places in self.parts
            )
        )


class _ById(Mapping[str, Example]):
    def __init__(self, records: Records) -> None:
        self._records = records

    def __getitem__(self, name: str) -> Example:
        return self._records[self._records.place(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records.ids)

    def __len__(self) -> int:
        return len(self._records)


def records_of(rows: Iterable[Row | Example], name: str = "rows") -> Sequence[Example]:
    """Records that are read when asked for as they are; other rows as `examples` reads them."""
    return rows if isinstance(rows, Records) else examples(rows, name)


def ids_of(records: Sequence[Example]) -> Sequence[str]:
    """The records' ids, in their order; no record is read for it."""
    return records.ids if isinstance(records, Records) else [record.id for record in records]


def by_id(records: Sequence[Example]) -> Mapping[str, Example]:
    """The records by their ids."""
    if isinstance(records, Records):
        return records.by_id
    return {record.id: record for record in records}


def only(records: Sequence[Example], wanted: Collection[str]) -> Sequence[Example]:
    """Those of the records that have these ids, in their order."""
    if isinstance(records, Records):
        return records.where(wanted.__contains__)
    return tuple(record for record in records if record.id in wanted)


def leaving(records: Sequence[Example], ids: Collection[str]) -> Sequence[Example]:
    """Those of the records that have none of these ids, in their order."""
    if isinstance(records, Records):
        return records.where(lambda name: name not in ids)
    return tuple(record for record in records if record.id not in ids)


def joined(*parts: Sequence[Example]) -> Sequence[Example]:
    """The records of all parts, one part after the other; held where none is read when asked."""
    if not any(isinstance(part, Records) for part in parts):
        return tuple(record for part in parts for record in part)
    if len(parts) == 1:
        return parts[0]
    return Records(*(each for part in parts for each in _parts(part)))


def _parts(records: Sequence[Example]) -> Sequence[tuple[Source, Sequence[int]]]:
    if isinstance(records, Records):
        return records.parts
    return [(_Held(tuple(records)), range(len(records)))]


class _Held:
    """Records that are in memory, as a source of records."""

    def __init__(self, records: tuple[Example, ...]) -> None:
        self._records, self.ids = records, tuple(record.id for record in records)

    def __getitem__(self, place: int) -> Example:
        return self._records[place]
