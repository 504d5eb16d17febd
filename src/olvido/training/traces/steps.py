"""Logged runs: everything that determines a run, with its cost and its records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from torch.nn import Module

from olvido.errors import DigestMismatch, StateError
from olvido.models import weights_digest
from olvido.training.checkpoint import CheckpointStore, step_of
from olvido.training.execute import RunSpec
from olvido.training.log import Log
from olvido.training.plan import SlotPlan
from olvido.training.recipe import Recipe

RUN = "run"
"""The name of the run of a model that is one piece."""


@dataclass(frozen=True)
class Origin:
    """The weights a run began with.

    Attributes:
        load: gives the module, which training never changes (it works on a copy).
        digest: digest of its weights when the run began.
        replaces: digest of the weights that the logged run began with, where a run is repeated from
            others; None: it began with these.
    """

    load: Callable[[], Module]
    digest: str
    replaces: str | None = None

    def module(self) -> Module:
        """The module, checked to have the weights that the run began with.

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
class TraceNote:
    """The stored form of a trace.

    Attributes:
        values: the values of `to_note`.
        load: gives the weights that the training began with.
        runs: the logged runs, by name.
        previous: the link before it, a trace; None: it is the first.
        last: of a chain of trainings the last, a trace.
    """

    values: Mapping[str, Any]
    load: Callable[[], Module]
    runs: Mapping[str, StepLog]
    previous: Any
    last: Any = None


@dataclass(frozen=True)
class Again:
    """One run of an exact forgetting, predicted.

    Attributes:
        name: name of the run.
        staying: its remaining records, all of which it needs.
        tokens: forward and backward, of the steps to repeat.
        seconds: their seconds.
    """

    name: str
    staying: tuple[str, ...]
    tokens: int
    seconds: float


@dataclass(frozen=True)
class StepLog:
    """All that determines a run, and its measurements.

    Attributes:
        origin: the weights it began with.
        recipe: its hyper-parameters.
        seed: of order, dropout and adapters.
        plan: the records of each step.
        environment: the contract under which the bits are the same.
        log: of every forward pass.
        final: digests of the state at its end (weights, optimizer, schedule, random numbers).
        seconds: wall-clock time of the steps.
        setup: seconds of the rest: copying, adapters, digests.
        checkpoints: the store of the checkpoints for replay.
        keep: their steps.
        threads: the learner's number of threads for the run; None: the process's.
        notes: checkpoints skipped when it was resumed, and the like.
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
    checkpoints: CheckpointStore | None = field(default=None, compare=False)
    keep: tuple[int, ...] = ()
    threads: int | None = None
    notes: tuple[str, ...] = ()

    learner: ClassVar = "monolith"
    previous: ClassVar = None
    single: ClassVar = True

    @property
    def runs(self) -> Mapping[str, StepLog]:
        """This run."""
        return {RUN: self}

    @property
    def offers(self) -> frozenset[str]:
        """Needs of methods that this training meets."""
        kept = self.checkpoints is not None and any(True for _ in self.checkpoints)
        return frozenset({"step log", "checkpoints"} if kept else {"step log"})

    @property
    def present(self) -> tuple[str, ...]:
        """Ids of the records that took part."""
        return self.plan.present

    @property
    def taught(self) -> frozenset[str]:
        """Ids of the records of this run."""
        return frozenset(self.plan.present)

    @property
    def losses(self) -> tuple[float | None, ...]:
        """The loss of each step; None for a step whose records are all absent."""
        return self.log.losses

    @property
    def tokens(self) -> int:
        """Tokens processed forward and backward, padding included."""
        return self.log.tokens

    @property
    def spec(self) -> RunSpec:
        """The specification of the run."""
        return RunSpec(self.origin.digest, self.recipe, self.seed, self.plan, self.environment)

    @property
    def logged(self) -> RunSpec:
        """The specification of the run that was logged, where these weights replace its own."""
        spec = self.spec
        return replace(spec, origin=self.origin.replaces or spec.origin)

    def beginning_with(self, origin: Origin) -> StepLog:
        """The run, to be repeated from other weights."""
        return replace(self, origin=origin)

    def tokens_without(self, ids: Collection[str]) -> int:
        """Tokens of the run from its start, had these records not been in it."""
        removed = self.plan.removed.union(ids)
        if removed not in self._tokens_without:
            self._tokens_without[removed] = sum(
                batch.width * sum(i not in removed for i in batch.ids)
                for batches in self.plan.steps()
                for batch in batches
            )
        return self._tokens_without[removed]

    @cached_property
    def _tokens_without(self) -> dict[frozenset[str], int]:
        """Answers of `tokens_without`: the price of every method asks for the same."""
        return {}

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """This run, with all of these records.

        Raises:
            InputError: a record that was not in the run.
        """
        ids = tuple(ids)
        self.plan.without(ids)
        return {RUN: ids}

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        """Predict the run without these records, from its start or from as late as possible.

        Raises:
            InputError: a record that was not in the run.
        """
        plan = self.plan.without(ids, definition=definition)
        tokens, seconds = self.predict(plan, 0 if from_start else self.restart(plan))
        return (Again(RUN, plan.present, tokens, seconds),)

    def leaving(self, ids: Collection[str]) -> tuple[StepLog, frozenset[str]]:
        """This run, and these records."""
        return self, frozenset(ids)

    def restart(self, plan: SlotPlan) -> int:
        """The step from which the run must be repeated under this plan: that of the newest
        checkpoint before the first use of a removed record."""
        if self.checkpoints is None:
            return 0
        first = self.plan.first_use(plan.removed)
        return max(
            (step_of(path) for path in self.checkpoints if step_of(path) <= first), default=0
        )

    def predict(self, plan: SlotPlan, start: int = 0) -> tuple[int, float]:
        """Tokens and seconds of this run under another plan, from a step on.

        A forward pass takes a constant and a share for each token, both fitted to the logged
        passes, and scaled so that the prediction for the run itself is its measurement.
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
        """Return plain values: everything except weights, log and checkpoints."""
        return {
            "origin": self.origin.digest,
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
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Any],
        load: Callable[[], Module],
        log: Log,
        checkpoints: CheckpointStore | None,
    ) -> StepLog:
        """Read a log that `to_dict` wrote.

        Args:
            values: the plain values.
            load: gives the weights the run began with.
            log: of every forward pass.
            checkpoints: the store of its checkpoints.

        Raises:
            DigestMismatch: the log is another one.
        """
        if log.digest != values["log"]:
            raise DigestMismatch("the step log", values["log"], log.digest)
        return cls(
            Origin(load, values["origin"]),
            Recipe.from_dict(values["recipe"]),
            values["seed"],
            SlotPlan.from_dict(values["plan"]),
            values["environment"],
            log,
            values["final"],
            values["seconds"],
            values["setup"],
            checkpoints,
            tuple(values["keep"]),
            values["threads"],
            tuple(values["notes"]),
        )

    def to_note(self) -> dict[str, Any]:
        """Return nothing: the run has all information."""
        return {}

    @classmethod
    def from_note(cls, note: TraceNote) -> StepLog:
        """The one run that was stored."""
        return note.runs[RUN]
