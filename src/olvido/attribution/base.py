"""The entry point `trace()`: which records taught a model this answer.

Attribution methods, the cheapest first.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import Module

from olvido.attribution.replay import ReplayedRun
from olvido.curvature import PerRecord, factors_at, fit_ekfac, influences, products, query_gradients
from olvido.curvature.layers import sum_of
from olvido.data.near_copies import Copies, Copy
from olvido.errors import InputError, UnknownName, require_count, require_seed
from olvido.learners import Trained
from olvido.tasks import Example, Task, examples, task_of
from olvido.tasks.base import Row
from olvido.tasks.sampling import uniform
from olvido.training.checkpoint import read
from olvido.training.environment import deterministic
from olvido.training.execute import put_tensors


class AttributionMethod(Protocol):
    """Scores records for one query.

    Its constructor takes keyword-only options, each with a default.
    """

    summary: ClassVar[str]
    unit: ClassVar[str]

    def scores(
        self, trained: Trained, records: Sequence[Example], query: Example, task: Task, seed: int
    ) -> Tensor:
        """Scores of each record, one row for each measurement. [R, n]"""
        ...


class GradientSimilarity:
    """Cosine similarity of the gradients of record and query.

    Where the training kept checkpoints, the mean over them, weighted by the learning rate
    (TracInCP: Pruthi et al. 2020, arXiv 2002.08484, with unit gradients, since the longest ones
    belong to records that could not be learned). Otherwise, the current weights.
    """

    summary: ClassVar = "cosine of the gradients of record and question, over checkpoints if any"
    unit: ClassVar = "cosine, -1 to 1"

    def scores(
        self, trained: Trained, records: Sequence[Example], query: Example, task: Task, seed: int
    ) -> Tensor:
        total, weights = torch.zeros(len(records)), 0.0
        for model, rate in _stages(trained):
            wanted = query_gradients(model, [query], task)
            length = sum_of([part.square().sum() for part in wanted.values()]).sqrt()
            inner = products(model, records, wanted, task)[0]
            own = _norms(model, records, task)
            # A record without a gradient is similar to nothing.
            total += rate * (inner / (own * length.cpu())).nan_to_num(0.0)
            weights += rate
        return (total / weights).unsqueeze(0)


class InfluenceFunction:
    """The rise of the question's loss without the record, to first order (EK-FAC).

    The curvature is measured several times, each on records and targets drawn anew: the spread of
    the scores shows how precisely they are known, not how well a first order predicts.

    Args:
        repeats: measurements of the curvature.
        sample: records of each measurement.
        damping: added, as a share of the mean curvature.
        factors: a folder of curvatures, so that the next question about the model does not measure
            them again, and a removal (`olvido forget --method influence`) finds one.
    """

    summary: ClassVar = "influence function with the EK-FAC curvature"
    unit: ClassVar = "nats a token that the answer would be less likely without it"

    def __init__(
        self,
        *,
        repeats: int = 3,
        sample: int = 512,
        damping: float = 0.1,
        factors: str | None = None,
    ) -> None:
        if repeats < 1 or sample < 1 or not damping > 0:
            raise InputError(
                f"repeats and sample are 1 or more and damping above 0; got {repeats}, {sample}, "
                f"{damping}"
            )
        self.repeats, self.sample, self.damping = repeats, sample, damping
        self.factors = factors_at(factors)

    def scores(
        self, trained: Trained, records: Sequence[Example], query: Example, task: Task, seed: int
    ) -> Tensor:
        model = trained.model
        rows = []
        for number in range(self.repeats):
            drawn = seed + number
            some = uniform(records, self.sample, drawn)
            curvature = fit_ekfac(model, some, task, seed=drawn, folder=self.factors)
            found = influences(model, records, [query], task, curvature, damping=self.damping)
            rows.append(found[0])
        return torch.stack(rows)


def _stages(trained: Trained) -> Iterator[tuple[Module, float]]:
    """The model at each checkpoint of its training, with its rate; or the current model."""
    log = next(iter(trained.trace.runs.values()), None)
    # Trained adapters are merged since, and their checkpoints no longer fit.
    if log is None or log.checkpoints is None or log.recipe.lora is not None:
        yield trained.model, 1.0
        return
    for path in sorted(log.checkpoints):
        state = read(path)
        model = copy.deepcopy(trained.model)
        put_tensors(model, state.weights)
        yield model, log.recipe.rate(*log.plan.place(max(0, state.step - 1)))
    yield trained.model, log.recipe.rate(*log.plan.place(log.plan.total_steps - 1))


def _norms(model: Module, records: Sequence[Example], task: Task) -> Tensor:
    per_record = PerRecord(model, task)
    place = {record.id: i for i, record in enumerate(records)}
    found = torch.zeros(len(records))
    for batch in task.batches(records, 16):
        found[[place[i] for i in batch.ids]] = per_record(batch).norms().cpu()
    return found


ATTRIBUTIONS: dict[str, type[AttributionMethod]] = {
    "ekfac": InfluenceFunction,
    "gradient": GradientSimilarity,
    "replay": ReplayedRun,
}
"""Attribution methods by name."""

LIMITS = (
    "A score is a first order around one set of weights: what the loss would do, not what the "
    "model would say. It is often wrong about single records, and leads a person to look; it "
    "proves nothing."
)


@dataclass(frozen=True)
class Taught:
    """One record, with its score for the answer.

    Attributes:
        record: the record.
        score: the method's score; a higher one taught more.
        interval: 95%, over measurements; None for a single one.
        copies: records with nearly the same content.
    """

    record: Example
    score: float
    interval: tuple[float, float] | None
    copies: tuple[Copy, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "id": self.record.id,
            "score": self.score,
            "interval": None if self.interval is None else list(self.interval),
            "prompt": self.record.prompt,
            "completion": self.record.completion,
            "copies": [{"id": copy.id, "alike": copy.alike} for copy in self.copies],
        }


@dataclass(frozen=True)
class Traced:
    """An answer and the records, those that taught it most first.

    Attributes:
        question, answer: the traced pair.
        said: the model's own answer.
        loss: loss of the answer, in nats a token.
        model: digest of the weights.
        method: how records were scored, with its unit.
        records: number of scored records.
        ranked: the first of them.
    """

    question: str
    answer: str
    said: str
    loss: float
    model: str
    method: str
    unit: str
    records: int
    ranked: tuple[Taught, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for documents."""
        return {
            "question": self.question,
            "answer": self.answer,
            "said": self.said,
            "loss": self.loss,
            "model": self.model,
            "method": self.method,
            "unit": self.unit,
            "records": self.records,
            "ranked": [
                {"rank": rank, **taught.to_dict()} for rank, taught in enumerate(self.ranked, 1)
            ],
            "limits": LIMITS,
        }


