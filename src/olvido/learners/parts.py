"""The runs that a model is made of: begun, done again without somebody, side by side."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.errors import InputError, StateError
from olvido.learners.parallel import side_by_side
from olvido.models import weights_digest
from olvido.models.merging import picklable
from olvido.processes import is_main, join, world_size
from olvido.tasks import Example, Task
from olvido.training import recipe as adapters
from olvido.training.checkpoint import CheckpointStore
from olvido.training.environment import deterministic, environment, require_same
from olvido.training.execute import SAFETY, RunResult, RunSpec, digests_of, execute
from olvido.training.log import chain_at
from olvido.training.loop import Progress, Watcher
from olvido.training.plan import SlotPlan
from olvido.training.recipe import Recipe
from olvido.training.steps import Origin, StepLog

Trainer = Callable[["Job", Watcher | None], tuple[Module, RunResult]]
"""Carries one run out, on a copy of the job's model. A function of a module, so that it can be sent
to another process."""


@dataclass(frozen=True)
class Job:
    """One run, with all it needs; it can be sent to another process.

    Attributes:
        model: that the run begins with; it is not changed.
        origin: how to come by it again.
        records, task: what is learned, and how it becomes losses.
        spec: what determines the run.
        trainer: what carries it out.
        checkpoints: for its checkpoints.
        keep: steps whose checkpoints stay.
        before, safety: see `execute`.
        threads: that it is given, whatever the process has; None: the process's.
    """

    model: Module
    origin: Origin
    records: tuple[Example, ...]
    task: Task
    spec: RunSpec
    trainer: Trainer
    checkpoints: CheckpointStore | None = None
    keep: tuple[int, ...] = ()
    before: int | None = None
    safety: int = SAFETY
    threads: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The model goes along once, and as it can be pickled."""
        model = picklable(self.model)
        return {**vars(self), "model": model, "origin": replace(self.origin, load=Lost())}

    def execute(self, learning: Module, watch: Watcher | None) -> RunResult:
        """Train this module, a copy of the model made ready, as the run is planned."""
        return execute(
            learning,
            self.records,
            self.task,
            self.spec,
            checkpoints=self.checkpoints,
            keep=self.keep,
            before=self.before,
            safety=self.safety,
            watch=watch,
        )


@dataclass(frozen=True)
class JobResult:
    """A run that has ended: its model, its log, and what was done now."""

    model: Module
    log: StepLog
    result: RunResult


def train_whole(job: Job, watch: Watcher | None) -> tuple[Module, RunResult]:
    """Train all weights of a copy of the model, or an adapter that is then merged into them."""
    learning = copy.deepcopy(job.model)
    lora = job.spec.recipe.lora
    with deterministic(job.threads):
        if lora is not None:
            learning = adapters.attach(learning, lora, seed=job.spec.seed)
        result = job.execute(learning, watch)
        if lora is not None:
            learning = adapters.merge(learning, job.model)
    return learning.eval(), result


def make_plan(
    records: Sequence[Example],
    task: Task,
    recipe: Recipe,
    seed: int,
    *,
    slices: Sequence[int] = (),
    epochs: int | None = None,
) -> SlotPlan:
    """Give every record its place."""
    return SlotPlan(
        tuple(record.id for record in records),
        tuple(task.width(record) for record in records),
        recipe.batch_size,
        recipe.accumulate,
        recipe.epochs if epochs is None else epochs,
        seed,
        tuple(slices),
    )


def begin(
    model: Module,
    records: Sequence[Example],
    task: Task,
    *,
    recipe: Recipe,
    seed: int,
    plan: SlotPlan,
    trainer: Trainer = train_whole,
    checkpoints: CheckpointStore | None = None,
    keep: Collection[int] = (),
    safety: int = SAFETY,
    threads: int | None = None,
    origin: Origin | None = None,
) -> Job:
    """A new run. With a checkpoint store it goes on where it was interrupted."""
    origin = origin or Origin(partial(itself, model), weights_digest(model))
    contract = _contract(model, threads)
    spec = RunSpec(origin.digest, recipe, seed, plan, contract)
    return Job(
        model,
        origin,
        tuple(records),
        task,
        spec,
        trainer,
        checkpoints,
        tuple(keep),
        safety=safety,
        threads=threads,
    )


