"""What a training kept so that it can forget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn import Module

from olvido.errors import DigestMismatch, InputError, StateError
from olvido.models import weights_digest
from olvido.training.checkpoint import Shelf, step_of
from olvido.training.execute import Course
from olvido.training.log import Log
from olvido.training.plan import SlotPlan
from olvido.training.recipe import Recipe


@dataclass(frozen=True)
class Untraced:
    """Nothing is known of how the model was trained; only methods that need no trace apply."""


@dataclass(frozen=True)
class Origin:
    """The weights a run began with.

    Attributes:
        load: gives the module, which training never touches (it works on a copy).
        digest: of its weights when the run began.
        held: ids of the records that an earlier training had taught these weights, so far as that
            is known; no log of a later one can take them out.
    """

    load: Callable[[], Module]
    digest: str
    held: frozenset[str] = frozenset()

    def require_apart(self, gone: Collection[str]) -> None:
        """Raise InputError where an earlier training had taught these weights what is to be
        forgotten: a run from them would bring it back."""
        if early := sorted(self.held.intersection(gone)):
            raise InputError(
                f"{len(early)} records that are to be forgotten were learned before this training "
                f"began (first: {early[0]!r}), so that no part of it can be exact without them: "
                "forget them in the model that it began with, and train on from there"
            )

    def module(self) -> Module:
        """The module, once its weights are known to be those the run began with.

        Raises:
            StateError: they have been changed since.
        """
        model = self.load()
        found = weights_digest(model)
        if found != self.digest:
            raise StateError(
                f"the weights this run began with were changed since (expected {self.digest}, "
                f"found {found}): load them again"
            )
        return model


@dataclass(frozen=True)
class StepLog:
    """All that determines a run, and what it measured.

    Attributes:
        origin: the weights it began with.
        recipe: its hyper-parameters.
        seed: of order, dropout and adapters.
        plan: which records stood in which step.
        environment: the contract under which the bits are the same.
        log: of every forward pass.
        final: digests of the state at its end (weights, optimizer, schedule, random numbers).
        seconds: wall-clock time of the steps.
        setup: seconds of all the rest: copying, adapters, digests.
        shelf: with the checkpoints that a replay may begin from.
        keep: the steps they stand at.
        threads: that the learner gave the run, whatever the process has; None: the process's.
        since: records that the weights were made to forget afterwards by other means: the log still
            holds them, and no later training may.
        strangers: losses (nats a token), under the weights as they were trained, of records that
            they never saw, by a digest of the content. A forgetting by other means moves them too,
            and the next one may not read its aim off what the last one left.
        notes: what had to be passed over when it was taken up again.
    """

    origin: Origin
    recipe: Recipe
    seed: int
    plan: SlotPlan
    environment: Mapping[str, str]
    log: Log
    final: Mapping[str, str]
    seconds: float
    setup: float = 0.0
    shelf: Shelf | None = field(default=None, compare=False)
    keep: tuple[int, ...] = ()
    threads: int | None = None
    since: frozenset[str] = frozenset()
    strangers: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the weights still hold."""
        return tuple(i for i in self.plan.present if i not in self.since)

    @property
    def losses(self) -> tuple[float | None, ...]:
        """One a step; None for a step whose records are all absent."""
        return self.log.losses

    @property
    def tokens(self) -> int:
        """Processed forward and backward, padding included."""
        return self.log.tokens

    @property
    def course(self) -> Course:
        """What determined the run."""
        return Course(self.origin.digest, self.recipe, self.seed, self.plan, self.environment)

    def without(self, ids: Iterable[str], *, definition: str = "drop") -> SlotPlan:
        """The plan of the same run without these records, and without those forgotten since.

        Raises:
            InputError: a record that was not in the run, or one that the weights it began with had
                learned: this run done again would bring it back.
        """
        ids = frozenset(ids)
        self.origin.require_apart(ids | self.since)
        return self.plan.without(self.since).without(ids, definition=definition)

    def tokens_without(self, ids: Collection[str]) -> int:
        """Of the same run from its start, had these records not been in it."""
        gone = self.plan.gone | self.since | frozenset(ids)
        return sum(
            batch.width * sum(i not in gone for i in batch.ids)
            for batches in self.plan.steps()
            for batch in batches
        )

    def restart(self, plan: SlotPlan) -> int:
        """The step from which the run must be done again where this plan is to hold: that of the
        newest checkpoint before the first use of a record that left."""
        if self.shelf is None:
            return 0
        first = self.plan.first_use(plan.gone)
        return max((step_of(path) for path in self.shelf if step_of(path) <= first), default=0)

    def predict(self, plan: SlotPlan, start: int = 0) -> tuple[int, float]:
        """Tokens and seconds of this run under another plan, from a step on.

        A forward pass takes a constant and a share for each token, both fitted to the passes that
        were logged, and scaled so that the run itself is predicted as it was measured.
        """
        passes = [(b.width * len(b.ids), step >= start) for step, bs in enumerate(plan.steps())
                  for b in bs if b.ids]  # fmt: skip
        ahead = [tokens for tokens, done_again in passes if done_again]
        took = [(entry.rows * entry.width, entry.seconds) for entry in self.log if entry.rows]
        if not ahead or not took:
            return 0, self.setup
        tokens, seconds = np.array(took).T
        # Typical passes alone: the first of a process waits for memory and kernels.
        usual = seconds <= np.quantile(seconds, 0.98)
        slope, constant = 0.0, float(seconds[usual].mean())
        if np.ptp(tokens[usual]) > 0:
            slope, constant = np.polyfit(tokens[usual], seconds[usual], 1)
            if slope <= 0 or constant < 0:
                slope, constant = float(seconds[usual].sum() / tokens[usual].sum()), 0.0
        fitted = float((constant + slope * tokens).sum())
        scale = float(seconds.sum()) / fitted if fitted else 1.0
        predicted = float(scale * sum(constant + slope * count for count in ahead))
        return sum(ahead), predicted + self.setup

    def to_dict(self) -> dict[str, Any]:
        """What can be written down as plain values: everything but weights, log and checkpoints."""
        return {
            "origin": self.origin.digest,
            "held": sorted(self.origin.held),
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "plan": self.plan.to_dict(),
            "environment": dict(self.environment),
            "log": self.log.digest,
            "final": dict(self.final),
            "seconds": self.seconds,
            "setup": self.setup,
            "keep": list(self.keep),
            "threads": self.threads,
            "since": sorted(self.since),
            "strangers": dict(self.strangers),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], load: Callable[[], Module], log: Log, shelf: Shelf | None
    ) -> StepLog:
        """The log that `to_dict` wrote down.

        Args:
            values: what it wrote.
            load: gives the weights the run began with.
            log: of every forward pass.
            shelf: with its checkpoints.

        Raises:
            DigestMismatch: the log is not the one that belongs to it.
        """
        if log.digest != values["log"]:
            raise DigestMismatch("the step log", values["log"], log.digest)
        return cls(
            Origin(load, values["origin"], frozenset(values.get("held", ()))),
            Recipe.from_dict(values["recipe"]),
            values["seed"],
            SlotPlan.from_dict(values["plan"]),
            values["environment"],
            log,
            values["final"],
            values["seconds"],
            values["setup"],
            shelf,
            tuple(values["keep"]),
            values["threads"],
            frozenset(values["since"]),
            # Traces that were written before this was kept do without.
            values.get("strangers", {}),
            tuple(values["notes"]),
        )


