"""A chain of trainings: a model that was trained from a model which another training made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn, Self

from olvido.errors import InputError
from olvido.training.traces.base import Trace
from olvido.training.traces.steps import Again, Origin, StepLog, TraceNote

BEFORE = "before-"
"""Stands in front of the name of a run of an earlier training, once for each training since."""


@dataclass(frozen=True)
class Continued:
    """A training that began with the weights of another training, of which the trace is known.

    To forget what an earlier training taught, the chain is repeated from that training on: each
    later one is run again from its start, because it begins with other weights.

    Attributes:
        previous: the trace of the model that it began with.
        last: the trace of the training itself; its origin is that model.
        kept: whether that model is still there; otherwise its training is repeated to make it.
    """

    previous: Trace
    last: Trace
    kept: bool = True

    learner: ClassVar = "chain"

    @property
    def origin(self) -> Origin | None:
        """The weights that the first training of the chain began with."""
        return self.previous.origin

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """The runs of all trainings, those of the last one first."""
        before = {BEFORE + name: log for name, log in self.previous.runs.items()}
        return {**self.last.runs, **before}

    @property
    def single(self) -> bool:
        """Whether the last training taught one set of weights."""
        return self.last.single

    @property
    def offers(self) -> frozenset[str]:
        """Needs of methods that any of the trainings meets."""
        return self.previous.offers | self.last.offers

    @property
    def environment(self) -> Mapping[str, str]:
        """The contract of the last training."""
        return self.last.environment

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the weights still contain, each once."""
        return tuple(dict.fromkeys((*self.previous.present, *self.last.present)))

    @property
    def taught(self) -> frozenset[str]:
        """The records that any of the trainings taught."""
        return self.previous.taught | self.last.taught

    @property
    def tokens(self) -> int:
        """Tokens processed by all trainings."""
        return self.previous.tokens + self.last.tokens

    @property
    def seconds(self) -> float:
        """Wall-clock time of all trainings, one after the other."""
        return self.previous.seconds + self.last.seconds

    def early(self, ids: Collection[str]) -> frozenset[str]:
        """Those of these records that an earlier training taught."""
        return self.previous.taught.intersection(ids)

    def own(self, ids: Collection[str]) -> frozenset[str]:
        """Those of these records that the last training taught."""
        return self.last.taught.intersection(ids)

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the trainings that a retraining repeats, had these records not been in them:
        from the first that taught one on, or whose model is gone."""
        early = self.early(ids)
        before = self.previous.tokens_without(early) if early or not self.kept else 0
        return before + self.last.tokens_without(self.own(ids))

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The runs that learned any of these records, with these records; of a chain, a record may
        be in two.

        Raises:
            InputError: a record that no training taught.
        """
        asked = tuple(ids)
        if unknown := sorted(set(asked) - self.taught):
            raise InputError(
                f"{len(unknown)} records to forget are not in this model (first: "
                f"{unknown[0]!r}): name records that it was trained on"
            )
        before = self.previous.hit(self.early(asked))
        last = self.last.hit(self.own(asked))
        return {**{BEFORE + name: found for name, found in before.items() if found},
                **{name: found for name, found in last.items() if found}}  # fmt: skip

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """The runs without these records: of the last training alone where it alone taught them,
        otherwise of all trainings from the first that did.

        Raises:
            InputError: a record that no training taught, or one that was taught by a training that
                cannot be repeated.
        """
        self.hit(ids)
        early, own = self.early(ids), self.own(ids)
        if self.kept and not early:
            return self.last.again(own, definition=definition, from_start=from_start)
        whole = from_start or not self.kept
        before = self.previous.again(early, definition=definition, from_start=whole)
        since = self.last.again(own, definition=definition, from_start=True)
        return (*(replace(run, name=BEFORE + run.name) for run in before), *since)

    def beginning_with(self, origin: Origin) -> NoReturn:
        """Raise InputError: a chain begins with its first training."""
        raise InputError("a chain of trainings is repeated link by link")

    def leaving(self, ids: Collection[str]) -> tuple[Trace, frozenset[str]]:
        """This chain, and these records: an earlier training adds those it was made to forget."""
        return self, frozenset(ids)

    def to_note(self) -> dict[str, Any]:
        """Return nothing: both trainings are described by themselves."""
        return {}

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """The two trainings of a note."""
        return cls(note.previous, note.last, note.values["kept"])


def links(trace: Trace) -> Iterator[Trace]:
    """A trace and all links before it, the last first; of a chain of trainings, both of each."""
    link: Trace | None = trace
    while link is not None:
        yield link
        if isinstance(link, Continued):
            yield link.last
        link = link.previous


def origin_of(trace: Trace, ids: Collection[str]) -> Origin | None:
    """The latest weights of a training that these records had not been taught to yet.

    They are those that it began with; of a chain, those that the last training began with, where
    it alone taught the records and that model is still there.

    Returns:
        None where they are unknown.
    """
    link = trace
    while link.previous is not None:
        if isinstance(link, Continued) and link.kept and not link.early(ids):
            return link.last.origin
        link = link.previous
    return link.origin
