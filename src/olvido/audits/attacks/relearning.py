"""Relearning: train a little, on part of the forget set or on other records, and measure recall."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import Module

from olvido.audits.attacks.relearn_sets import halves, others_of, same_form, unrelated
from olvido.audits.compare import Question, against_never_trained, facts_of, grouped, per_subject
from olvido.audits.knowledge.recall import probability
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import RELEARNED, Range
from olvido.audits.types import Asks, CannotEvaluate, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import InputError, require_count
from olvido.learners import Lora, Recipe
from olvido.models.classifiers.networks import hidden_size
from olvido.tasks import Example, Task
from olvido.training import recipe as adapters
from olvido.training.environment import deterministic
from olvido.training.loop import Loop


def relearn(
    model: Module,
    records: Sequence[Example],
    task: Task,
    *,
    steps: Sequence[int],
    lr: float,
    batch: int,
    seed: int,
    lora: Lora | None = None,
    replace: bool = False,
) -> Iterator[tuple[int, Module]]:
    """Fine-tune a copy of a model on records, and yield it at chosen steps.

    All weights are trained, also frozen ones: an attacker respects no freezing. AdamW at a constant
    rate, without decay. Same weights, records and seed: same bits.

    Args:
        model: not changed, unless `replace`.
        records: training data, in an order drawn from `seed` and their ids alone.
        task: how they become losses.
        steps: rising counts of steps at which to yield the copy; 0 yields it untrained.
        lr: learning rate.
        batch: records a step.
        seed: of the order, of dropout, and of adapters.
        lora: train adapters of this kind instead of all weights, with a quarter of the memory; they
            stay on the copy.
        replace: train the model itself, in place of a copy.

    Yields:
        The number of steps done, and the copy, in evaluation mode. It is the same object each time
            and is trained further: evaluate it before asking for the next.

    Raises:
        InputError: no records, no steps, or steps that do not rise.
        NotFinite: a loss became nan.
    """
    if not records:
        raise InputError("there are no records to relearn from")
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 0:
        raise InputError(f"steps must be rising counts of 0 or more, got {list(steps)}")
    require_count("batch", batch)
    if lora is not None and (hasattr(model, "peft_config") or not hasattr(model, "config")):
        raise InputError(
            f"adapters go on a plain Hugging Face model, this is a {type(model).__name__}: merge "
            "its adapters first, or relearn all weights (lora=None)"
        )
    recipe = Recipe(
        lr=lr, batch_size=batch, schedule="constant", warmup=0.0, weight_decay=0.0, lora=lora
    )
    moving = model if replace else copy.deepcopy(model)
    return _relearned(moving, records, task, list(steps), recipe, seed)


def _relearned(
    moving: Module,
    records: Sequence[Example],
    task: Task,
    steps: Sequence[int],
    recipe: Recipe,
    seed: int,
) -> Iterator[tuple[int, Module]]:
    for parameter in moving.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if recipe.lora is not None:
        moving = adapters.attach(moving, recipe.lora, seed=seed)
    # The loop itself and not `train`: that lays one run out from end to end, while this copy is
    # evaluated in between with its optimizer's state kept.
    loop = Loop(moving, recipe, total=steps[-1], seed=seed)
    drawn = _drawn(records, recipe.batch_size, seed)
    done = 0
    for count in steps:
        with deterministic():
            while done < count:
                loop.step(done, [_loss_of(moving, task, next(drawn), loop)])
                done += 1
        yield done, moving.eval()


def _loss_of(
    model: Module, task: Task, records: Sequence[Example], loop: Loop
) -> Callable[[], Tensor]:
    batch = task.collate(records).to(loop.device)
    return partial(_mean_loss, model, task, batch)


def _mean_loss(model: Module, task: Task, batch: object) -> Tensor:
    return task.losses(model, batch).mean()


def _drawn(records: Sequence[Example], size: int, seed: int) -> Iterator[list[Example]]:
    """Batch after batch without end; each pass over the records in an order of its own."""
    ordered = sorted(records, key=lambda record: record.id)
    passes = 0
    while True:
        random.Random(f"olvido-relearn-{seed}-{passes}").shuffle(ordered)
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]
        ordered.sort(key=lambda record: record.id)
        passes += 1


STEPS = {Level.STANDARD: (0, 10), Level.THOROUGH: (0, 1, 5, 20, 100)}
BATCH = 4
RATE, WIDTH = 5e-4, 128
"""Learning rate at a hidden size; at others by its inverse (Yang et al. 2022, 2203.03466)."""
FEW = 10
"""Unrelated records to train on."""

Records = tuple[Example, ...]


class Relearning:
    """Train on half of the forgotten facts, ask for the other half (arXiv 2410.08827)."""

    name: ClassVar = "relearning"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2410.08827"
    needs: ClassVar[frozenset[EvidenceNeed]] = frozenset()
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = "what comes back of one half when the other half is relearned"
    reason: ClassVar = "relearning half of the forgotten brings the other half back"
    tolerances: ClassVar[Mapping[str, Range]] = {"probability after * steps": RELEARNED}

    def lessons(self, evidence: Evidence) -> tuple[Records, Records]:
        """The records to train on, and the records to test on.

        Raises:
            CannotEvaluate: the records do not allow it.
        """
        return _or_why(halves, evidence.forget, seed=0)

    def asks(self, evidence: Evidence) -> Asks:
        """Training steps, and the test after each of them."""
        width = evidence.candidate.task.width
        steps, models = _steps(evidence), len(evidence.references) + 1
        record = fmean(map(width, evidence.forget))
        training = 3 * steps[-1] * BATCH * record
        testing = len(steps) * sum(map(width, evidence.forget)) / 2
        controls = sum(map(width, evidence.few))
        return Asks(
            passes=round(models * (training + testing + controls)),
            inside=(partial(self._relearned, evidence),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare what comes back with what comes back in never-trained models."""
        _, tested = self.lessons(evidence)
        steps = _steps(evidence)
        found = [self._relearned(evidence, w) for w in (evidence.candidate, *evidence.references)]
        curves, values, beside = zip(*found, strict=True)
        shown = {
            "kind": "curve",
            "x": f"steps of {self.name}",
            "y": "probability of what was not relearned",
            "at": list(steps),
            "candidate": curves[0],
            "before": None,
            "never-trained": list(curves[1:]),
            "returns": returns(steps, curves[0], curves[1:]),
        }
        metric = f"probability after {steps[-1]} steps"
        return [
            against_never_trained(
                Question(self.name, metric, "forgotten, not relearned", RELEARNED, shown),
                per_subject(values, grouped(tested)),
                per_subject(beside, grouped(evidence.few, len(tested))),
                before=None,
                known=False,
                n=len(tested),
                clusters=len(facts_of(tested, evidence.candidate.task)),
                weights=[len(group) for group in grouped(tested)],
            )
        ]

    def _relearned(self, evidence: Evidence, scored: ScoredModel) -> Any:
        """The learning curve, and the values after the last step, of the forgotten and of controls;
        None for the original model, which is not asked."""
        if scored is evidence.original:
            return None
        lessons, tested = self.lessons(evidence)
        steps = _steps(evidence)

        def find() -> tuple[list[float], Any, Any]:
            curve, values, beside = [], [], []
            # Scores before the first step are mostly known already; a stored model that relearns
            # is not there to be asked.
            if steps[0] == 0:
                probability(scored, tested)
            lr = _rate(scored)
            for step, model in relearn(
                scored.replica(),
                lessons,
                scored.task,
                steps=steps,
                lr=lr,
                batch=BATCH,
                seed=0,
                replace=True,
            ):
                seen = ScoredModel(model, scored.task) if step else scored
                values = probability(seen, tested)
                curve.append(fmean(values))
                if step == steps[-1]:
                    beside = probability(seen, evidence.few)
            return curve, np.array(values), np.array(beside)

        return scored.once(f"{self.name} {steps}", (*lessons, *tested, *evidence.few), find)


