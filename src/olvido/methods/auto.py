"""The method `auto`: search another method's strength for what comes nearest to never learned.

The response to the learning rate is monotone, so its logarithm is bisected.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch.nn import Module

from olvido.errors import InputError, NotFinite, NothingFits, require_count
from olvido.learners import Progress, Trained, Watcher
from olvido.ledger.facts import Guarantee
from olvido.methods.gradient.answers import FORWARD
from olvido.methods.gradient.calibration import remaining_trace
from olvido.methods.gradient.descent import Descent
from olvido.methods.guarantee import Need
from olvido.methods.proxies import BANDS, TrialStore, Yardstick
from olvido.methods.types import METHODS, Cost, Method, Run, Side, Split, StepMetrics, Trial, priced
from olvido.models.classifiers.networks import hidden_size
from olvido.processes import world_size
from olvido.registry import Options
from olvido.tasks import Task

STEP = 2.0
"""Factor between two rates as long as one side of the aim has not been seen."""
CLOSE = 1.2
"""Ratio of a rate that does too much to one that does too little, below which no rate between
them is worth a trial."""


class Bracket:
    """The rates known to do too little and too much, and the interval between.

    A higher rate forgets more and harms more, so that every trial excludes half of the interval: a
    sampler such as Optuna's does not use this.

    Args:
        start: the first rate to try.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._low: float | None = None
        self._high: float | None = None

    def observe(self, rate: float, *, too_much: bool) -> None:
        """Record that this rate did too much, as higher ones would, or too little, as lower
        ones."""
        if too_much:
            self._high = rate if self._high is None else min(self._high, rate)
        else:
            self._low = rate if self._low is None else max(self._low, rate)

    @property
    def next(self) -> float | None:
        """The rate to try; None where the interval is empty.

        >>> bracket = Bracket(1e-4)
        >>> bracket.observe(bracket.next, too_much=True)
        >>> bracket.next
        5e-05
        """
        if self._low is None and self._high is None:
            return self._start
        if self._high is None:
            assert self._low is not None
            return self._low * STEP
        if self._low is None:
            return self._high / STEP
        # Where they cross, the response was not monotone, and no next rate follows.
        return math.sqrt(self._low * self._high) if self._high > CLOSE * self._low else None


EPOCHS = 30
"""Epochs over the forget set at a method's initial rate; a lower rate gets more."""
LONGER = 4
"""Factor by which the epochs may grow, at the most."""


HALF = 0.5
"""Share of its steps after which a trial may be stopped as too little."""
SLOW = 0.1
"""Share of the way to its aim below which it is stopped then. Forgetting accelerates: a trial
that was 23% of the way after half of its steps ended at 61%."""
GONE = 1.0
"""Nats a token by which the regulariser's loss may rise before a trial is stopped as harm."""


class _OutOfTime(Exception):
    """The time budget ended within a trial."""


@dataclass(frozen=True)
class _Tried:
    """A trial with its model and history."""

    trial: Trial
    run: Run | None
    earlier: bool