@dataclass(frozen=True)
class Part:
    """One of several runs that a model is made of.

    Attributes:
        name: of the shard or module.
        log: of its run.
    """

    name: str
    log: StepLog


@dataclass(frozen=True)
class Placement:
    """Which part of a model learned which record.

    Attributes:
        learner: that made it: a name in `LEARNERS`.
        origin: the weights that every part began with.
        options: of the learner, so far as they shape what is made of the parts.
        parts: those that are left.
    """

    learner: str
    origin: Origin
    options: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that the weights still hold."""
        return tuple(i for part in self.parts for i in part.log.present)

    @property
    def tokens(self) -> int:
        """Processed by all parts."""
        return sum(part.log.tokens for part in self.parts)

    def tokens_without(self, ids: Collection[str]) -> int:
        """Of the same runs from their start, had these records not been in them."""
        return sum(part.log.tokens_without(ids) for part in self.parts)

    @property
    def seconds(self) -> float:
        """Wall-clock time of all parts, one after the other."""
        return sum(part.log.seconds for part in self.parts)

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The parts that learned any of these records, and which.

        Raises:
            InputError: a record that no part has learned, or that was learned before them.
        """
        asked = tuple(ids)
        self.origin.require_apart(asked)
        home = {i: part.name for part in self.parts for i in part.log.present}
        strangers = sorted(set(asked) - home.keys())
        if strangers:
            raise InputError(
                f"{len(strangers)} records to forget are not in this model (first: "
                f"{strangers[0]!r}): name records that it was trained on"
            )
        found: dict[str, tuple[str, ...]] = {}
        for i in asked:
            found[home[i]] = (*found.get(home[i], ()), i)
        return found


