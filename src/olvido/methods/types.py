"""Inputs and results of unlearning methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch.nn import Module

from olvido.errors import InputError, StateError
from olvido.files import read_document, write_document
from olvido.learners import Trace, Trained, Watcher
from olvido.learners.trained import save_trained
from olvido.ledger.facts import Guarantee
from olvido.methods.guarantee import MEANING, Need
from olvido.registry import Registry, plain
from olvido.reporting import Table, write_sheet
from olvido.reporting.words import duration, number, percent
from olvido.schemas.outcome import (
    OUTCOME,
    VERSION,
    CostTaken,
    LossMoved,
    OutcomeDocument,
    StepSeen,
    TrialTaken,
)
from olvido.tasks import Example, Task
from olvido.training.traces.steps import Origin

_UNAUDITED = (
    "it can be claimed of what audits have passed, and of nothing beyond them; none is part of this"
)

_STEPS = 12
"""Steps of the history that a page shows, the first and the last among them."""


@dataclass(frozen=True)
class Split:
    """The records of a forgetting.

    Attributes:
        forget: the forget set.
        retain: the retain set; a large one is read when its records are asked for.
        holdout: similar records that the model never saw; with them a method knows the loss of
            "never learned" and stops there.
        never: models that never learned the forget set: a better stopping criterion.
        holdout_losses: losses of holdout records, by id, where they are known already.
        origin: the weights that the model was trained from, before it was taught any of the forget
            set; None: unknown.
        teacher: the sketch that a method made of the origin.
    """

    forget: tuple[Example, ...]
    retain: Sequence[Example]
    holdout: tuple[Example, ...] = ()
    never: tuple[Module, ...] = ()
    holdout_losses: Mapping[str, float] = field(default_factory=dict)
    origin: Origin | None = None
    teacher: Module | None = None


@dataclass(frozen=True)
class Cost:
    """The cost of a forgetting, predicted before it runs or measured after it.

    Attributes:
        tokens: forward and backward; a forward pass alone counts a third.
        seconds: wall clock; None where no training of this model was ever timed.
        retraining: share of training again without the records, by tokens; None where unknown.
    """

    tokens: float
    seconds: float | None = None
    retraining: float | None = None


def priced(trained: Trained, split: Split, tokens: float) -> Cost:
    """A number of tokens as seconds and as a share of retraining, where a training was timed."""
    log = trained.trace
    if not log.tokens:
        return Cost(tokens)
    again = log.tokens_without({example.id for example in split.forget})
    return Cost(tokens, tokens * log.seconds / log.tokens, tokens / again if again else None)


@dataclass(frozen=True)
class StepMetrics:
    """The losses of one step of a gradient method, before it moved the weights.

    Attributes:
        step: counted from 0.
        forget: mean loss of the step's forget records, nats a token.
        retain: mean regulariser loss of the step's retain records; None without a regulariser.
    """

    step: int
    forget: float
    retain: float | None


class Side(StrEnum):
    """On which side of its aim a trial of a search ended."""

    GOOD = "good"
    TOO_LITTLE = "too little"
    TOO_MUCH = "too much"
    HARM = "harm"
    """The retain set was damaged."""


@dataclass(frozen=True)
class Trial:
    """One setting that a search tried.

    Attributes:
        method, options: the method that ran.
        proxies: measured values by name; empty where the method failed outright.
        side: the side on which they miss.
        distance: the largest distance of a proxy from its aim, 1 being the tolerance.
        seconds, tokens: its cost; tokens as in `Cost`.
        stopped: why it ended, in a sentence.
        taken: whether its model is the search's result.
    """

    method: str
    options: Mapping[str, Any]
    proxies: Mapping[str, float]
    side: Side
    distance: float
    seconds: float
    tokens: float
    stopped: str
    taken: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for reports."""
        return {
            "method": self.method,
            "options": dict(self.options),
            "proxies": dict(self.proxies),
            "side": self.side.value,
            "distance": self.distance,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "stopped": self.stopped,
            "taken": self.taken,
        }


