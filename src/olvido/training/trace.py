"""What a training kept so that it can forget: a chain of links, the first left by a learner."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

from olvido.errors import InputError
from olvido.training.steps import Again, Origin, StepLog, TraceNote


class Trace(Protocol):
    """What a training kept so that its model can forget; each learner has a class of its own.

    A trace is a chain: `Edited` says what a method that is not exact did to the weights afterwards,
    and has the trace of the training before it. Records are named by their ids. What a training
    before this one had taught is named by `origin.held`: nothing that is done again from there can
    be without it, and exact methods refuse to forget it.
    """

    @property
    def learner(self) -> str | None:
        """Name of the learner that left it; None: nothing is known of the training."""

    @property
    def origin(self) -> Origin | None:
        """The weights it began with; None: nothing is known of the training."""

    @property
    def previous(self) -> Trace | None:
        """What these weights were before the last change to them; None: the training is the
        first link of the chain."""

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """The logged runs that the model is made of, by name; empty where there are none."""

    @property
    def single(self) -> bool:
        """Whether all records were taught to one set of weights."""

    @property
    def offers(self) -> frozenset[str]:
        """What a method may need of a training and finds here, see `olvido.methods.Need`."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The contract under which the training gives the same bits."""

    @property
    def present(self) -> tuple[str, ...]:
        """The records that the weights still hold."""

    @property
    def taught(self) -> frozenset[str]:
        """The records that the trainings which are known taught, this one and those before it,
        forgotten by other means since or not."""

    @property
    def tokens(self) -> int:
        """Processed forward and backward, padding included."""

    @property
    def seconds(self) -> float:
        """Wall-clock time of all runs, one after the other."""

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the same training from its start, had these records not been in it."""

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The runs that learned any of these records, and which.

        Raises:
            InputError: a record that the model has not learned.
        """

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """What an exact forgetting of these records does again, predicted, a run each.

        Args:
            ids: to forget.
            definition: of their absence, see `DEFINITIONS`.
            from_start: all runs, from their starts; else those that are hit, from as late as can
                be.

        Raises:
            InputError: a record that the model has not learned.
        """

    def after(self, held: frozenset[str]) -> Self:
        """The same trace, where the weights that the training began with had learned these
        records."""

    def leaving(self, ids: Collection[str]) -> tuple[Trace, frozenset[str]]:
        """The training that an exact method does again, and all that has to stay out of it: these
        records, and those that the weights were made to forget before."""

    def to_note(self) -> Mapping[str, Any]:
        """What is to be stored beside the runs and the previous link, as plain values."""

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """The trace that `to_note` gave a note of.

        Raises:
            KeyError, TypeError, ValueError: the values are not what `to_note` gave.
        """


class OfRuns:
    """What a trace says of itself where all it knows stands in its logged runs.

    A class that has `learner`, `origin` and `runs` needs to add how it is read back (`from_note`),
    and what it stores besides (`to_note`).
    """

    runs: Any
    previous: ClassVar[Trace | None] = None
    single: ClassVar[bool] = False
    offers: ClassVar[frozenset[str]] = frozenset({"step log"})

    @property
    def environment(self) -> Mapping[str, str]:
        """The contract of the first run, which is that of all."""
        return next((log.environment for log in self.runs.values()), {})

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the weights still hold."""
        return tuple(i for log in self.runs.values() for i in log.present)

    @property
    def taught(self) -> frozenset[str]:
        """The same, and those that the weights the runs began with had learned."""
        return _held(self).union(self.present)

    @property
    def tokens(self) -> int:
        """Processed by all runs."""
        return sum(log.tokens for log in self.runs.values())

    @property
    def seconds(self) -> float:
        """Wall-clock time of all runs, one after the other."""
        return sum(log.seconds for log in self.runs.values())

    def tokens_without(self, ids: Collection[str]) -> int:
        """Of the same runs from their start, had these records not been in them."""
        return sum(log.tokens_without(ids) for log in self.runs.values())

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The runs that learned any of these records, and which.

        Raises:
            InputError: a record that no run has learned.
        """
        asked = tuple(ids)
        home = {i: name for name, log in self.runs.items() for i in log.present}
        unknown = sorted(set(asked) - home.keys())
        if unknown:
            raise InputError(
                f"{len(unknown)} records to forget are not in this model (first: "
                f"{unknown[0]!r}): name records that it was trained on"
            )
        found: dict[str, tuple[str, ...]] = {}
        for i in asked:
            found[home[i]] = (*found.get(home[i], ()), i)
        return found

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """The runs that are hit, or all, without these records; one that is left empty is gone.

        Raises:
            InputError: a record that no run has learned.
        """
        hit, found = self.hit(ids), []
        for name, log in self.runs.items():
            if from_start or name in hit:
                removed = hit.get(name, ())
                (one,) = log.again(removed, definition=definition, from_start=from_start)
                found.append(replace(one, name=name) if one.staying else Again(name, (), 0, 0.0))
        return tuple(found)

    def leaving(self, ids: Collection[str]) -> tuple[Self, frozenset[str]]:
        """This training, and these records."""
        return self, frozenset(ids)

    def to_note(self) -> dict[str, Any]:
        """Nothing beside the runs."""
        return {}


