"""Processes that have in them what they would import: to import it takes longer than to run.

They are forked from one server for each process of the tests. `launched` begins several that share
a run by the launcher behind `torchrun`, which `tests/cli/test_processes.py` starts as people do.
Where a process of its own is not what a test is about, its work is done in the test's own.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from olvido.benchmark import cell
from olvido.learners import fresh

FORKS = multiprocessing.get_context("forkserver")
IMPORTED = ["olvido.cli", "olvido.workspace", "olvido.methods", "olvido.audits", __name__]
FORKS.set_forkserver_preload(IMPORTED)

SECONDS = 240
"""How long one of several processes may run."""


def launched(
    program: Path, *arguments: str, world: int, environment: Mapping[str, str] | None = None
) -> None:
    """Run a program in several processes, as `torchrun --standalone` does.

    Args:
        program: a file of Python.
        arguments: what it finds in `sys.argv`.
        world: the number of processes.
        environment: variables that each of them gets besides.

    Raises:
        ChildFailedError: one of them failed, with its traceback.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=world,
        run_id=str(uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="forkserver",
    )
    given = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", **(environment or {})}
    elastic_launch(config, _run)(str(program), arguments, given)


def cells_here(patch: pytest.MonkeyPatch) -> None:
    """Let the cells of a comparison be carried out in the test's own process."""

    def run(*_: Any, input: bytes, **__: Any) -> SimpleNamespace:
        cell.main(io.BytesIO(input))
        return SimpleNamespace(returncode=0)

    patch.setattr("olvido.benchmark.base.subprocess", SimpleNamespace(run=run))


def carried_out_here(sent: Path) -> tuple[fresh.ProcessResult, float]:
    """What a fresh process makes of a training that is to be repeated, in the test's own."""
    return fresh._carried_out(fresh.take(sent)), 0.0


def _run(program: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
    signal.alarm(SECONDS)
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