Trace = StepLog | Placement | Untraced


def taught(trace: Trace) -> frozenset[str]:
    """Ids of all records that the trainings which are known taught, forgotten since or not."""
    if isinstance(trace, Untraced):
        return frozenset()
    logs = [trace] if isinstance(trace, StepLog) else [part.log for part in trace.parts]
    told = {i for log in logs for i in (*log.plan.present, *log.since)}
    return trace.origin.held.union(told)


def began_with(trace: Trace, held: frozenset[str]) -> Trace:
    """The same trace, where the weights that the training began with had learned these records."""
    if isinstance(trace, Untraced):
        return trace
    origin = replace(trace.origin, held=held)
    if isinstance(trace, StepLog):
        return replace(trace, origin=origin)
    parts = (replace(part, log=replace(part.log, origin=origin)) for part in trace.parts)
    return replace(trace, origin=origin, parts=tuple(parts))


@dataclass(frozen=True, repr=False)
class Trained:
    """Weights, and what was kept so that they can forget.

    Attributes:
        model: the module, in evaluation mode.
        digest: of its weights.
        trace: what the training kept.
    """

    model: Module
    digest: str
    trace: Trace

    @classmethod
    def untraced(cls, model: Module) -> Trained:
        """A model that came from elsewhere."""
        return cls(model, weights_digest(model), Untraced())

    def __repr__(self) -> str:
        """In a line: the module has its own."""
        told = type(self.model).__name__
        if not isinstance(self.trace, Untraced):
            told += f", {len(self.trace.present)} records"
        return f"{type(self).__name__}({told}, {type(self.trace).__name__}, {self.digest})"

    def save(self, folder: Path, tokenizer: Any, *, base: str | None = None, seed: int = 0) -> None:
        """Write the model with all that its training kept, so that it can forget another day.

        Args:
            folder: a new one.
            tokenizer: that belongs to the model.
            base: what the training began with, as `olvido.load` takes it; a model without a trace
                needs none. `seed` is what `tiny` was drawn from.

        Raises:
            InputError: the folder is there already, the base is not said, or is another than the
                training began with.
        """
        from olvido.training.storage import save_trained

        save_trained(self, tokenizer, Path(folder), base=base, seed=seed)

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """What `save` wrote.

        Raises:
            InputError: no model can be read from the folder.
            StateError: what its training kept is gone, or cannot be read.
            DigestMismatch: something in it is not what was written.
        """
        from olvido.training.storage import load_trained

        return load_trained(Path(folder))

    def page(self, path: Path) -> None:
        """Write what is known of the training as one HTML page, without a word of the records."""
        from olvido.training.storage import write_trained_page

        write_trained_page(self, Path(path))