def trace(
    model: Module | Trained,
    *,
    records: Iterable[Row | Example],
    question: str | Row | Example,
    answer: str | None = None,
    tokenizer: Any | None = None,
    task: str | type[Task] | Task | None = None,
    method: str = "ekfac",
    top: int = 10,
    seed: int = 0,
    **options: Any,
) -> Traced:
    """Find the training records that taught a model this answer.

    Args:
        model: any module of the task, or a result of `train()`; it is not changed.
        records: its training records; one that is missing cannot be found.
        question: text; or a row or example with its answer (an image with its class, a text without
            a prompt).
        answer: the answer to trace; None: the model's own.
        tokenizer: the model's tokenizer; or pass a `task`.
        task: turns records into batches.
        method: a name in `ATTRIBUTIONS`.
        top: number of records to return.
        seed: of the random choices.
        options: options of the method.

    Raises:
        InputError: no records, nothing to trace, or a model of several parts.
        UnknownName: no such method or option.
    """
    way = make_attribution(method, options)
    require_seed(seed)
    require_count("top", top)
    rows = examples(records, "records")
    if not rows:
        raise InputError("there are no records to trace the answer to: give those it was taught")
    trained = model if isinstance(model, Trained) else Trained.untraced(model)
    if not trained.trace.single:
        raise InputError(
            f"the model is {trained.trace.learner}: its parts learned apart from each other, and "
            "olvido request locate says which learned what; trace one part by itself"
        )
    task = task_of(tokenizer, task)
    with deterministic():
        query, said = _query(trained.model, question, answer, task)
        measured = way.scores(trained, rows, query, task, seed).double()
        with torch.no_grad():
            asked = task.collate([query]).to(next(trained.model.parameters()).device)
            loss = float(task.losses(trained.model, asked))
    mean = measured.mean(0)
    order = sorted(range(len(rows)), key=lambda i: (-float(mean[i]), rows[i].id))[:top]
    copies = _copies(rows, [rows[i] for i in order])
    ranked = tuple(
        Taught(rows[i], float(mean[i]), _interval(measured[:, i]), copies.get(rows[i].id, ()))
        for i in order
    )
    return Traced(
        query.prompt,
        query.completion,
        said,
        loss,
        trained.digest,
        method,
        way.unit,
        len(rows),
        ranked,
    )


def make_attribution(method: str, options: Mapping[str, Any]) -> AttributionMethod:
    """The attribution method of that name with these options.

    Raises:
        UnknownName: no such method, or no such option of it.
    """
    if method not in ATTRIBUTIONS:
        raise UnknownName("method of attribution", method, ATTRIBUTIONS)
    known = attribution_options(method)
    for name in options:
        if name not in known:
            raise UnknownName(f"option of {method}", name, known)
    return ATTRIBUTIONS[method](**options)


def attribution_options(method: str) -> dict[str, Any]:
    """The options of a method, each with its type."""
    parameters = inspect.signature(ATTRIBUTIONS[method], eval_str=True).parameters.values()
    return {p.name: p.annotation for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _query(
    model: Module, question: str | Row | Example, answer: str | None, task: Task
) -> tuple[Example, str]:
    """The traced example, and the model's own answer."""
    model.eval()
    if not isinstance(question, str):
        (query,) = examples([question], "question")
        (said,) = (
            task.generate(model, [query], 1) if query.prompt or "input" in query.fields else [""]
        )
        return query, said
    if not question.strip():
        raise InputError("the question is empty: give what the model was asked")
    # Without an answer to compare with, its length is unknown.
    (said,) = task.generate(model, [Example("asked", question, answer or "a" * 64)], 1)
    traced = said if answer is None else answer
    if not traced.strip():
        raise InputError("the model answers nothing to this question: give the answer to be traced")
    return Example("asked", question, traced), said


def _interval(values: torch.Tensor) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    from scipy.stats import t

    reach = float(t.ppf(0.975, len(values) - 1) * values.std() / math.sqrt(len(values)))
    return float(values.mean()) - reach, float(values.mean()) + reach


def _copies(rows: tuple[Example, ...], found: list[Example]) -> dict[str, tuple[Copy, ...]]:
    """Near-duplicates of each found record, itself left out."""
    texts = {r.id: r.text for r in rows if "input" not in r.fields}
    index = Copies(texts)
    return {
        r.id: tuple(copy for copy in index.of(texts[r.id]) if copy.id != r.id)
        for r in found
        if r.id in texts
    }
