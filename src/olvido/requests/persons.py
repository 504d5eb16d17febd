"""Whom a request is about: one person under one name or several, found by keyed digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from olvido.errors import InputError, Parameter
from olvido.ledger.facts import Record
from olvido.ledger.identity import SubjectId
from olvido.ledger.store import Store
from olvido.reporting.words import several

MOST = 50
"""Names of one person."""


@dataclass(frozen=True, slots=True)
class Person:
    """The names of a person, while they are in clear.

    Attributes:
        subjects: their digests, the first name's first; spellings that are one stand once.
        counts: how many records each name that was given finds, those of each version of a dataset.
        apart: the same, with those that stand in several versions of a dataset counted once.
        near: records of subjects whose names are near one of these and are none of them.
    """

    subjects: tuple[SubjectId, ...]
    counts: Mapping[str, int]
    apart: Mapping[str, int]
    near: Mapping[SubjectId, tuple[Record, ...]]

    def told(self, name: str) -> str:
        """How many records a name finds, in words; versions of a dataset repeat most of theirs.

        >>> Person((), {"Ana": 50}, {"Ana": 25}, {}).told("Ana")
        '25 records (50, counted in every version of their datasets)'
        """
        every, once = self.counts[name], self.apart[name]
        if every == once:
            return several(once, "record")
        return f"{several(once, 'record')} ({every:,}, counted in every version of their datasets)"


class NobodyFound(InputError):
    """No record is about a person; `near` has records of subjects with names near theirs."""

    def __init__(self, near: Mapping[SubjectId, tuple[Record, ...]]) -> None:
        super().__init__(
            "no record in any dataset is about this subject: check how the name is written in the "
            "data's subject column. To answer that nothing is held, enter it so: ",
            Parameter("nothing_found"),
        )
        self.near = near


def look_up(store: Store, names: Sequence[str]) -> Person:
    """Look for a person under all their names: as the data writes them, or digests.

    Raises:
        InputError: there are too many, or one is no name.
    """
    if len(names) > MOST:
        raise InputError(f"expected at most {MOST} names of one person, got {len(names)}")
    found: dict[SubjectId, tuple[int, int]] = {}
    counts: dict[str, int] = {}
    apart: dict[str, int] = {}
    names_of = {dataset.id: dataset.name for dataset in store.datasets()}
    forms: set[bytes] = set()
    for name in names:
        if SubjectId.is_one(name):
            who = SubjectId.from_str(store.key.current(str(SubjectId.from_str(name))))
        else:
            who = store.key.subject(name)
            forms |= store.key.near(name)
        if who not in found:
            records = store.records_of(who)
            found[who] = len(records), len({(names_of[r.dataset], r.id) for r in records})
        counts[name], apart[name] = found[who]
    near = {who: some for who, some in store.near(forms).items() if who not in found and some}
    return Person(tuple(found), counts, apart, near)


def demand(person: Person, *, nothing_found: bool) -> None:
    """Refuse to enter a request about somebody who is in no data, or is, unlike it is said.

    Raises:
        NobodyFound: no record is about any of the names.
        InputError: there are some, and it is said that there are none.
    """
    known = any(person.counts.values())
    if not known and not nothing_found:
        raise NobodyFound(person.near)
    if known and nothing_found:
        raise InputError(
            "there are records about this subject: enter it without ", Parameter("nothing_found")
        )