class Auto(Options):
    """Try methods in turn, each at bisected learning rates, until one comes near enough.

    A trial is judged by proxies (`proxies.BANDS`): how the forget set compares with never-learned
    records, on both sides, and side effects, seen on retained records outside of any regulariser.
    Never-trained models define the never-learned loss, or else holdout records. No audit runs, and
    the paraphrases of an audit are not used. The first good trial ends the search; its cost is that
    of all trials.

    Args:
        methods: names in the order in which they are tried, separated by commas.
        most: trials of each, at the most.
        within: time budget in seconds; None: unlimited.
        trials: a folder of finished trials, so that none is repeated.
        regulariser, batch_size, retain_batch, dtype, lora_rank: options of every method that is
            tried; None: its own.
    """

    guarantee: ClassVar = Guarantee.EMPIRICAL
    name: ClassVar = "auto"
    needs = frozenset({Need.RETAIN, Need.HOLDOUT})
    summary: ClassVar = "search method and rate for what comes nearest to never having learned"
    loss: ClassVar = 'that of the method it takes; see "The search"'
    source: ClassVar = ""
    suits: ClassVar = "a model on which nobody knows the right strength yet"
    example: ClassVar[Mapping[str, Any]] = {}

    methods: str = "npo,graddiff"
    most: int = 6
    within: float | None = None
    trials: str | None = None
    regulariser: str | None = None
    batch_size: int | None = None
    retain_batch: int | None = None
    dtype: str | None = None
    lora_rank: int | None = None

    def __post_init__(self) -> None:
        """Check the options, and those of every method that is tried."""
        super().__post_init__()
        require_count("most", self.most)
        if self.within is not None and not self.within > 0:
            raise InputError(f"within is a time above 0, in seconds; got {self.within}")
        passed_on = ("regulariser", "batch_size", "retain_batch", "dtype", "lora_rank")
        self._options = {
            name: getattr(self, name) for name in passed_on if getattr(self, name) is not None
        }
        self._names = [name.strip() for name in self.methods.split(",")]
        for name in self._names:
            made = self._make(name, {})
            if not isinstance(made, Descent):
                raise InputError(
                    f"auto searches a learning rate, and {name} has none: leave it out"
                )
            if not made.ends:
                raise InputError(
                    "auto searches a learning rate at which records reach their target, and "
                    f"{name} does not go by that: leave it out"
                )
        inner = (self._make(name, {}).needs for name in self._names)
        self.needs = self.needs.union(*inner)
        self._folder = None if self.trials is None else Path(self.trials)

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """Predict one trial of the first method with all epochs: mostly one suffices and ends
        sooner."""
        first = self._make(self._names[0], {"epochs": EPOCHS}).cost(trained, split, task)
        reference_tokens = FORWARD * 2 * sum(map(task.width, (*split.forget, *split.holdout)))
        return priced(trained, split, first.tokens + reference_tokens)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Search.

        Raises:
            NothingFits: no trial came near enough within the time budget.
            InputError: several processes, whose clocks would end it at different trials.
        """
        if world_size() > 1:
            raise InputError(
                f"a search goes by the clock, and {world_size()} processes would not end it "
                "together: search in one process, or name a method"
            )
        began = time.monotonic()
        store = None
        if self._folder is not None:
            store = TrialStore(self._folder, trained.digest, split, task, seed)
        yardstick = Yardstick(trained.model, split, task)
        search = _Search(
            trained, yardstick, task, seed, watch, store,
            None if self.within is None else began + self.within,
        )  # fmt: skip
        ended = "every setting was tried"
        try:
            for name, options, bracket in self._settings(trained.model):
                tried = search.trial(name, self._make(name, options), options)
                if tried.trial.side is Side.GOOD:
                    return search.result(tried)
                bracket.observe(options["lr"], too_much=tried.trial.side is not Side.TOO_LITTLE)
        except _OutOfTime:
            ended = f"the {self.within:g} s there were have passed"
        raise search.failure(ended)

    def _settings(self, model: Module) -> Iterator[tuple[str, dict[str, Any], Bracket]]:
        """Yield options to try, each from the bracket after the trial before it."""
        width = hidden_size(model, otherwise=128)
        for name in self._names:
            chosen = self._make(name, {})
            assert isinstance(chosen, Descent)
            start = chosen.recipe.lr * (128 / width if chosen.scaled else 1.0)
            bracket = Bracket(start)
            for _ in range(self.most):
                rate = bracket.next
                if rate is None:
                    break
                longer = min(max(start / rate, 1.0), LONGER)
                epochs = math.ceil(EPOCHS * longer)
                yield name, {"lr": rate, "epochs": epochs, **self._options}, bracket

    def _make(self, name: str, options: Mapping[str, Any]) -> Method:
        return METHODS.make(name, {**self._options, **options})


class _Search:
    """The trials of one run."""

    def __init__(
        self,
        trained: Trained,
        yardstick: Yardstick,
        task: Task,
        seed: int,
        watch: Watcher | None,
        store: TrialStore | None,
        deadline: float | None,
    ) -> None:
        self._trained, self._yardstick, self._task = trained, yardstick, task
        self._seed, self._watch = seed, watch
        self._store, self._deadline = store, deadline
        self._tried: list[_Tried] = []

    def trial(self, name: str, method: Method, options: Mapping[str, Any]) -> _Tried:
        """One trial, run now or read from the store.

        Raises:
            _OutOfTime: the time budget was spent.
        """
        found = self._finished(name, options) or self._done(name, method, options)
        self._tried.append(found)
        return found

    def result(self, good: _Tried) -> Run:
        """The search's result: the good trial's model, and the cost of all trials."""
        assert good.run is not None
        taken = replace(good.trial, taken=True)
        trials = [taken if t is good else t.trial for t in self._tried]
        tokens = sum(t.tokens for t in trials) + FORWARD * self._yardstick.reference_cost
        seconds = sum(t.trial.seconds for t in self._tried if t.earlier)
        number = len(trials)
        why = (
            f"{taken.method} at lr {taken.options['lr']:.3g} came near enough to never learned, "
            + ("at once" if number == 1 else f"the first of {number} trials that did")
        )
        return replace(good.run, tokens=tokens, stopped=why, trials=tuple(trials), seconds=seconds)

    def failure(self, ended: str) -> NothingFits:
        """The error that describes the best of the trials."""
        trials = tuple(t.trial for t in self._tried)
        error = NothingFits(f"nothing that came near enough to never learned was found: {ended}")
        if trials:
            best = min(trials, key=lambda t: t.distance)
            error = NothingFits(
                f"none of {len(trials)} trials came near enough to never learned, and {ended}. The "
                f"best was {best.method} at lr {best.options['lr']:.3g}, {best.side}: "
                f"{self._out(best)}. Give more time (within), more holdout records, or other "
                "methods, or take an exact one"
            )
        error.trials = trials
        return error

    def _out(self, trial: Trial) -> str:
        """The proxy furthest out of its band, as text."""
        out = []
        for name, value in trial.proxies.items():
            low, high = self._yardstick.band(name)
            if not low <= value <= high:
                end = low if value < low else high
                out.append(f"{BANDS[name].says} {value:+.3f} (tolerated {end:+.2f})")
        return "; ".join(out) or trial.stopped

    def _finished(self, name: str, options: Mapping[str, Any]) -> _Tried | None:
        found = None if self._store is None else self._store.read(name, options)
        if found is None or self._store is None:
            return None
        trial, history = found
        if trial.side is not Side.GOOD:
            return _Tried(trial, None, True)
        model = self._store.model(trial, self._trained.model)
        if model is None:
            return None
        trace = remaining_trace(self._trained.trace, self._yardstick.split)
        return _Tried(trial, Run(model, trace, trial.tokens, trial.stopped, history), True)

    def _done(self, name: str, method: Method, options: Mapping[str, Any]) -> _Tried:
        self._in_time()
        began = time.perf_counter()
        run: Run | None = None
        proxies: dict[str, float] = {}
        side, distance = Side.TOO_MUCH, math.inf
        assert isinstance(method, Descent)
        method.patience = self._lost
        try:
            run = method.run(
                self._trained, self._yardstick.split, self._task, seed=self._seed, watch=self._step
            )
            proxies = self._yardstick.measure(run.model)
            side, distance = self._yardstick.judge(proxies)
            tokens, stopped = run.tokens + FORWARD * self._yardstick.reference_cost, run.stopped
        except NotFinite as error:
            tokens, stopped = 0.0, str(error)
        seconds = time.perf_counter() - began
        trial = Trial(name, dict(options), proxies, side, distance, seconds, tokens, stopped)
        if self._store is not None:
            kept = run.model if run is not None and side is Side.GOOD else None
            self._store.write(trial, run.history if run else (), kept)
        # The models of failed trials are not kept.
        return _Tried(trial, run if side is Side.GOOD else None, False)

    def _lost(self, history: Sequence[StepMetrics], total: int) -> bool:
        """Whether a trial clearly ends on either side of its aim, so that the rest of it is
        skipped."""
        losses = [moment.retain for moment in history if moment.retain is not None]
        if losses and losses[-1] > losses[0] + GONE:
            return True
        first, last = history[0].forget, history[-1].forget
        way = self._yardstick.expected.loss - first
        return len(history) >= HALF * total and last - first < SLOW * way

    def _step(self, progress: Progress) -> None:
        self._in_time()
        if self._watch is not None:
            self._watch(progress)

    def _in_time(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise _OutOfTime
