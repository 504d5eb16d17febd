"""One run in a fresh process, which only has the data that it was sent."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from olvido.errors import OlvidoError, StateError
from olvido.learners.parts import Job, Trainer
from olvido.tasks import Example, Task
from olvido.training.environment import environment, require_same
from olvido.training.execute import RunSpec
from olvido.training.traces.steps import Origin

_CHILD = "from olvido.learners.fresh import main; main()"
_LAUNCHED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which a process would take itself for one of several that share a run."""


@dataclass(frozen=True)
class ProcessJob:
    """A run to send to a fresh process: no checkpoint, and no record that is absent.

    Attributes:
        origin: file with the module that the run begins with.
        spec: determines the run; of absent records it has the id and the length.
        records: the present ones only.
        task: how they become losses.
        trainer: carries the run out.
        threads: the learner's number of threads for the run; None: the process's.
    """

    origin: Path
    spec: RunSpec
    records: tuple[Example, ...]
    task: Task
    trainer: Trainer
    threads: int | None


@dataclass(frozen=True)
class ProcessResult:
    """The run's result: its model, and digests of the state at its end."""

    model: Module
    final: dict[str, str]


def carry_out_fresh(sent: Path) -> tuple[ProcessResult, float]:
    """Carry out the run in a file in a new Python, from its beginning.

    The process gets this one's module paths and environment variables; its working directory is
    the file's folder.

    Args:
        sent: file that `put` wrote; the result is written beside it.

    Returns:
        The result, and the process's seconds.

    Raises:
        OlvidoError: the error that ended the run there.
        StateError: the process itself failed.
    """
    answer = sent.with_suffix(".answer")
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", _CHILD, str(sent), str(answer)],
        cwd=sent.parent,
        env=_surroundings(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if ended.returncode != 0 or not answer.exists():
        said = ended.stderr.decode(errors="replace").strip().splitlines() or ["nothing was said"]
        raise StateError(
            f"the fresh process for {sent.stem} ended with status {ended.returncode} ({said[-1]}): "
            "see that memory and disk suffice, and that the task and the model can be imported"
        )
    found = take(answer)
    answer.unlink()
    if isinstance(found, OlvidoError):
        raise found
    return found, seconds


def put(value: Any, path: Path) -> None:
    """Write a value for another process; classes of a script or notebook are pickled by value."""
    import cloudpickle

    with path.open("wb") as file:
        cloudpickle.dump(value, file)


def take(path: Path) -> Any:
    """Read a value that `put` wrote."""
    with path.open("rb") as file:
        return pickle.load(file)


def main() -> None:
    """Carry out the run in the first argument's file; write the result to the second's."""
    sent, answer = map(Path, sys.argv[1:])
    try:
        found: ProcessResult | OlvidoError = _carried_out(take(sent))
    except OlvidoError as error:
        found = error
    put(found, answer)


def _carried_out(sent: ProcessJob) -> ProcessResult:
    spec = sent.spec
    torch.set_num_threads(int(spec.environment["threads"]))
    origin = Origin(partial(take, sent.origin), spec.origin)
    model = origin.module()
    device = next(model.parameters()).device
    require_same(spec.environment, environment(device, model=model))
    job = Job(model, origin, sent.records, sent.task, spec, sent.trainer, threads=sent.threads)
    trained, result = sent.trainer(job, None)
    return ProcessResult(trained, dict(result.final))


def _surroundings() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _LAUNCHED and not name.startswith("ACCELERATE_")
    }
    return kept | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
