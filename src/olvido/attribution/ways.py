"""Ways to score records by what they taught, the cheapest first."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import Module

from olvido.curvature import PerRecord, fit_ekfac, influences, products, query_gradients, shelf_at
from olvido.curvature.factored import sum_of
from olvido.errors import InputError
from olvido.forgetting.gradient.sampling import uniform
from olvido.learners import StepLog, Trained
from olvido.learners.runs.checkpoint import read
from olvido.learners.runs.execute import put_tensors
from olvido.tasks import Example, Task


class Way(Protocol):
    """Scores records for one query.

    Its constructor takes its options, keyword-only, each with a default.
    """

    summary: ClassVar[str]
    unit: ClassVar[str]

    def scores(
        self, trained: Trained, records: Sequence[Example], query: Example, task: Task, seed: int
    ) -> Tensor:
        """One row for each time it was measured. [R, n]"""
        ...


class Gradient:
    """How alike the gradients of record and query are: their cosine.

    Where the training kept checkpoints, the mean over them, each weighed by its learning rate
    (TracInCP: Pruthi et al. 2020, arXiv 2002.08484, with unit gradients, since long ones are mostly
    those of records that nobody could learn). Without, the weights as they are.
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
            # A record that pulls on nothing is alike to nothing.
            total += rate * (inner / (own * length.cpu())).nan_to_num(0.0)
            weights += rate
        return (total / weights).unsqueeze(0)


class Influence:
    """The rise of the question's loss had the record not been there, to first order (EK-FAC).

    The curvature is measured several times, each on records and targets drawn anew: how far the
    scores differ says how well they are known, not how well a first order foretells.

    Args:
        repeats: times the curvature is measured.
        sample: records on which it is.
        damping: share of the mean curvature that is added.
        factors: a folder that keeps the curvatures, so that the next question about the model does
            not measure them again, and a removal (`olvido forget --method influence`) finds one.
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
        self.factors = shelf_at(factors)

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
    """The model at each checkpoint that its training kept, with its rate; or as it is."""
    log = trained.trace
    # Adapters that were trained are merged since, and their checkpoints fit no longer.
    if not isinstance(log, StepLog) or log.shelf is None or log.recipe.lora is not None:
        yield trained.model, 1.0
        return
    for path in sorted(log.shelf):
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
