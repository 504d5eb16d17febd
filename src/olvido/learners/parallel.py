"""Independent runs in parallel by joblib: local processes, or Ray or Dask where configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, TypeVar

from olvido.errors import InputError, require_count
from olvido.processes import world_size

T = TypeVar("T")

_ALONE = Lock()
"""The lock of jobs in this process: torch's random state and its deterministic kernels are
the process's, so where a backend has threads (some of Dask's do), jobs take turns."""


def side_by_side(jobs: Sequence[Callable[[], T]], *, workers: int) -> Iterator[T]:
    """The results of jobs in their order, each as soon as it and those before it are done.

    One worker runs them here, one after the other. More run them under joblib's current backend:
    loky's processes unless `joblib.parallel_config(backend=...)` says otherwise. A job pins its own
    number of threads, so its bits do not depend on how many run beside it.

    Args:
        jobs: functions without arguments, picklable.
        workers: jobs at a time.

    Raises:
        InputError: no worker, or several in one of several processes that share a run.
    """
    require_count("workers", workers, most=1_024)
    if workers > 1 and world_size() > 1:
        raise InputError(
            f"{world_size()} processes share every run here, and none of them can have "
            f"{workers} workers of its own: use one worker, or start one process"
        )
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job()
        return
    from joblib import Parallel, delayed

    parallel: Any = Parallel(n_jobs=workers, return_as="generator")
    yield from parallel(delayed(_call)(job) for job in jobs)


def _call(job: Callable[[], T]) -> T:
    with _ALONE:
        return job()
