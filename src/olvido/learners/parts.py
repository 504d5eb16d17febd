"""The runs that a model is made of: start them, repeat them without records, in parallel."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.errors import InputError, StateError
from olvido.models import weights_digest
from olvido.models.merging import picklable
from olvido.processes import is_main, join, side_by_side, world_size
from olvido.tasks import Example, Task
from olvido.training import recipe as adapters
from olvido.training.checkpoint import CheckpointStore
from olvido.training.contents import digests_of, widths_of
from olvido.training.environment import deterministic, environment, require_same
from olvido.training.execute import SAFETY, RunResult, RunSpec, execute
from olvido.training.log import chain_at
from olvido.training.loop import Progress, Watcher
from olvido.training.plan import SlotPlan
from olvido.training.recipe import Recipe
from olvido.training.records import ids_of, only, records_of
from olvido.training.traces.base import MemberRun
from olvido.training.traces.steps import Origin, StepLog

Trainer = Callable[["Job", Watcher | None], tuple[Module, RunResult]]
"""Carries one run out, on a copy of the job's model. A module-level function, so that it can be
sent to another process."""


@dataclass(frozen=True)
class Job:
    """One run, with all it needs; it can be sent to another process.

    Attributes:
        model: the model that the run begins with; it is not changed.
        origin: the description of that model.
        records, task: the training records, and how they become losses.
        spec: determines the run.
        trainer: carries it out.
        checkpoints: the store of its checkpoints.
        keep: steps whose checkpoints stay.
        before, safety: see `execute`.
        threads: its number of threads, whatever the process has; None: the process's.
    """

    model: Module
    origin: Origin
    records: Sequence[Example]
    task: Task
    spec: RunSpec
    trainer: Trainer
    checkpoints: CheckpointStore | None = None
    keep: tuple[int, ...] = ()
    before: int | None = None
    safety: int = SAFETY
    threads: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the model once, in a picklable form."""
        model = picklable(self.model)
        return {**vars(self), "model": model, "origin": replace(self.origin, load=Lost())}

    def execute(self, learning: Module, watch: Watcher | None) -> RunResult:
        """Train this module, a prepared copy of the model, as the run is planned."""
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
    """A finished run: its model, its log, and the work done now."""

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
        tuple(ids_of(records)),
        widths_of(records, task),
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
    """Start a run. With a checkpoint store it continues an interrupted one."""
    origin = origin or Origin(partial(itself, model), weights_digest(model))
    contract = _contract(model, threads)
    spec = RunSpec(origin.digest, recipe, seed, plan, contract)
    return Job(
        model,
        origin,
        records_of(records, "records"),
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
    """Repeat a logged run without some records: the same bits as if they had never been in it.

    It begins with the last checkpoint before their first use, up to which both runs share every
    row ("Unlearning at Scale", arXiv 2508.12220), or with the start where there is none.

    Args:
        log: of the run.
        forget_ids: ids to leave out; all may be left out.
        records: at least the remaining ones; with the removed ones, all are checked against the
        log.
        task: how they become losses.
        definition: how records are absent, see `DEFINITIONS`.
        from_start: use no checkpoint.
        trainer: carries the run out.
        folder: for the new run's checkpoints; None: a temporary one.
        model: the model that the run began with, where it is loaded and checked already.

    Raises:
        InputError: a record that was not in the run, or one whose content differs from the
            training's.
        EnvironmentMismatch: on this machine the run would not give the same bits.
        StateError: the weights it began with have changed.
    """
    plan = log.plan.without(forget_ids, definition=definition)
    model = log.origin.module() if model is None else model
    require_same(log.environment, _contract(model, log.threads))
    require_taught(log, records, task)
    first = 0 if from_start else log.plan.first_use(plan.removed)
    checkpoints = None
    # Also where its checkpoint folder is lost: the new run stores its own.
    if log.checkpoints is not None or log.keep or folder is not None:
        checkpoints = CheckpointStore(folder)
        if log.checkpoints is not None and is_main():
            log.checkpoints.copy_to(checkpoints, before=first)
    present = set(plan.present)
    return Job(
        model,
        replace(log.origin, replaces=None),
        only(records, present),
        task,
        replace(log.spec, plan=plan),
        trainer,
        checkpoints,
        log.keep,
        before=first,
        threads=log.threads,
    )


def again_in_parts(
    parts: Sequence[MemberRun],
    hit: Mapping[str, Collection[str]],
    records: Sequence[Example],
    task: Task,
    *,
    model: Module | None,
    definition: str,
    from_start: bool,
    workers: int,
    watch: Watcher | None,
    trainer: Trainer = train_whole,
) -> dict[str, JobResult]:
    """Repeat the runs of parts without the records that `hit` names for each; by part.

    Arguments and errors are those of `again` and `carry_out`.
    """
    jobs = [
        again(
            part.log,
            hit.get(part.name, ()),
            records,
            task,
            definition=definition,
            from_start=from_start,
            trainer=trainer,
            model=model,
        )
        for part in parts
    ]
    done = carry_out(jobs, workers=workers, watch=watch)
    return {part.name: one for part, one in zip(parts, done, strict=True)}


def carry_out(
    jobs: Sequence[Job], *, workers: int = 1, watch: Watcher | None = None
) -> list[JobResult]:
    """Carry these runs out in parallel.

    Args:
        jobs: independent runs.
        workers: processes; with one, all runs are done in this process.
        watch: called after every step, counted over all runs; after whole runs where other
            processes do them.

    Raises:
        InputError: records of a run are missing.
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
    # A learner with another sampler has a trace of its own.
    assert isinstance(spec.plan, SlotPlan)
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
    """Check records against the logged chain, where all records of the run were passed.

    Raises:
        InputError: they do not reproduce the chain.
    """
    present = set(log.plan.present)
    if not present.issubset(ids_of(records)):
        return
    contents = digests_of(only(records, present), task)
    last = log.plan.total_steps
    found = chain_at(log.logged.beginning, log.plan, contents, [last])[last]
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
    """An origin's `load` where the model was not sent along."""

    def __call__(self) -> Module:
        """Raise StateError: there is no model."""
        raise StateError("the weights a run began with stay in the process that sent it")


def itself(model: Module) -> Module:
    """An origin's `load` for a model in memory: a function, so that it can be pickled."""
    return model