@dataclass(frozen=True)
class Untraced(OfRuns):
    """Nothing is known of how the model was trained; only methods that need no trace apply."""

    learner: ClassVar = None
    origin: ClassVar = None
    single: ClassVar = True
    offers: ClassVar = frozenset()

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """None are known."""
        return {}

    def after(self, held: frozenset[str]) -> Self:
        """Nothing is known of what these weights began with either."""
        return self

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """There is nothing to read."""
        return cls()


@dataclass(frozen=True)
class MemberRun:
    """One of several runs that a model is made of.

    Attributes:
        name: of the shard or module.
        log: of its run.
    """

    name: str
    log: StepLog


@dataclass(frozen=True)
class Placement(OfRuns):
    """Which part of a model learned which record; a learner of parts has a subclass of its own.

    Attributes:
        learner: that made it, by the name under which it is recorded.
        origin: the weights that every part began with.
        options: of the learner, so far as they shape what is made of the parts.
        parts: those that are left.
    """

    learner: str
    origin: Origin
    options: Mapping[str, Any]
    parts: tuple[MemberRun, ...]

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """The runs of the parts, by the parts' names."""
        return {part.name: part.log for part in self.parts}

    def after(self, held: frozenset[str]) -> Self:
        """The same parts, where the weights that all of them began with had learned these."""
        origin = replace(self.origin, held=held)
        parts = tuple(replace(part, log=part.log.after(held)) for part in self.parts)
        return replace(self, origin=origin, parts=parts)

    def to_note(self) -> dict[str, Any]:
        """The learner, what the parts began with, and the options."""
        return {
            "learner": self.learner,
            "origin": self.origin.digest,
            "held": sorted(self.origin.held),
            "options": dict(self.options),
        }

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """The parts in their order, and what `to_note` gave."""
        parts = tuple(MemberRun(name, log) for name, log in note.runs.items())
        values = note.values
        origin = Origin(note.load, values["origin"], frozenset(values["held"]))
        return cls(values["learner"], origin, values["options"], parts)


def _held(trace: Any) -> frozenset[str]:
    """The records that the weights a training began with had learned."""
    return frozenset() if trace.origin is None else trace.origin.held


def _of_previous(name: str) -> Any:
    return property(lambda self: getattr(self.previous, name), doc=f"`{name}` of the training.")


@dataclass(frozen=True)
class Edited:
    """A link of a method that is not exact: it changed the weights after their training.

    Attributes:
        previous: the training.
        forgotten: records that the weights were made to forget: the training's log still holds
            them, and no later training may.
        losses: nats a token, under the weights as they were trained, of records that they never
            saw, by a digest of the content. Such a method moves them too, and the next one may not
            read its aim off what the last one left.
    """

    previous: Trace
    forgotten: frozenset[str] = frozenset()
    losses: Mapping[str, float] = field(default_factory=dict)

    learner = _of_previous("learner")
    origin = _of_previous("origin")
    runs = _of_previous("runs")
    single = _of_previous("single")
    offers = _of_previous("offers")
    environment = _of_previous("environment")
    taught = _of_previous("taught")
    tokens = _of_previous("tokens")
    seconds = _of_previous("seconds")

    @classmethod
    def of(cls, trace: Trace) -> Edited:
        """The last link of a trace that says what was forgotten by such methods."""
        return trace if isinstance(trace, cls) else cls(trace)

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the weights still hold."""
        return tuple(i for i in self.previous.present if i not in self.forgotten)

    def without(self, ids: Iterable[str]) -> Edited:
        """The same link, with these records forgotten too.

        Raises:
            InputError: a record that the model has not learned.
        """
        removed = frozenset(ids)
        self.hit(removed - _held(self))
        return replace(self, forgotten=self.forgotten | removed)

    def tokens_without(self, ids: Collection[str]) -> int:
        """Of the training from its start, without these and what was forgotten since."""
        return self.previous.tokens_without(self.forgotten.union(ids))

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The runs that learned any of these records, and which."""
        return self.previous.hit(ids)

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """The training's runs without these records and what was forgotten since."""
        removed = self.forgotten.union(ids)
        return self.previous.again(removed, definition=definition, from_start=from_start)

    def after(self, held: frozenset[str]) -> Edited:
        """The same link, after the training that began with such weights."""
        return replace(self, previous=self.previous.after(held))

    def leaving(self, ids: Collection[str]) -> tuple[Trace, frozenset[str]]:
        """The training, and these records with all that was forgotten since."""
        return self.previous.leaving(self.forgotten.union(ids))

    def to_note(self) -> dict[str, Any]:
        """What was forgotten, and the losses."""
        return {"forgotten": sorted(self.forgotten), "losses": dict(self.losses)}

    @classmethod
    def from_note(cls, note: TraceNote) -> Edited:
        """The link after the one that is given."""
        return cls(note.previous, frozenset(note.values["forgotten"]), note.values["losses"])
