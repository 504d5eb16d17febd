"""Verification of exact unlearning: repeat the training from its very beginning without the removed
records, in processes that never saw them, and compare bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.errors import InputError, StateError, require_count
from olvido.learners.base import learner_of
from olvido.learners.fresh import ProcessJob, ProcessResult, carry_out_fresh, put
from olvido.learners.parts import require_taught
from olvido.learners.trained import Trained
from olvido.models import weights_digest
from olvido.models.merging import picklable
from olvido.tasks import Example, Task
from olvido.training.environment import environment, require_same
from olvido.training.loop import Progress, Watcher
from olvido.training.steps import StepLog

STATES = ("weights", "optimizer", "schedule", "rng")
"""The states compared at the end of every run."""

PROVEN = "exact: equal, bit for bit, to a training in which the records never took part"

NOT_PROVEN = (
    "that the weights the training began with never knew the records",
    "that what was fixed beforehand (tokenizer, hyper-parameters, who learns in which part) was "
    "chosen without them; of each, an id, a length and an empty place are left",
    "that the records which stay do not tell the same facts",
    "that no copy is left elsewhere: earlier versions, checkpoints, exports, logs, backups",
)
"""Claims that no comparison of bits can prove."""


@dataclass(frozen=True)
class Compared:
    """One run compared with its repetition.

    Attributes:
        name: name of the run: `run`, or that of the shard or module.
        recorded, found: SHA-256 of each of `STATES` at the end, as logged and as repeated.
        seconds: time of the fresh process, its start included.
    """

    name: str
    recorded: Mapping[str, str]
    found: Mapping[str, str]
    seconds: float

    @property
    def matched(self) -> tuple[str, ...]:
        """The equal states."""
        return tuple(s for s in STATES if s in self.found and s not in self.differing)

    @property
    def differing(self) -> tuple[str, ...]:
        """The unequal states; one that was not recorded is not equal."""
        return tuple(s for s in STATES if self.recorded.get(s) != self.found.get(s))

    @property
    def equal(self) -> bool:
        """Whether all states are equal."""
        return not self.differing


@dataclass(frozen=True)
class Verified:
    """A model compared with its repeated training.

    Attributes:
        runs: the model's runs; none where no record remains.
        recorded: digest of the model.
        found: digest of the repeated runs' model.
        present: records that took part.
        absent: records of these runs that were absent.
    """

    runs: tuple[Compared, ...]
    recorded: str
    found: str
    present: int
    absent: int

    @property
    def equal(self) -> bool:
        """Whether the model and the end of every run are equal, bit for bit."""
        return self.recorded == self.found and all(run.equal for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with the proven and unproven claims."""
        return {
            "equal": self.equal,
            "proven": PROVEN if self.equal else None,
            "not_proven": list(NOT_PROVEN),
            "present": self.present,
            "absent": self.absent,
            "model": {"recorded": self.recorded, "found": self.found},
            "runs": [
                {
                    "name": run.name,
                    "matched": list(run.matched),
                    "differing": list(run.differing),
                    "recorded": dict(run.recorded),
                    "found": dict(run.found),
                    "seconds": run.seconds,
                }
                for run in self.runs
            ],
        }


def verify(
    trained: Trained,
    records: Sequence[Example],
    task: Task,
    *,
    workers: int = 1,
    watch: Watcher | None = None,
) -> Verified:
    """Repeat a model's training from its beginning, without the removed records, and compare.

    Every run is repeated in a fresh process that gets the initial weights, its plan, the task and
    the present records: no checkpoint, and of removed records only their ids and lengths in the
    plan. The comparison covers weights, optimizer, schedule and random state at the end of each
    run, and the model that the runs make together.

    Args:
        trained: a model with its trace, whether it forgot or not.
        records: at least the remaining ones.
        task: how they become losses.
        workers: runs at a time.
        watch: called after each whole run.

    Raises:
        InputError: no trace, one of an empirical method, or missing or different records.
        EnvironmentMismatch: on this machine the run would not give the same bits; nothing was
        trained.
        StateError: the weights, or the training's initial weights, were changed since.
        TrainingFailed: a repeated run failed.
    """
    trace, learner = trained.trace.leaving(())[0], learner_of(trained.trace)
    assert trace.origin is not None
    require_count("workers", workers, most=1_024)
    held = weights_digest(trained.model)
    if held != trained.digest:
        raise StateError(
            f"the model's weights were changed since it was made (expected {trained.digest}, found "
            f"{held}): load it again"
        )
    logs = runs_of(trained)
    origin = trace.origin.module()
    present = {name: _staying(name, log, origin, records, task) for name, log in logs.items()}
    with tempfile.TemporaryDirectory(prefix="olvido-") as name:
        folder = Path(name)
        put(picklable(origin), folder / "origin")
        sent = [
            ProcessJob(
                folder / "origin", log.spec, present[run], task, learner.trainer, log.threads
            )
            for run, log in logs.items()
        ]
        answers = _repeated(dict(zip(logs, sent, strict=True)), folder, workers, watch)
    members = [answer.model for answer, _ in answers]
    everybody = [record for those in present.values() for record in those]
    made = learner.assemble(trace, origin, members, everybody, task)
    return Verified(
        tuple(
            Compared(run, dict(log.final), answer.final, seconds)
            for (run, log), (answer, seconds) in zip(logs.items(), answers, strict=True)
        ),
        trained.digest,
        weights_digest(made),
        len(everybody),
        sum(len(log.plan.slots) - len(log.plan.present) for log in logs.values()),
    )


def runs_of(trained: Trained) -> dict[str, StepLog]:
    """The runs that a model is made of, by name.

    Raises:
        InputError: its weights do not come from these runs alone.
    """
    trace = trained.trace
    if since := trace.leaving(())[1]:
        raise InputError(
            f"{len(since)} records were forgotten by an empirical method after the training: such "
            "weights equal no training, so there is nothing to verify. Forget by an exact method, "
            "and verify what that makes"
        )
    return dict(trace.runs)


def _staying(
    name: str, log: StepLog, origin: Module, records: Sequence[Example], task: Task
) -> tuple[Example, ...]:
    """The records that take part in a run, once it is known that it can be repeated here."""
    # The fresh process gets the number of threads; the rest of the environment must match.
    threads = int(log.environment["threads"])
    device = next(origin.parameters()).device
    require_same(log.environment, environment(device, threads=threads, model=origin))
    by_id = {record.id: record for record in records}
    if missing := [i for i in log.plan.present if i not in by_id]:
        raise InputError(
            f"{len(missing)} of the {len(log.plan.present)} records that {name} holds were not "
            f"given (first: {missing[0]!r}): give all that the model was trained on and has not "
            "forgotten"
        )
    staying = tuple(by_id[i] for i in log.plan.present)
    require_taught(log, staying, task)
    return staying


def _repeated(
    sent: Mapping[str, ProcessJob], folder: Path, workers: int, watch: Watcher | None
) -> list[tuple[ProcessResult, float]]:
    sizes = [one.spec.plan.total_steps for one in sent.values()]
    files = []
    for name, one in sent.items():
        files.append(folder / f"{name}.sent")
        put(one, files[-1])
    done = []
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(carry_out_fresh, files)
        for steps, (answer, seconds) in zip(accumulate(sizes), results, strict=True):
            done.append((answer, seconds))
            if watch is not None:
                watch(Progress(steps, sum(sizes), None, seconds))
    return done
