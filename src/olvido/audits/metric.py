"""Audits of one's own: a number for each record, beside what never-trained models have there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.scoring import Witness
from olvido.audits.tolerances import ANY, Range
from olvido.audits.types import Asks, Evidence, Finding, Level, Need
from olvido.registry import Options, name_of
from olvido.tasks import Example


class Metric(Options):
    """Base of an audit that takes one value a record from each model, and compares their means.

    A subclass says what it measures (`measure`), and on which records if not on the forgotten
    (`records`). Its finding has an interval and is shown; it does not vote in the verdict.

    >>> class Surprise(Metric):
    ...     name = "surprise"
    ...     summary = "loss on the forgotten, in nats a token"
    ...     def measure(self, model, records):
    ...         return [score.loss for score in model.scores(records)]
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    family: ClassVar[str] = "other"
    source: ClassVar[str] = ""
    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar[bool] = False
    level: ClassVar[Level] = Level.QUICK
    reason: ClassVar[str] = ""
    tolerances: ClassVar[Mapping[str, Range]] = {}
    probe: ClassVar[str] = "forgotten, as trained"
    """What a page calls the records."""

    def measure(self, model: Witness, records: Sequence[Example]) -> Sequence[float]:
        """One value for each record under one model; `model` gives scores, answers and the module.

        `model.scores(records)` has the losses and probabilities of the completions,
        `model.answers(records)` what the model says, and `model.model` is the module itself.
        """
        raise NotImplementedError(f"{type(self).__name__} must define measure")

    def records(self, evidence: Evidence) -> tuple[Example, ...]:
        """The records that are measured."""
        return evidence.forget

    def asks(self, evidence: Evidence) -> Asks:
        """Every record scored by every model."""
        return Asks(self.records(evidence))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the mean with that of never-trained models."""
        question = Question(name_of(self), self.name, self.probe, ANY)
        return [with_never_trained(evidence, question, self.records(evidence), self.measure)]
