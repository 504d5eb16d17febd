"""The trace of a private training: its promise, and neither draws nor losses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from olvido.ledger.facts import PRIVATE
from olvido.training.private.accounting import Spent
from olvido.training.private.canaries import Canaries
from olvido.training.traces.base import Trace
from olvido.training.traces.chain import Continued, links
from olvido.training.traces.declared import Elsewhere, origin_in
from olvido.training.traces.steps import TraceNote


@dataclass(frozen=True, kw_only=True)
class PrivateRun(Elsewhere):
    """A training with differential privacy.

    Attributes:
        spent: its promise.
        contract: the environment under which a chosen seed of the noise gives the same bits.
        took: wall-clock seconds.
        expected: tokens that were expected to pass forward and backward, without padding: their
            real number would tell who was drawn.
        notes: what was done otherwise than is usual.
        canaries: made records that some coins put into the training; None: there were none.
    """

    spent: Spent
    contract: Mapping[str, str]
    took: float
    expected: int
    notes: tuple[str, ...] = ()
    canaries: Canaries | None = None

    learner: ClassVar = PRIVATE

    @property
    def environment(self) -> Mapping[str, str]:
        """The contract of the run."""
        return self.contract

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run."""
        return self.took

    @property
    def tokens(self) -> int:
        """Tokens that were expected to pass forward and backward."""
        return self.expected

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the training without these records, each counted alike."""
        left = len(set(self.records).difference(ids))
        return round(self.expected * left / len(self.records)) if self.records else 0

    def to_note(self) -> dict[str, Any]:
        """The same as of any training without a log, and the promise."""
        return (
            super().to_note()
            | {
                "spent": self.spent.to_dict(),
                "contract": dict(self.contract),
                "took": self.took,
                "expected": self.expected,
                "notes": list(self.notes),
            }
            | ({} if self.canaries is None else {"canaries": self.canaries.to_note()})
        )

    def units_with(self, ids: Collection[str], people: Mapping[str, Collection[Any]]) -> int:
        """How many units are added or removed where these records are left out.

        A unit of which other records stay counts twice: it is removed, and one of these is added.

        Args:
            ids: records; those that the training left out count for nothing.
            people: whom each record of the training names.
        """
        asked = set(ids)
        if self.spent.unit == "record":
            return len(asked.intersection(self.records))
        units: dict[Any, set[bool]] = {}
        for record in self.records:
            # Units share nobody (`units_of`), so that the set of people is the unit.
            units.setdefault(frozenset(people[record]) or record, set()).add(record in asked)
        return sum(len(found) for found in units.values() if True in found)

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """Read the values of `to_note`."""
        values = note.values
        return cls(
            tuple(values["records"]),
            origin_in(note),
            spent=Spent.from_dict(values["spent"]),
            contract=values["contract"],
            took=values["took"],
            expected=values["expected"],
            notes=tuple(values["notes"]),
            canaries=Canaries(**values["canaries"]) if "canaries" in values else None,
        )


def private_run(trace: Trace) -> PrivateRun | None:
    """The last training of a trace, where it was a private one."""
    last = trace.last if isinstance(trace, Continued) else trace
    return last if isinstance(last, PrivateRun) else None


def spent_by(trace: Trace) -> Spent | None:
    """The promise of the last training of a trace; None where it made none."""
    run = private_run(trace)
    return None if run is None else run.spent


def promised_by(trace: Trace) -> dict[str, Any] | None:
    """The same as plain values; the words say what they leave open about earlier trainings."""
    if (spent := spent_by(trace)) is None:
        return None
    found = spent.to_dict()
    if isinstance(trace, Continued):
        found["promise"] += f"; {_before(trace, spent)}"
    return found


def _before(trace: Continued, spent: Spent) -> str:
    """What the last promise is worth to whom an earlier training of a chain was about."""
    before = [link for link in links(trace.previous) if not isinstance(link, Continued)]
    if not all(isinstance(link, PrivateRun) for link in before):
        return (
            "it began with a model that had learned without such a promise: nothing is promised to "
            f"those who are in the {len(trace.previous.taught)} records of its earlier trainings"
        )
    all_ = [spent, *(link.spent for link in before if isinstance(link, PrivateRun))]
    if len({one.unit for one in all_}) > 1:
        return "it began with a private training of other units, and their promises do not add up"
    return (
        f"it began with a model of another private training: a unit of all {len(all_)} trainings "
        f"has the sum, epsilon {sum(one.epsilon for one in all_):.3g} at delta "
        f"{sum(one.delta for one in all_):.2g}"
    )


def coins_of(trace: Trace) -> str | None:
    """The coins of the canaries of the last training, as their file has them; None: no coins."""
    run = private_run(trace)
    known = None if run is None or run.canaries is None else run.canaries.coins
    return None if known is None else known.text


def with_coins(trace: Trace, folder: Path) -> Trace:
    """A trace with the coins that lie in the folder of its model, if it had canaries.

    Raises:
        DigestMismatch: they are not the ones that were thrown.
    """
    run = private_run(trace)
    if run is None or run.canaries is None:
        return trace
    found = replace(run, canaries=run.canaries.with_coins(folder))
    return replace(trace, last=found) if isinstance(trace, Continued) else found