@dataclass(frozen=True, repr=False)
class Outcome:
    """A model that has forgotten, and how.

    Attributes:
        model: the new module; the original is untouched.
        digest: digest of its weights; `before` is the original's.
        trace: the training trace of the new weights.
        method: the name of the method that ran, or `module:Class` where it has none in the table.
        options: options that differ from its defaults.
        guarantee: the claim that the method allows.
        cost: measured.
        stopped: why it ended, in a sentence.
        forget_loss, retain_loss: means before and after, nats a token.
        history: metrics of gradient methods.
        trials: a search's trials.
        origin: digest of the weights that the model was trained from, where they were known.
        sketch: digest of the model that a method made of them, which no audit takes as a reference.
    """

    model: Module
    digest: str
    before: str
    trace: Trace
    method: str
    options: Mapping[str, Any]
    guarantee: Guarantee
    cost: Cost
    stopped: str
    forget_loss: tuple[float, float]
    retain_loss: tuple[float, float]
    history: Sequence[StepMetrics] = ()
    trials: Sequence[Trial] = ()
    origin: str | None = None
    sketch: str | None = None

    def __repr__(self) -> str:
        """Show the method, and its effect on the losses."""
        moved = "forgotten {:.3f} -> {:.3f}, retained {:.3f} -> {:.3f} nats a token".format(
            *self.forget_loss, *self.retain_loss
        )
        return f"{type(self).__name__}({self.method}, {self.guarantee.value}, {moved})"

    def save(self, folder: Path, tokenizer: Any, *, base: str | None = None, seed: int = 0) -> None:
        """Write the model that forgot, with its trace and `outcome.json`; see `Trained.save`."""
        save_trained(
            Trained(self.model, self.digest, self.trace),
            tokenizer,
            Path(folder),
            base=base,
            seed=seed,
            also=lambda unfinished: write_document(self.to_dict(), unfinished / OUTCOME),
        )

    @classmethod
    def load(cls, folder: Path) -> Outcome:
        """Read an outcome that `save` wrote; errors are those of `Trained.load`."""
        if not (Path(folder) / OUTCOME).is_file():
            raise InputError(
                f"{folder} holds no {OUTCOME}: name a folder that Outcome.save wrote (what "
                "Trained.save wrote, Trained.load reads)"
            )
        trained = Trained.load(folder)
        document = read_document(Path(folder) / OUTCOME)
        if (version := document.get("version")) != VERSION:
            raise StateError(
                f"{Path(folder) / OUTCOME} is of version {version!r}, and this Olvido reads "
                f"{VERSION}: read it with the Olvido that wrote it"
            )
        try:
            read = OutcomeDocument.read(document)
        except InputError as error:
            raise StateError(
                f"{Path(folder) / OUTCOME} is not what Outcome.save wrote ({error}): restore it"
            ) from error
        cost, forgot, kept = read.cost, read.forget_loss, read.retain_loss
        return cls(
            trained.model,
            trained.digest,
            read.before,
            trained.trace,
            read.method,
            read.options,
            Guarantee(read.guarantee),
            Cost(cost.tokens, cost.seconds, cost.share_of_retraining),
            read.stopped,
            (forgot.before, forgot.after),
            (kept.before, kept.after),
            tuple(StepMetrics(m.step, m.forget, m.retain) for m in read.history),
            tuple(Trial(**{**t.to_dict(), "side": Side(t.side)}) for t in read.trials),
            read.origin,
            read.sketch,
        )

    def page(self, path: Path) -> None:
        """Write the outcome as one HTML page, for people, without any text of records."""
        (forgot, forgotten), (kept, retained) = self.forget_loss, self.retain_loss
        every = max(1, math.ceil((len(self.history) - 1) / (_STEPS - 1)))
        seen = [m for m in self.history if not m.step % every or m is self.history[-1]]
        write_sheet(
            path,
            title=f"Forgotten by {self.method}",
            lead=f"{self.guarantee.value.capitalize()}: {self._claim}.",
            facts={
                "Method": self.method,
                **({"Options": _listed(self.options)} if self.options else {}),
                "Weights before": self.before,
                "Weights after": self.digest,
                **({"Trained from": self.origin} if self.origin else {}),
                "It ended": self.stopped,
                "It took": duration(self.cost.seconds),
                "Tokens": f"{self.cost.tokens:,.0f}",
                "Of retraining": percent(self.cost.retraining),
            },
            tables=[
                Table(
                    "Loss, nats a token",
                    ("Records", "Before", "After"),
                    [
                        ("to be forgotten", number(forgot), number(forgotten)),
                        ("to be kept", number(kept), number(retained)),
                    ],
                ),
                Table(
                    "On the way",
                    ("Step", "To be forgotten", "To be kept"),
                    [(str(m.step), number(m.forget), number(m.retain)) for m in seen],
                ),
                Table(
                    "What was tried",
                    ("Method", "Options", "It ended", "Taken"),
                    [
                        (t.method, _listed(t.options), t.side.value, "yes" if t.taken else "no")
                        for t in self.trials
                    ],
                ),
            ],
            open_=[
                "Whether the records are forgotten: a loss tells little, and an audit tells more "
                "(olvido.audit, or 'olvido audit').",
                "What else holds the records: files, earlier models, copies and backups.",
            ],
        )

    @property
    def _claim(self) -> str:
        """The guarantee of a forgetting that nobody audited yet, in a sentence."""
        unaudited = self.guarantee is Guarantee.EMPIRICAL
        return _UNAUDITED if unaudited else MEANING[self.guarantee]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for reports."""
        forgot, kept = self.forget_loss, self.retain_loss
        return OutcomeDocument(
            method=self.method,
            options=plain(self.options, self.method),
            guarantee=self.guarantee.value,
            meaning=self._claim,
            before=self.before,
            after=self.digest,
            origin=self.origin,
            sketch=self.sketch,
            cost=CostTaken(
                seconds=self.cost.seconds,
                tokens=self.cost.tokens,
                share_of_retraining=self.cost.retraining,
            ),
            stopped=self.stopped,
            forget_loss=LossMoved(before=forgot[0], after=forgot[1]),
            retain_loss=LossMoved(before=kept[0], after=kept[1]),
            history=tuple(
                StepSeen(step=m.step, forget=m.forget, retain=m.retain) for m in self.history
            ),
            trials=tuple(TrialTaken(**trial.to_dict()) for trial in self.trials),
        ).to_dict()


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in options.items())


@dataclass(frozen=True)
class Run:
    """The result of a method's `run`.

    Attributes:
        model: the new module.
        trace: its training trace.
        tokens: spent, as in `Cost`.
        stopped: why it ended, in a sentence.
        history: metrics of its steps.
        trials: a search's trials.
        seconds: seconds that earlier calls spent on these trials.
        sketch: digest of the sketch that it made of the origin.
    """

    model: Module
    trace: Trace
    tokens: float
    stopped: str
    history: Sequence[StepMetrics] = field(default_factory=tuple)
    trials: Sequence[Trial] = ()
    seconds: float = 0.0
    sketch: str | None = None


class Method(Protocol):
    """An unlearning method: one small file and one line in `olvido.methods`.

    Its constructor takes keyword-only options, each with a default, and stores each in an attribute
    of its name. Besides these attributes, Olvido's own classes have some for the docs and the
    family's tests: `loss`, `source`, `suits` and `example`.

    Attributes:
        name: its name in the registry.
        guarantee: the claim that its results allow.
        needs: inputs that it needs.
        summary: a description, in a line.
    """

    name: ClassVar[str]
    guarantee: ClassVar[Guarantee]
    needs: frozenset[Need]
    summary: ClassVar[str]

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """Predict the cost of `run`, without running anything."""
        ...

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Run on a copy of the model."""
        ...


METHODS: Registry[Method] = Registry(
    "method",
    ("guarantee", "needs", "summary", "cost", "run"),
    home=__package__,
    group="olvido.methods",
)
"""Methods by name; a tie between two goes to the first."""
