"""Traces: a training's stored provenance for forgetting, a chain that a learner begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NoReturn, Protocol, Self

from olvido.errors import InputError
from olvido.training.traces.steps import Again, Origin, StepLog, TraceNote


class Trace(Protocol):
    """The provenance that lets a model forget; each learner has a class of its own.

    A trace is a chain: `Edited` describes how an approximate method changed the weights afterwards,
    and `Continued` that a training began with a model that another training made; both have the
    trace before them. Records are named by their ids.
    """

    @property
    def learner(self) -> str | None:
        """Name of the learner that made it; None: the training is unknown."""

    @property
    def origin(self) -> Origin | None:
        """The weights it began with; None: the training is unknown."""

    @property
    def previous(self) -> Trace | None:
        """The trace before the last change to the weights; None: the training is the first link of
        the chain."""

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """The logged runs that the model is made of, by name; empty where there are none."""

    @property
    def single(self) -> bool:
        """Whether all records were taught to one set of weights."""

    @property
    def offers(self) -> frozenset[str]:
        """Needs of methods that this training meets, see `olvido.methods.Need`."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The contract under which the training gives the same bits."""

    @property
    def present(self) -> tuple[str, ...]:
        """The records that the weights still contain."""

    @property
    def taught(self) -> frozenset[str]:
        """The records that all known trainings taught, this one and earlier ones, whether other
        methods forgot them since or not."""

    @property
    def tokens(self) -> int:
        """Tokens processed forward and backward, padding included."""

    @property
    def seconds(self) -> float:
        """Wall-clock time of all runs, one after the other."""

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the training from its start, had these records not been in it."""

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The runs that learned any of these records, with these records.

        Raises:
            InputError: a record that the model has not learned.
        """

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """Predict the runs that an exact forgetting of these records repeats.

        Args:
            ids: records to forget.
            definition: the kind of absence, see `DEFINITIONS`.
            from_start: all runs, from their starts; otherwise those with the records, from as late
                as possible.

        Raises:
            InputError: a record that the model has not learned.
        """

    def beginning_with(self, origin: Origin) -> Self:
        """The training, to be repeated from other weights than it began with."""

    def leaving(self, ids: Collection[str]) -> tuple[Trace, frozenset[str]]:
        """The training that an exact method repeats, and all records that it must exclude: these,
        and those that the weights were made to forget before."""

    def to_note(self) -> Mapping[str, Any]:
        """Values to store beside the runs and the previous link, as plain values."""

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """Read a trace from its `to_note`.

        Raises:
            KeyError, TypeError, ValueError: the values are not from `to_note`.
        """


