"""Verification of exact unlearning: repeat the training from its very beginning without the removed
records, in processes that never saw them, and compare bit for bit; of a chain, every training."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from olvido.training.traces.base import Trace
from olvido.training.traces.chain import BEFORE, Continued, links
from olvido.training.traces.declared import NO_LOG
from olvido.training.traces.steps import StepLog

STATES = ("weights", "optimizer", "schedule", "rng")
"""The states compared at the end of every run."""

PROVEN = "exact: equal, bit for bit, to a training in which the records never took part"

PROVEN_LATER = (
    "exact from the trainings repeated here on: equal, bit for bit, to repeating these alone, in "
    "which the records never took part"
)

NOT_REPEATED = (
    "anything about the trainings before these: an approximate method changed what they had made, "
    "or they were not run here, and none of them was repeated"
)

NOT_PROVEN = (
    "that the weights the training began with never knew the records",
    "that what was fixed beforehand (tokenizer, classes, hyper-parameters, who learns in which "
    "part) was chosen without them; of each, an id, a length and an empty place are left",
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
        whole: whether all trainings of a chain were repeated; not those before an approximate
            method, or that were not run here.
    """

    runs: tuple[Compared, ...]
    recorded: str
    found: str
    present: int
    absent: int
    whole: bool = True

    @property
    def proven(self) -> str:
        """What equality proves."""
        return PROVEN if self.whole else PROVEN_LATER

    @property
    def not_proven(self) -> tuple[str, ...]:
        """What it does not prove."""
        return NOT_PROVEN if self.whole else (NOT_REPEATED, *NOT_PROVEN)

    @property
    def equal(self) -> bool:
        """Whether the model and the end of every run are equal, bit for bit."""
        return self.recorded == self.found and all(run.equal for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with the proven and unproven claims."""
        return {
            "equal": self.equal,
            "proven": self.proven if self.equal else None,
            "not_proven": list(self.not_proven),
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
    require_count("workers", workers, most=1_024)
    held = weights_digest(trained.model)
    if held != trained.digest:
        raise StateError(
            f"the model's weights were changed since it was made (expected {trained.digest}, found "
            f"{held}): load it again"
        )
    runs_of(trained)
    line = _line(trained.trace.leaving(())[0])
    origin = _began(line[0])
    staying = [_staying(name, log, origin, records, task) for link in line
               for name, log in link.runs.items()]  # fmt: skip
    compared: list[Compared] = []
    everybody: dict[str, Example] = {}
    recorded = found = trained.digest
    for number, link in enumerate(line):
        present = {name: staying.pop(0) for name in link.runs}
        everybody |= {record.id: record for those in present.values() for record in those}
        before = BEFORE * (len(line) - 1 - number)
        made, done = _made(link, origin, present, task, workers, watch)
        compared += [replace(one, name=before + one.name) for one in done]
        following = line[number + 1].origin if number + 1 < len(line) else None
        recorded = trained.digest if following is None else following.digest
        found, origin = weights_digest(made), made
        if recorded != found:
            break
    return Verified(
        tuple(compared),
        recorded,
        found,
        len(everybody),
        sum(len(log.plan.slots) - len(log.plan.present)
            for link in line for log in link.runs.values()),
        whole=len(line) == sum(isinstance(one, Continued) for one in links(trained.trace)) + 1,
    )  # fmt: skip


def _line(trace: Trace) -> list[Trace]:
    """The trainings to repeat, one after the other: as far back as all of the weights come from
    runs."""
    if not isinstance(trace, Continued):
        return [trace]
    before, since = trace.previous.leaving(())
    if since or any(link.learner in (None, *NO_LOG) for link in links(before)):
        return [trace.last]
    return [*_line(before), trace.last]


def _began(trace: Trace) -> Module:
    learner_of(trace)
    assert trace.origin is not None
    return trace.origin.module()


def _made(
    link: Trace,
    origin: Module,
    present: Mapping[str, tuple[Example, ...]],
    task: Task,
    workers: int,
    watch: Watcher | None,
) -> tuple[Module, list[Compared]]:
    """The model of one training, repeated from these weights, and its runs compared."""
    learner = learner_of(link)
    with tempfile.TemporaryDirectory(prefix="olvido-") as name:
        folder = Path(name)
        put(picklable(origin), folder / "origin")
        sent = {
            run: ProcessJob(
                folder / "origin", log.spec, present[run], task, learner.trainer, log.threads
            )
            for run, log in link.runs.items()
        }
        answers = _repeated(sent, folder, workers, watch)
    members = [answer.model for answer, _ in answers]
    everybody = [record for those in present.values() for record in those]
    compared = [
        Compared(run, dict(log.final), answer.final, seconds)
        for (run, log), (answer, seconds) in zip(link.runs.items(), answers, strict=True)
    ]
    return learner.assemble(link, origin, members, everybody, task), compared


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
