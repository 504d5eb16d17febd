"""Traces of models that others trained: what somebody says that they learned, or Olvido saw."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NoReturn, Self

from olvido.errors import InputError
from olvido.ledger.facts import DECLARED, PRIVATE, WATCHED
from olvido.training.traces.base import OfRuns
from olvido.training.traces.seen import Seen
from olvido.training.traces.steps import Again, Origin, StepLog, TraceNote

NO_LOG: Mapping[str, str] = {
    DECLARED: "exact methods need the log of the training, and this model was trained elsewhere",
    WATCHED: (
        "exact methods repeat steps that Olvido took itself, and another trainer trained this "
        "model while Olvido watched"
    ),
    PRIVATE: (
        "exact methods repeat logged steps, and a private training keeps neither its draws nor its "
        "noise: train again without the records, which is a second release with a budget of its own"
    ),
}
"""Why exact methods do not apply, by the name of the learner."""


@dataclass(frozen=True)
class Elsewhere(OfRuns):
    """A training without a log: no run, and the records that it is known by.

    Attributes:
        records: ids of the records that the model learned, as far as is known.
        origin: the weights that it began with; None: they are unknown, or cannot be loaded.
    """

    records: tuple[str, ...]
    origin: Origin | None = None

    learner: ClassVar[str]
    single: ClassVar = True
    offers: ClassVar = frozenset()

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """No run was logged."""
        return {}

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the model learned."""
        return self.records

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The one training, with these records.

        Raises:
            InputError: a record that the model is not known to have learned.
        """
        asked = tuple(ids)
        if unknown := sorted(set(asked).difference(self.records)):
            raise InputError(
                f"{len(unknown)} records to forget are not among those that this model is "
                f"{'declared' if self.learner == DECLARED else 'known'} to have learned (first: "
                f"{unknown[0]!r}): name records of its datasets"
            )
        return {self.learner: asked}

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
        return cls(tuple(note.values["records"]), origin_in(note))

    def _refuse(self) -> NoReturn:
        raise InputError(NO_LOG[self.learner])


def origin_in(note: TraceNote) -> Origin | None:
    """The weights that a stored training began with, if they are known."""
    values = note.values
    if values["origin"] is None:
        return None
    return Origin(note.load, values["origin"])


@dataclass(frozen=True)
class Declared(Elsewhere):
    """A training that Olvido did not see: its records are those that somebody named."""

    learner: ClassVar = DECLARED


@dataclass(frozen=True)
class Watched(Elsewhere):
    """A training that another trainer ran while Olvido watched.

    Attributes:
        seen: what was seen of it.
    """

    seen: Seen = field(default_factory=Seen)

    learner: ClassVar = WATCHED

    @property
    def seconds(self) -> float:
        """Seconds from the first step to the end, with the trainer's own evaluations."""
        return self.seen.seconds

    @property
    def tokens(self) -> int:
        """Tokens that passed forward and backward, padding included."""
        return self.seen.tokens

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the training without these records, each use of a record counted alike."""
        return self.seen.tokens_without(frozenset(ids))

    def to_note(self) -> dict[str, Any]:
        """The same as of any, and what was seen."""
        return super().to_note() | {"seen": self.seen.to_dict()}

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """Read the values of `to_note`."""
        seen = Seen.from_dict(note.values["seen"])
        return cls(tuple(note.values["records"]), origin_in(note), seen)