class OfRuns:
    """A trace whose information is all in its logged runs.

    A class that has `learner`, `origin` and `runs` needs to add `from_note`, which reads it, and
    `to_note`, with its further values.
    """

    runs: Any
    previous: ClassVar[Trace | None] = None
    single: ClassVar[bool] = False
    offers: ClassVar[frozenset[str]] = frozenset({"step log"})

    @property
    def environment(self) -> Mapping[str, str]:
        """The contract of the first run, which all runs share."""
        return next((log.environment for log in self.runs.values()), {})

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the weights still contain."""
        return tuple(i for log in self.runs.values() for i in log.present)

    @property
    def taught(self) -> frozenset[str]:
        """Ids of the present records."""
        return frozenset(self.present)

    @property
    def tokens(self) -> int:
        """Tokens processed by all runs."""
        return sum(log.tokens for log in self.runs.values())

    @property
    def seconds(self) -> float:
        """Wall-clock time of all runs, one after the other."""
        return sum(log.seconds for log in self.runs.values())

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the runs from their start, had these records not been in them."""
        return sum(log.tokens_without(ids) for log in self.runs.values())

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The runs that learned any of these records, with these records.

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
        """The affected runs, or all, without these records; an empty one is left out.

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
        """Return nothing: the runs have all information."""
        return {}


@dataclass(frozen=True)
class Untraced(OfRuns):
    """The trace of an unknown training; only methods that need no trace apply."""

    learner: ClassVar = None
    origin: ClassVar = None
    single: ClassVar = True
    offers: ClassVar = frozenset()

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """No known runs."""
        return {}

    def beginning_with(self, origin: Origin) -> NoReturn:
        """Raise InputError: it is not known what to repeat."""
        raise InputError("nothing is known of how the model was trained")

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """Read a trace without content."""
        return cls()


@dataclass(frozen=True)
class MemberRun:
    """One of several runs that a model is made of.

    Attributes:
        name: name of the shard or module.
        log: log of its run.
    """

    name: str
    log: StepLog


@dataclass(frozen=True)
class Placement(OfRuns):
    """The part of a model that learned each record; a learner of parts has a subclass of its own.

    Attributes:
        learner: the learner's recorded name.
        origin: the weights that every part began with.
        options: the learner's options, as far as they shape the assembled model.
        parts: the remaining parts.
    """

    learner: str
    origin: Origin
    options: Mapping[str, Any]
    parts: tuple[MemberRun, ...]

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """The runs of the parts, by the parts' names."""
        return {part.name: part.log for part in self.parts}

    def beginning_with(self, origin: Origin) -> Self:
        """The parts, to be repeated from other weights."""
        parts = tuple(replace(part, log=part.log.beginning_with(origin)) for part in self.parts)
        return replace(self, origin=origin, parts=parts)

    def to_note(self) -> dict[str, Any]:
        """The learner, the parts' initial weights, and the options."""
        return {
            "learner": self.learner,
            "origin": self.origin.digest,
            "options": dict(self.options),
        }

    @classmethod
    def from_note(cls, note: TraceNote) -> Self:
        """Read the parts in their order, and the values of `to_note`."""
        parts = tuple(MemberRun(name, log) for name, log in note.runs.items())
        values = note.values
        origin = Origin(note.load, values["origin"])
        return cls(values["learner"], origin, values["options"], parts)


def _of_previous(name: str) -> Any:
    return property(lambda self: getattr(self.previous, name), doc=f"`{name}` of the training.")


@dataclass(frozen=True)
class Edited:
    """A link for an approximate method: it changed the weights after their training.

    Attributes:
        previous: the trace of the training.
        forgotten: records that the weights were made to forget: the training's log still has them,
            and no later training may.
        losses: losses in nats a token of holdout records under the weights as they were trained, by
            a digest of the content. Such a method changes these losses too, and the next one must
            not take its target from the result of the last one.
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
        """The last link of a trace, with the records that such methods forgot."""
        return trace if isinstance(trace, cls) else cls(trace)

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the weights still contain."""
        return tuple(i for i in self.previous.present if i not in self.forgotten)

    def without(self, ids: Iterable[str]) -> Edited:
        """The link, with these records forgotten too.

        Raises:
            InputError: a record that the model has not learned.
        """
        removed = frozenset(ids)
        self.hit(removed)
        return replace(self, forgotten=self.forgotten | removed)

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the training from its start, without these and all earlier forgotten
        records."""
        return self.previous.tokens_without(self.forgotten.union(ids))

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The runs that learned any of these records, with these records."""
        return self.previous.hit(ids)

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """The training's runs without these and all earlier forgotten records."""
        removed = self.forgotten.union(ids)
        return self.previous.again(removed, definition=definition, from_start=from_start)

    def beginning_with(self, origin: Origin) -> NoReturn:
        """Raise InputError: an approximate method is not repeated."""
        raise InputError("an approximate method changed these weights, and cannot be run again")

    def leaving(self, ids: Collection[str]) -> tuple[Trace, frozenset[str]]:
        """The training, and these records with all earlier forgotten ones."""
        return self.previous.leaving(self.forgotten.union(ids))

    def to_note(self) -> dict[str, Any]:
        """The forgotten records, and the losses."""
        return {"forgotten": sorted(self.forgotten), "losses": dict(self.losses)}

    @classmethod
    def from_note(cls, note: TraceNote) -> Edited:
        """Read the link after the note's previous one."""
        return cls(note.previous, frozenset(note.values["forgotten"]), note.values["losses"])
