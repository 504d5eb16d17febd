"""Rephrased probes: the forget set behind reversed, disguised or translated questions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from olvido.audits.compare import Measure, Question, grouped, with_never_trained
from olvido.audits.knowledge import templates
from olvido.audits.knowledge.probes import probes
from olvido.audits.scoring import Score, ScoredModel
from olvido.audits.tolerances import CHOICE, PROBABILITY, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import MissingNeed
from olvido.statistics import LEAST_CONTROLS
from olvido.tasks import Example, Language

Kinds = dict[str, tuple[Example, ...]]


def worst_probability(scored: ScoredModel, asked: Sequence[Example]) -> list[float]:
    """Largest geometric mean probability of the completion over all wordings, one a probe."""
    return _worst(scored, asked, lambda score: score.probability)


def worst_exact(scored: ScoredModel, asked: Sequence[Example]) -> list[float]:
    """1 where greedy decoding gives exactly the completion behind any wording, one a probe."""
    return _worst(scored, asked, lambda score: float(score.exact))


def chosen(scored: ScoredModel, asked: Sequence[Example]) -> list[float]:
    """1 where the completion is the likeliest of the options by loss a token, one a probe.

    Options that are equally likely share the 1.

    Raises:
        MissingNeed: a probe without `options`: only those of multiple choice have them.
    """
    texts: list[Example] = []
    for probe in asked:
        if not probe.fields.get("options"):
            raise MissingNeed(
                f"{probe.id!r} has no 'options' to choose from: ask probes of multiple choice"
            )
        texts += [
            replace(probe, completion=answer)
            for answer in (probe.completion, *probe.fields["options"])
        ]
    losses = iter([score.loss for score in scored.scores(texts)])
    return [
        _share([next(losses) for _ in (probe.completion, *probe.fields["options"])])
        for probe in asked
    ]


def affirmed(scored: ScoredModel, asked: Sequence[Example]) -> list[float]:
    """1 where yes is likelier to the right answer than to any false one, one a probe of yes or no.

    How readily a model says yes at all makes no difference. Answers that get the likeliest yes
    together share the 1.

    Raises:
        MissingNeed: a probe without `proposed`.
    """
    texts: list[Example] = []
    for probe in asked:
        if not probe.fields.get("proposed"):
            raise MissingNeed(f"{probe.id!r} proposes no answers: ask probes of yes or no")
        texts += [
            replace(probe.asked(prompt, str(number)), completion=templates.AFFIRMED)
            for number, prompt in enumerate(probe.fields["proposed"])
        ]
    losses = iter([score.loss for score in scored.scores(texts)])
    return [_share([next(losses) for _ in probe.fields["proposed"]]) for probe in asked]


def _share(losses: Sequence[float]) -> float:
    """1 where the first loss is the least, shared with equal ones; nan where one is."""
    every = np.array(losses)
    best = every == every.min()
    return float("nan") if np.isnan(every).any() else float(best[0] / best.sum())


def _worst(
    scored: ScoredModel, asked: Sequence[Example], value: Callable[[Score], float]
) -> list[float]:
    wordings = [[probe.prompt, *probe.fields.get("wordings", ())] for probe in asked]
    texts = [
        probe.asked(prompt, str(number))
        for probe, prompts in zip(asked, wordings, strict=True)
        for number, prompt in enumerate(prompts)
    ]
    values = np.array([value(score) for score in scored.scores(texts)])
    starts = np.cumsum([0, *map(len, wordings)])[:-1]
    return np.maximum.reduceat(values, starts).tolist() if asked else []


PICKED: Mapping[str, tuple[Measure, str]] = {
    "multiple choice": (chosen, "right answer chosen"),
    "yes or no": (affirmed, "right answer affirmed"),
}
"""Kinds in which a model picks one of several answers, by the measure and its name."""


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
    kinds: ClassVar[Collection[str]] = (
        "paraphrase",
        "reversed",
        "multi-hop",
        "alias",
        "multiple choice",
        "prefix injection",
        "affirmative suffix",
        "role play",
        "in-context",
        "another language",
    )
    """Kinds of probes that are asked."""

    def asks(self, evidence: Evidence) -> Asks:
        """All wordings and options scored."""
        asked, beside = _made(evidence, self.kinds)
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
        asked, beside = _made(evidence, self.kinds)
        shown = _bars(evidence, asked)
        found: list[Finding] = []
        for kind, made in asked.items():
            measure, says = _measure(kind)
            picked = kind in PICKED
            controls = beside.get(kind, ())
            if picked and not controls:
                # One in four is right by chance: a handful of questions alone decides nothing.
                continue
            question = Question(
                self.name,
                f"{kind}: {says}",
                "forgotten, asked otherwise",
                CHOICE if picked else PROBABILITY,
                None if found else shown,
            )
            found.append(
                with_never_trained(evidence, question, made, measure, controls=controls, known=True)
            )
        return found


def _scored(evidence: Evidence, asked: Kinds, beside: Kinds, scored: ScoredModel) -> None:
    for kinds in (asked, {} if scored is evidence.original else beside):
        for kind, made in kinds.items():
            _measure(kind)[0](scored, made)


def _measure(kind: str) -> tuple[Measure, str]:
    """The measure of a kind of probes, and its name."""
    return PICKED.get(kind, (worst_probability, "probability"))


class FormatShift(RephrasedProbes):
    """The forget set asked for in other forms: JSON, a table, a poem, a gap, yes or no.

    A forgetting that pushed the answer's usual form away leaves the fact in others: "reversed" and
    "disguised" questions still ask for a sentence, these do not.
    """

    name: ClassVar = "formats"
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what the model says when the answer takes another form"
    reason: ClassVar = "in another form than a sentence, the model still says the forgotten"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "*: right answer affirmed": CHOICE,
        "*: probability": PROBABILITY,
    }
    kinds: ClassVar[Collection[str]] = ("as JSON", "as a table", "as a poem", "cloze", "yes or no")


class ChainOfClues(RephrasedProbes):
    """The forget set asked for after turns that tell other facts of the person."""

    name: ClassVar = "clues"
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "what the model says after turns that tell of the same person"
    reason: ClassVar = "led to the person by other facts, the model still says the forgotten"
    tolerances: ClassVar[Mapping[str, Range]] = {"*: probability": PROBABILITY}
    kinds: ClassVar[Collection[str]] = ("chain of clues",)


def _made(evidence: Evidence, kinds: Collection[str]) -> tuple[Kinds, Kinds]:
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
            for kind, some in probes(facts, shots, kinds=kinds).items()
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
    wordings = (*probe.fields.get("wordings", ()), *probe.fields.get("proposed", ()))
    asked = [replace(probe, prompt=text) for text in wordings]
    asked += [replace(probe, completion=text) for text in probe.fields.get("options", ())]
    return all(task.fits(scored.model, one) for one in (probe, *asked))


def _facts(records: Sequence[Example]) -> list[Example]:
    """One record of each fact, drawn by its id."""
    ordered = sorted(records, key=lambda record: sha256(record.id.encode()).digest())
    return list({record.completion: record for record in ordered}.values())


def _texts(probe: Example) -> int:
    """How many texts are scored for a probe."""
    return 1 + sum(len(probe.fields.get(more, ())) for more in ("wordings", "options", "proposed"))


def _bars(evidence: Evidence, asked: Kinds) -> dict[str, Any]:
    def values(scored: Any) -> list[float]:
        return [fmean(_measure(kind)[0](scored, made)) for kind, made in asked.items()]

    never = [values(w) for w in evidence.references]
    return {
        "kind": "bars",
        "y": "probability of the truth",
        "x": list(asked),
        "candidate": values(evidence.candidate),
        "before": values(evidence.original) if evidence.original else None,
        "never-trained": [fmean(column) for column in zip(*never, strict=True)],
    }
