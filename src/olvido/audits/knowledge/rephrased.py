"""Rephrased probes: the forget set behind reversed, disguised or translated questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from statistics import fmean
from typing import Any, ClassVar

from olvido.audits.compare import Measure, Question, grouped, with_never_trained
from olvido.audits.knowledge.probes import chosen, probes, worst_probability
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import CHOICE, PROBABILITY, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.statistics import LEAST_CONTROLS
from olvido.tasks import Example, Language

CHOICES = "multiple choice"

Kinds = dict[str, tuple[Example, ...]]


class RephrasedProbes:
    """Every kind of probe that can be made of the forget set, compared with never-trained models.

    One record of each fact is asked, and where there is room the same for control subjects.
    """

    name: ClassVar = "probes"
    family: ClassVar = "turned"
    source: ClassVar = "arXiv 2406.10890"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE})
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = "what the model says when it is asked in ten other ways"
    reason: ClassVar = "asked in another way, the model still says the forgotten"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "*: right answer chosen": CHOICE,
        "*: probability": PROBABILITY,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """All wordings and options scored."""
        asked, beside = _made(evidence)
        width = evidence.candidate.task.width

        def cost(kinds: Kinds) -> int:
            return sum(width(p) * _texts(p) for made in kinds.values() for p in made)

        models = len(evidence.models)
        return Asks(
            passes=cost(asked) * models + cost(beside) * (len(evidence.references) + 1),
            inside=(partial(_scored, evidence, asked, beside),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """One finding for each kind."""
        asked, beside = _made(evidence)
        shown = _bars(evidence, asked)
        found: list[Finding] = []
        for kind, made in asked.items():
            picked = kind == CHOICES
            controls = beside.get(kind, ())
            if picked and not controls:
                # One in four is right by chance: a handful of questions alone decides nothing.
                continue
            question = Question(
                "probes",
                f"{kind}: " + ("right answer chosen" if picked else "probability"),
                "forgotten, asked otherwise",
                CHOICE if picked else PROBABILITY,
                None if found else shown,
            )
            measure = _measure(kind)
            found.append(
                with_never_trained(evidence, question, made, measure, controls=controls, known=True)
            )
        return found


def _scored(evidence: Evidence, asked: Kinds, beside: Kinds, scored: ScoredModel) -> None:
    for kinds in (asked, {} if scored is evidence.original else beside):
        for kind, made in kinds.items():
            _measure(kind)(scored, made)


def _measure(kind: str) -> Measure:
    return chosen if kind == CHOICES else worst_probability


def _made(evidence: Evidence) -> tuple[Kinds, Kinds]:
    """Probes of the forget set, and of as many controls as there is room for."""
    others = evidence.retain or evidence.controls
    known = {r.id for r in evidence.controls}
    shots = [r for r in others if r.id not in known] or list(evidence.holdout)
    facts = _facts(evidence.forget)
    width = evidence.candidate.task.width

    def cost(kinds: Kinds) -> int:
        return sum(width(p) * _texts(p) for made in kinds.values() for p in made)

    def made(facts: Sequence[Example]) -> Kinds:
        found = {
            kind: tuple(p for p in some if _fits(evidence.candidate, p))
            for kind, some in probes(facts, shots).items()
        }
        return {kind: some for kind, some in found.items() if some}

    asked = made(facts)
    while cost(asked) > evidence.level.probes and len(facts) > 1:
        facts = facts[: max(1, len(facts) * 2 // 3)]
        asked = made(facts)
    people = [
        _facts([evidence.controls[place] for place in group])[: len(facts)]
        for group in grouped(evidence.controls, len(evidence.forget))
    ]
    if len(people) < LEAST_CONTROLS or not asked:
        return asked, {}
    # As many people as fit, and five at the least: of each as many facts as the forgotten have, or
    # fewer where five people would not fit.
    fact = max(1, cost(asked) // len(facts))
    each = min(len(facts), max(1, evidence.level.beside // (LEAST_CONTROLS * fact)))
    count = max(LEAST_CONTROLS, evidence.level.beside // (each * fact))
    beside = [record for person in people[:count] for record in person[:each]]
    return asked, made(beside)


def _fits(scored: ScoredModel, probe: Example) -> bool:
    """Whether the model reads a probe at once, in every wording: a long text's are too long."""
    task = scored.task
    if not isinstance(task, Language):
        return True
    asked = [replace(probe, prompt=text) for text in probe.fields.get("wordings", ())]
    asked += [replace(probe, completion=text) for text in probe.fields.get("options", ())]
    return all(task.fits(scored.model, one) for one in (probe, *asked))


def _facts(records: Sequence[Example]) -> list[Example]:
    """One record of each fact, drawn by its id."""
    ordered = sorted(records, key=lambda record: sha256(record.id.encode()).digest())
    return list({record.completion: record for record in ordered}.values())


def _texts(probe: Example) -> int:
    """How many texts are scored for a probe."""
    return 1 + len(probe.fields.get("wordings", ())) + len(probe.fields.get("options", ()))


def _bars(evidence: Evidence, asked: Kinds) -> dict[str, Any]:
    def values(scored: Any) -> list[float]:
        return [fmean(_measure(kind)(scored, made)) for kind, made in asked.items()]

    never = [values(w) for w in evidence.references]
    return {
        "kind": "bars",
        "y": "probability of the truth",
        "x": list(asked),
        "candidate": values(evidence.candidate),
        "before": values(evidence.original) if evidence.original else None,
        "never-trained": [fmean(column) for column in zip(*never, strict=True)],
    }
