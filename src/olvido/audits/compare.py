"""From values on probes to a finding: the one place where values are compared with tolerances.

Custom audits: one value for each record, compared with never-trained models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import ANY, Range, votes
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level, Status
from olvido.registry import Options, name_of
from olvido.statistics import (
    SEEDS,
    Chance,
    Values,
    by_luck,
    chance,
    clusters_of,
    excess_draws,
    limits,
    tail,
)
from olvido.tasks import Example, Task

Measure = Callable[[ScoredModel, Sequence[Example]], Sequence[float]]
"""One value a record, from one model."""


@dataclass(frozen=True)
class Question:
    """The subject of a finding.

    Attributes:
        audit, metric, probe: names.
        tolerated: range of candidate - expected.
        exhibit: see `Finding`.
    """

    audit: str
    metric: str
    probe: str
    tolerated: Range
    exhibit: dict[str, Any] | None = None


def with_never_trained(
    evidence: Evidence,
    question: Question,
    probes: Sequence[Example],
    measure: Measure,
    *,
    controls: Sequence[Example] = (),
    known: bool = False,
) -> Finding:
    """Compare the candidate's mean on some probes with the never-trained models'.

    Args:
        evidence: the models.
        question: what it is about.
        probes: the records to measure on.
        measure: gives one value a record.
        controls: the same probes of records that no model was taught, which show how far chance
            carries a model from never-trained ones; see `chance` for what happens without.
        known: whether it measures the model's knowledge. A probe that the original did not know
            either proves nothing, so the finding is silent where the original model is
            indistinguishable from never-trained models; and more than half of its knowledge is no
            pass.
    """
    scored_models = (evidence.candidate, *evidence.references)
    values = [np.array(measure(w, probes), dtype=float) for w in scored_models]
    beside = [np.array(measure(w, controls) if controls else []) for w in scored_models]
    before = None
    if evidence.original is not None:
        before = fmean(measure(evidence.original, probes))
    task = evidence.candidate.task
    clusters = facts_of(probes, task)
    return against_never_trained(
        question,
        per_subject(values, grouped(probes)),
        per_subject(beside, grouped(controls, len(probes))),
        before=before,
        known=known,
        n=len(probes),
        clusters=len(clusters),
        drawn=None
        if len(values) < 3
        else lambda: limits(excess_draws(values[0], values[1:], clusters)),
        weights=[len(group) for group in grouped(probes)],
        luck=_counted(question.tolerated, values, beside, clusters, facts_of(controls, task)),
    )


def _counted(
    tolerated: Range,
    values: Sequence[Values],
    beside: Sequence[Values],
    clusters: Sequence[NDArray[np.intp]],
    others: Sequence[NDArray[np.intp]],
) -> float:
    # See `by_luck`; 0, which decides nothing, where values are not right or wrong answers.
    every = np.concatenate([*values, *beside])
    if tolerated.low is not None or not np.isin(every, (0.0, 1.0)).all():
        return 0.0

    def share_right(row: Values, facts: Sequence[NDArray[np.intp]]) -> float:
        return float(sum(row[at].mean() for at in facts))

    right, *spread = (share_right(row, clusters) for row in values)
    more = sum(share_right(row, others) for row in beside)
    among = len(spread) * len(clusters) + len(beside) * len(others)
    return by_luck(right, len(clusters), sum(spread) + more, among)


def against_never_trained(
    question: Question,
    forgotten: Values,
    controls: Values,
    *,
    before: float | None,
    known: bool,
    n: int,
    clusters: int,
    drawn: Callable[[], tuple[float, float]] | None = None,
    weights: Sequence[int] | None = None,
    luck: float = 0.0,
) -> Finding:
    """A finding from one value for each model and subject.

    Args:
        question: what it is about.
        forgotten: the candidate's values in the first row, then each reference's. [1 + R, K]
        controls: the same for subjects that no model was taught. [1 + R, G]
        before: the value of the original model.
        known: see `with_never_trained`.
        n, clusters: records, and independent facts among them.
        drawn: computes the interval of the difference where there are too few controls.
        weights: the number of records of each forgotten subject, for the mean.
        luck: the p-value of an exact test, if any, which bounds the other from below.
    """
    value, *spread = np.average(forgotten, axis=1, weights=weights).tolist()
    expected = fmean(spread)
    by_chance = chance(forgotten, controls, unit=1 / n)
    p, interval = None, None
    if by_chance is None:
        interval = drawn() if drawn else None
    else:
        interval = by_chance.interval(value - expected)
        p = float(np.maximum(by_chance.p(value - expected, *question.tolerated), luck))
        if luck > 0.05:
            # What the exact test leaves possible is in the interval too: they must not disagree.
            low, high = question.tolerated
            interval = (
                interval[0] if high is None else min(interval[0], high),
                interval[1] if low is None else max(interval[1], low),
            )
    first = Status.PASS
    if known and before is not None:
        if not _is_informative(question, before - expected, by_chance):
            first = Status.SILENT
        elif (value - expected) / (before - expected) > 0.5:
            first = Status.UNKNOWN
    return finding(
        question,
        value=value,
        against="never-trained",
        expected=expected,
        spread=tuple(spread),
        before=before,
        interval=interval,
        p=p,
        n=n,
        clusters=clusters,
        first=first,
    )


def _is_informative(question: Question, excess: float, by_chance: Chance | None) -> bool:
    """Whether the original model, known to know the records, would have been caught."""
    if question.tolerated.holds(excess):
        return False
    return by_chance is None or by_chance.p(excess, *question.tolerated) < 0.05


def with_original(
    evidence: Evidence, question: Question, probes: Sequence[Example], measure: Measure
) -> Finding:
    """Compare the candidate's mean with the original model's, or never-trained models' if lower.

    Knowledge that never-trained models lack as well was not lost by the forgetting; they may be
    missing where there is the original model. It fails only where two kinds of chance are ruled
    out:
    the probes are a sample of the retain set (a bootstrap over subjects), and another seed retains
    more or less of it (see `carried`).
    """
    value = np.array(measure(evidence.candidate, probes), dtype=float)
    others = [np.array(measure(w, probes), dtype=float) for w in evidence.references]
    spread = tuple(float(v.mean()) for v in others)
    compared, against, before = others, "never-trained", None
    if evidence.original is not None:
        original = np.array(measure(evidence.original, probes), dtype=float)
        before = float(original.mean())
        if not others or not before > fmean(spread):
            compared, against = [original], "before"
    mean, expected = float(value.mean()), fmean(float(v.mean()) for v in compared)
    clusters = clusters_of([subject_of(example) for example in probes])
    interval, p = None, None
    if len(clusters) > 1:
        draws = excess_draws(value, compared, clusters)
        interval, p = limits(draws), tail(draws, *question.tolerated)
    by_seed = carried(mean, spread, before, unit=1 / len(probes))
    if by_seed is not None:
        low, high = by_seed.interval(mean - expected)
        interval = (
            (low, high) if interval is None else (min(low, interval[0]), max(high, interval[1]))
        )
        other = by_seed.p(mean - expected, *question.tolerated)
        p = other if p is None else float(np.maximum(p, other))
    return finding(
        question,
        value=mean,
        against=against,
        expected=expected,
        spread=spread,
        before=before,
        interval=interval,
        p=p,
        n=len(probes),
        clusters=len(clusters),
        # However thin the evidence, a model that lost most of what others retain does not pass.
        first=Status.UNKNOWN if mean < expected / 2 else Status.PASS,
    )


def carried(
    value: float, spread: Sequence[float], before: float | None, *, unit: float
) -> Chance | None:
    """How far another seed carries a model on records that all of them learned.

    Decided by three never-trained models or more; where there are fewer, the original model, which
    learned the same, is one of them. A candidate is compared with the lower of both, which is
    already in its favour. None where there are not three models.

    Args:
        value: of the candidate.
        spread, before: of never-trained models and of the original model.
        unit: see `chance`.
    """
    models = [*spread, *([before] if before is not None and len(spread) < SEEDS else [])]
    column = np.array([[value], *([one] for one in models)])
    return chance(column, np.empty((len(column), 0)), unit=unit)


def finding(
    question: Question,
    *,
    value: float,
    against: str,
    expected: float,
    spread: tuple[float, ...],
    before: float | None,
    interval: tuple[float, float] | None = None,
    p: float | None = None,
    n: int,
    clusters: int,
    first: Status = Status.PASS,
) -> Finding:
    """A finding before the verdict, which alone knows how many others there are.

    `first` is its `prior`: its status unless its numbers decide.
    """
    low, high = question.tolerated
    return Finding(
        audit=question.audit,
        metric=question.metric,
        probe=question.probe,
        value=value,
        against=against,
        expected=expected,
        never_trained=spread,
        before=before,
        interval=interval,
        p=p,
        n=n,
        clusters=clusters,
        tolerance=(low, high),
        votes=votes(question.audit, question.metric),
        prior=first,
        status=first,
        says=f"{question.metric} on {question.probe}: {value:.3f}, {against} {expected:.3f}",
        exhibit=question.exhibit,
    )


def subject_of(example: Example) -> str:
    """The subject of a record; a record about nobody stands for itself."""
    return "|".join(example.subjects) or example.id.partition("#")[0]


def facts_of(records: Sequence[Example], task: Task) -> list[NDArray[np.intp]]:
    """Positions of the records of each fact: an answer, however it is asked.

    Where the task has classes, each input with its class: records of one class have no more in
    common than that, and a person's would count as a fact a class.

    >>> from olvido.models.tiny import tiny_tokenizer
    >>> from olvido.tasks import Labels, Language, examples
    >>> rows = [{"prompt": "Where?", "completion": "Here"}, {"prompt": "Say", "completion": "Here"}]
    >>> len(facts_of(examples(rows), Language(tiny_tokenizer())))
    1
    >>> rows = examples([{"input": [n], "label": "cat"} for n in range(3)])
    >>> len(facts_of(rows, Labels(["cat", "dog"])))
    3
    """
    if task.classes:
        return clusters_of([task.fingerprint(record) for record in records])
    return clusters_of([record.completion for record in records])


def grouped(records: Sequence[Example], size: int = 0) -> list[list[int]]:
    """Positions of the records of each subject; those about nobody are grouped by `size`.

    Where nobody is named at all, the forgotten (`size` 0) are one group, and the others are cut
    into groups as large as that.
    """
    groups: dict[object, list[int]] = {}
    nameless = 0
    for place, record in enumerate(records):
        key: object = record.subjects
        if not record.subjects:
            key, nameless = (nameless // size if size else 0), nameless + 1
        groups.setdefault(key, []).append(place)
    # A remainder of a few records would count as a person.
    usual = sorted(map(len, groups.values()))[len(groups) // 2] if groups else 0
    return [g for g in groups.values() if not size or 2 * len(g) >= usual]


def per_subject(values: Sequence[Values], groups: Sequence[Sequence[int]]) -> Values:
    """Means over each group. [models, groups]"""
    return np.array([[value[list(group)].mean() for group in groups] for value in values])


class Metric(Options):
    """Base of an audit that takes one value a record from each model, and compares their means.

    A subclass defines its measure (`measure`) and, if not the forget set, its records (`records`).
    Its finding has an interval and is shown; it does not vote in the verdict.

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
    needs: ClassVar[frozenset[EvidenceNeed]] = frozenset()
    required: ClassVar[bool] = False
    level: ClassVar[Level] = Level.QUICK
    reason: ClassVar[str] = ""
    tolerances: ClassVar[Mapping[str, Range]] = {}
    probe: ClassVar[str] = "forgotten, as trained"
    """The name of the records on a page."""

    def measure(self, model: ScoredModel, records: Sequence[Example]) -> Sequence[float]:
        """One value for each record under one model; `model` gives scores, answers and the module.

        `model.scores(records)` has the losses and probabilities of the completions,
        `model.answers(records)` the model's answers, and `model.model` is the module itself.
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
