"""The trace of a model that was trained elsewhere: what somebody says that it learned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn, Self

from olvido.errors import InputError
from olvido.ledger.facts import DECLARED
from olvido.training.steps import Again, Origin, StepLog, TraceNote
from olvido.training.trace import OfRuns

NO_LOG = "exact methods need the log of the training, and this model was trained elsewhere"


@dataclass(frozen=True)
class Declared(OfRuns):
    """A training that Olvido did not see: no run and no log, and records that somebody named.

    Attributes:
        records: ids of the records that the model is said to have learned.
        origin: the weights that it is said to have begun with; None: nobody said, or they cannot
            be loaded.
    """

    records: tuple[str, ...]
    origin: Origin | None = None

    learner: ClassVar = DECLARED
    single: ClassVar = True
    offers: ClassVar = frozenset()

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """No run was logged."""
        return {}

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the model is said to have learned."""
        return self.records

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The one training, with these records.

        Raises:
            InputError: a record that the model is not said to have learned.
        """
        asked = tuple(ids)
        if unknown := sorted(set(asked).difference(self.records)):
            raise InputError(
                f"{len(unknown)} records to forget are not among those that this model is declared "
                f"to have learned (first: {unknown[0]!r}): name records of its datasets"
            )
        return {DECLARED: asked}

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """Nothing can be run again.

        Raises:
            InputError: always.
        """
        self._refuse()

    def beginning_with(self, origin: Origin) -> Self:
        """The trace, with another way to the weights that the training is said to begin with."""
        return replace(self, origin=origin)

    def to_note(self) -> dict[str, Any]:
        """The records, and the weights that the training began with."""
        return {
            "records": list(self.records),
            "origin": self.origin and self.origin.digest,
        }

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """Read the values of `to_note`."""
        values = note.values
        origin = None
        if values["origin"] is not None:
            origin = Origin(note.load, values["origin"])
        return cls(tuple(values["records"]), origin)

    def _refuse(self) -> NoReturn:
        raise InputError(NO_LOG)
