"""Recovery by fine-tuning: on half of the forgotten, on their like, or on anything at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from olvido.audits.compare import Question, against_never_trained, facts_of, grouped, per_subject
from olvido.audits.memory.recall import probability
from olvido.audits.recovery.choosing import halves, same_form, unrelated
from olvido.audits.recovery.relearning import relearn
from olvido.audits.scoring import Witness
from olvido.audits.tolerances import RELEARNED, Range
from olvido.audits.types import Asks, CannotExamine, Evidence, Finding, Level, Need
from olvido.errors import InputError
from olvido.tasks import Example

STEPS = {Level.STANDARD: (0, 10), Level.THOROUGH: (0, 1, 5, 20, 100)}
BATCH = 4
RATE, WIDTH = 5e-4, 128
"""Learning rate at a hidden size; at others by its inverse (Yang et al. 2022, 2203.03466)."""
FEW = 10
"""Records of other things that are trained on."""

Records = tuple[Example, ...]


class Relearning:
    """Train on half of the forgotten facts, ask for the other half (arXiv 2410.08827)."""

    name: ClassVar = "relearning"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2410.08827"
    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = "what comes back of one half when the other half is relearned"
    reason: ClassVar = "relearning half of the forgotten brings the other half back"
    tolerances: ClassVar[Mapping[str, Range]] = {"probability after * steps": RELEARNED}

    def lessons(self, evidence: Evidence) -> tuple[Records, Records]:
        """What is trained on, and what is asked for afterwards.

        Raises:
            CannotExamine: the records do not allow it.
        """
        return _or_why(halves, evidence.forget, seed=0)

    def asks(self, evidence: Evidence) -> Asks:
        """Training steps, and the test after each of them."""
        width = evidence.suspect.task.width
        steps, models = _steps(evidence), len(evidence.references) + 1
        record = fmean(map(width, evidence.forget))
        training = 3 * steps[-1] * BATCH * record
        testing = len(steps) * sum(map(width, evidence.forget)) / 2
        strangers = sum(map(width, evidence.few))
        return Asks(passes=round(models * (training + testing + strangers)))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare what comes back with what comes back in never-trained models."""
        lessons, tested = self.lessons(evidence)
        witnesses = (evidence.suspect, *evidence.references)
        steps = _steps(evidence)

        def relearned(witness: Witness) -> tuple[list[float], Any, Any]:
            """The curve, and the values after the last step, of the forgotten and of strangers."""
            curve, values, beside = [], [], []
            for step, model in relearn(
                witness.model,
                lessons,
                witness.task,
                steps=steps,
                lr=_rate(witness),
                batch=BATCH,
                seed=0,
            ):
                # Before the first step it says what it said.
                seen = Witness(model, witness.task) if step else witness
                values = probability(seen, tested)
                curve.append(fmean(values))
                if step == steps[-1]:
                    beside = probability(seen, evidence.few)
            return curve, np.array(values), np.array(beside)

        everything = (*lessons, *tested, *evidence.few)
        found = [
            w.once(f"{self.name} {steps}", everything, partial(relearned, w)) for w in witnesses
        ]
        curves, values, beside = zip(*found, strict=True)
        shown = {
            "kind": "curve",
            "x": f"steps of {self.name}",
            "y": "probability of what was not relearned",
            "at": list(steps),
            "suspect": curves[0],
            "before": None,
            "never-trained": list(curves[1:]),
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
                clusters=len(facts_of(tested)),
                weights=[len(group) for group in grouped(tested)],
            )
        ]


class SameForm(Relearning):
    """The same after training on questions of the same form about others (arXiv 2602.03379)."""

    name: ClassVar = "same-form"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2602.03379"
    needs: ClassVar = frozenset({Need.LANGUAGE, Need.RETAIN})
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what comes back when questions of the same form about others are learned"
    reason: ClassVar = "learning questions of the same form brings the forgotten back"

    def lessons(self, evidence: Evidence) -> tuple[Records, Records]:
        """Their like, and all of the forgotten."""
        others = evidence.retain
        return _or_why(same_form, evidence.forget, others, count=FEW), evidence.forget


class Unrelated(Relearning):
    """The same after training on ten records of anything else (arXiv 2409.18025)."""

    name: ClassVar = "unrelated"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2409.18025"
    needs: ClassVar = frozenset({Need.RETAIN})
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what comes back when ten records of anything else are learned"
    reason: ClassVar = "learning anything else brings the forgotten back"

    def lessons(self, evidence: Evidence) -> tuple[Records, Records]:
        """Anything else, and all of the forgotten."""
        return _or_why(unrelated, evidence.retain, evidence.forget, count=FEW, seed=0), (
            evidence.forget
        )


def _or_why(choose: Any, *records: Sequence[Example], **how: Any) -> Any:
    """What was chosen; where the records do not allow it, the audit says so."""
    try:
        return choose(*records, **how)
    except InputError as error:
        raise CannotExamine(str(error)) from error


def _steps(evidence: Evidence) -> tuple[int, ...]:
    return STEPS.get(evidence.level, STEPS[Level.STANDARD])


def _rate(witness: Witness) -> float:
    config: Any = getattr(witness.model, "config", None)
    return RATE * WIDTH / getattr(config, "hidden_size", WIDTH)
