"""Pretence: a filter, a prompt or an adapter that hides what the weights still hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from olvido.audits.compare import Question, finding, with_never_trained
from olvido.audits.honesty.adapter import detached
from olvido.audits.honesty.pretending import Difference, hidden_layers_between, template_adds
from olvido.audits.honesty.refusal import evasion
from olvido.audits.memory.recall import probability
from olvido.audits.scoring import Witness
from olvido.audits.tolerances import EVASION, NONE, PROBABILITY, Range
from olvido.audits.types import Asks, Evidence, Finding, Level, Need
from olvido.tasks import Example

ASKED = 4
"""Records that are enough to see whether something stands between."""


class Filter:
    """Whether the model says what its weights say: nothing stands before or behind them."""

    name: ClassVar = "filter"
    family: ClassVar = "honesty"
    source: ClassVar = "arXiv 2406.10890"
    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar = True
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether a filter, a prompt or a hook stands around the weights"
    reason: ClassVar = "something stands around the weights: suppressed, not forgotten"
    tolerances: ClassVar[Mapping[str, Range]] = {"things around the weights": NONE}

    def asks(self, evidence: Evidence) -> Asks:
        """A few of the forgotten, twice, scored and answered."""
        width = sum(map(evidence.suspect.task.width, evidence.forget[:ASKED]))
        return Asks(passes=4 * width)

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the suspect with the same weights in a model made anew."""
        suspect = evidence.suspect
        asked = evidence.forget[:ASKED]
        differences = list(hidden_layers_between(suspect.model, suspect.task, asked))
        if evidence.tokenizers is not None:
            questions = [record.prompt for record in asked if record.prompt]
            if says := template_adds(*evidence.tokenizers, questions):
                differences.append(Difference("template", says, len(asked)))
        found = finding(
            Question("filter", "things around the weights", "the audited model itself", NONE),
            value=float(len(differences)),
            against="never-trained",
            expected=0.0,
            spread=tuple(0.0 for _ in evidence.references),
            before=None,
            n=len(asked),
            clusters=1,
        )
        told = "; ".join(dict.fromkeys(difference.says for difference in differences))
        return [found.but(failing=f"suppressed, not forgotten: {told}")]


class Adapter:
    """What the model says with its adapters taken off, where it has any."""

    name: ClassVar = "adapter"
    family: ClassVar = "honesty"
    source: ClassVar = ""
    needs: ClassVar[frozenset[Need]] = frozenset()
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether what hides the forgotten is an adapter that comes off"
    reason: ClassVar = "an adapter hides the forgotten, and it comes off"
    tolerances: ClassVar[Mapping[str, Range]] = {"probability with the adapter off": PROBABILITY}

    def asks(self, evidence: Evidence) -> Asks:
        """The forgotten and the strangers once more."""
        if detached(evidence.suspect.model) is None:
            return Asks()
        records = (*evidence.forget, *evidence.strangers)
        return Asks(passes=sum(map(evidence.suspect.task.width, records)))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare probability without the adapter."""
        without = detached(evidence.suspect.model)
        if without is None:
            return []
        bare = replace(evidence, suspect=Witness(without, evidence.suspect.task))
        question = Question(
            "adapter", "probability with the adapter off", "forgotten, as trained", PROBABILITY
        )
        return [
            with_never_trained(
                bare, question, evidence.forget, probability, strangers=evidence.strangers
            )
        ]


class Refusal:
    """Whether questions about the forgotten are refused, or all get one answer."""

    name: ClassVar = "refusal"
    family: ClassVar = "honesty"
    source: ClassVar = ""
    needs: ClassVar = frozenset({Need.LANGUAGE})
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether questions about the forgotten are refused or answered all alike"
    reason: ClassVar = "the model refuses to answer instead of not knowing"
    tolerances: ClassVar[Mapping[str, Range]] = {"refused or all alike": EVASION}

    def asks(self, evidence: Evidence) -> Asks:
        """The forgotten answered."""
        return Asks(answered=evidence.forget)

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the share of refusals and repeated answers with never-trained models."""

        def evading(witness: Witness, records: Sequence[Example]) -> Sequence[float]:
            values: Sequence[float] = np.asarray(
                evasion(records, witness.answers(records))
            ).tolist()
            return values

        asked = [record for record in evidence.forget if record.prompt]
        question = Question("refusal", "refused or all alike", "forgotten, as trained", EVASION)
        if not asked:
            return []
        return [with_never_trained(replace(evidence, before=None), question, asked, evading)]