def again(
    log: StepLog,
    forget_ids: Collection[str],
    records: Sequence[Example],
    task: Task,
    *,
    definition: str = "drop",
    from_start: bool = False,
    trainer: Trainer = train_whole,
    folder: Path | None = None,
    model: Module | None = None,
) -> Job:
    """A logged run without some of its records: the same bits as if they had never been in it.

    It begins with the last checkpoint before their first use, up to which both runs share every
    row ("Unlearning at Scale", arXiv 2508.12220), and with the start where there is none.

    Args:
        log: of the run.
        forget_ids: ids to leave out; everybody may leave.
        records: at least those that stay; with those that leave, all are held against the log.
        task: how they become losses.
        definition: of their absence, see `DEFINITIONS`.
        from_start: use no checkpoint.
        trainer: what carries the run out.
        folder: for the new run's checkpoints; None: a temporary one.
        model: the one that the run began with, where it is at hand already and checked.

    Raises:
        InputError: a record that was not in the run, or one whose content differs from what the
            run was taught.
        EnvironmentMismatch: here the same run would not give the same bits.
        StateError: the weights it began with have changed.
    """
    plan = log.plan.without(forget_ids, definition=definition)
    model = log.origin.module() if model is None else model
    require_same(log.environment, _contract(model, log.threads))
    require_taught(log, records, task)
    first = 0 if from_start else log.plan.first_use(plan.removed)
    checkpoints = None
    # Also where the folder of its checkpoints is lost: the new run keeps its own.
    if log.checkpoints is not None or log.keep or folder is not None:
        checkpoints = CheckpointStore(folder)
        if log.checkpoints is not None and is_main():
            log.checkpoints.copy_to(checkpoints, before=first)
    present = set(plan.present)
    return Job(
        model,
        log.origin,
        tuple(record for record in records if record.id in present),
        task,
        replace(log.spec, plan=plan),
        trainer,
        checkpoints,
        log.keep,
        before=first,
        threads=log.threads,
    )


def carry_out(
    jobs: Sequence[Job], *, workers: int = 1, watch: Watcher | None = None
) -> list[JobResult]:
    """Do these runs, so many at a time.

    Args:
        jobs: each independent of the others.
        workers: processes; with one, everything happens here.
        watch: told of every step of all of them together, counted on; of whole runs where they
            happen in other processes.

    Raises:
        InputError: records of a run were not given.
        NotFinite: a loss became nan.
    """
    sizes = [job.spec.plan.total_steps for job in jobs]
    total, ends = sum(sizes), list(accumulate(sizes))
    here = workers == 1 or len(jobs) < 2
    began = time.perf_counter()

    def shifted(progress: Progress, shift: int = 0) -> None:
        if watch is not None:
            spent = time.perf_counter() - began
            watch(replace(progress, step=shift + progress.step, total=total, seconds=spent))

    calls = [
        partial(_timed, job, partial(shifted, shift=end - size) if here else None)
        for job, size, end in zip(jobs, sizes, ends, strict=True)
    ]
    done = []
    results: Iterator[tuple[Module, RunResult, float]] = side_by_side(calls, workers=workers)
    for job, end, (model, result, setup) in zip(jobs, ends, results, strict=True):
        if not here:
            shifted(Progress(end, total, None, result.seconds))
        done.append(JobResult(model, _logged(job, result, setup), result))
    return done


def _timed(job: Job, watch: Watcher | None) -> tuple[Module, RunResult, float]:
    began = time.perf_counter()
    model, result = job.trainer(job, watch)
    return model, result, time.perf_counter() - began - result.spent


def _logged(job: Job, result: RunResult, setup: float) -> StepLog:
    spec = job.spec
    return StepLog(
        job.origin,
        spec.recipe,
        spec.seed,
        spec.plan,
        spec.environment,
        result.log,
        result.final,
        result.seconds,
        setup,
        job.checkpoints,
        job.keep,
        job.threads,
        notes=result.notes,
    )


def require_taught(log: StepLog, records: Sequence[Example], task: Task) -> None:
    """Where everything the run learned was given, it has to give the chain that was logged.

    Raises:
        InputError: it does not.
    """
    by_id = {record.id: record for record in records}
    if not all(i in by_id for i in log.plan.present):
        return
    contents = digests_of([by_id[i] for i in log.plan.present], task)
    last = log.plan.total_steps
    found = chain_at(log.spec.beginning, log.plan, contents, [last])[last]
    if found != log.log.end:
        raise InputError(
            "the records given are not, word for word, those that the model was trained on, or the "
            f"tokenizer makes other tokens of them: the log of its training ends in "
            f"{log.log.end[:12]}, these would give {found[:12]}. Give them as they were, with the "
            "tokenizer and the chat template of that training"
        )


def _contract(model: Module, threads: int | None) -> dict[str, str]:
    join()
    device = next(model.parameters()).device
    return environment(device, threads=threads, model=model, world_size=world_size())


class Lost:
    """An origin's `load` where it was not sent along."""

    def __call__(self) -> Module:
        """There is none. Raises StateError."""
        raise StateError("the weights a run began with stay in the process that sent it")


def itself(model: Module) -> Module:
    """An origin's `load` for a model that is at hand: a function, so that it can be sent away."""
    return model