def returns(
    steps: Sequence[int], curve: Sequence[float], others: Sequence[Sequence[float]]
) -> int | None:
    """The fewest of these steps after which more is back than in never-trained models, beyond the
    tolerance; None: it is not back after any of them.

    >>> returns([0, 10, 40], [0.1, 0.3, 0.6], [[0.1, 0.25, 0.2], [0.1, 0.2, 0.2]])
    40
    """
    usual = map(fmean, zip(*others, strict=True))
    there = (
        at
        for at, mine, never in zip(steps, curve, usual, strict=True)
        if not RELEARNED.holds(mine - never)
    )
    return next(there, None)


class SameForm(Relearning):
    """Relearning from questions of the same form about others (arXiv 2602.03379)."""

    name: ClassVar = "same-form"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2602.03379"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE, EvidenceNeed.RETAIN})
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what comes back when questions of the same form about others are learned"
    reason: ClassVar = "learning questions of the same form brings the forgotten back"

    def lessons(self, evidence: Evidence) -> tuple[Records, Records]:
        """Records similar to the forgotten, and all of the forgotten."""
        others = evidence.retain
        return _or_why(same_form, evidence.forget, others, count=FEW), evidence.forget


class Retained(Relearning):
    """Relearning from nothing but retained records (arXiv 2505.22310).

    Further training on what was to be kept is what every owner of a model does next: it brings back
    what a method only covered up. It learns from all that the audit asks about, four a step, where
    `unrelated` learns ten by heart.
    """

    name: ClassVar = "retained"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2505.22310"
    needs: ClassVar = frozenset({EvidenceNeed.RETAIN})
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what comes back when training goes on with what was kept"
    reason: ClassVar = "further training on the retained records brings the forgotten back"

    def lessons(self, evidence: Evidence) -> tuple[Records, Records]:
        """Retained records about others, and all of the forgotten."""
        return _or_why(others_of, evidence.retain, evidence.forget), evidence.forget


class Unrelated(Relearning):
    """Relearning from ten unrelated records (arXiv 2409.18025)."""

    name: ClassVar = "unrelated"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2409.18025"
    needs: ClassVar = frozenset({EvidenceNeed.RETAIN})
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what comes back when ten records of anything else are learned"
    reason: ClassVar = "learning anything else brings the forgotten back"

    def lessons(self, evidence: Evidence) -> tuple[Records, Records]:
        """Unrelated records, and all of the forgotten."""
        return _or_why(unrelated, evidence.retain, evidence.forget, count=FEW, seed=0), (
            evidence.forget
        )


def _or_why(choose: Any, *records: Sequence[Example], **how: Any) -> Any:
    """Choose records; where that is impossible, the audit cannot be evaluated and says why."""
    try:
        return choose(*records, **how)
    except InputError as error:
        raise CannotEvaluate(str(error)) from error


def _steps(evidence: Evidence) -> tuple[int, ...]:
    return STEPS.get(evidence.level, STEPS[Level.STANDARD])


def _rate(scored: ScoredModel) -> float:
    return RATE * WIDTH / hidden_size(scored.model, otherwise=WIDTH)
