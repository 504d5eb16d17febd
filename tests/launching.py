"""Processes that have in them what they would import: to import it takes longer than to run.

They are forked from one server for each process of the tests. `launched` begins several that share
a run by the launcher behind `torchrun`, which `tests/cli/test_processes.py` starts as people do.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

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


def _run(program: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
    signal.alarm(SECONDS)
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
