"""The processes that share a run, as `torchrun` or `accelerate launch` started them.

All of them run the same program. The main one alone writes; it sends its results to the others,
so that all take the same branches. Also independent runs in parallel, which joblib starts: local
processes, or Ray or Dask where configured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from olvido.errors import InputError, OlvidoError, require_count
from olvido.files import held_folder, make_folder

T = TypeVar("T")

_ALONE = Lock()
"""The lock of jobs in this process: torch's random state and its deterministic kernels are
the process's, so where a backend has threads (some of Dask's do), jobs take turns."""


def world_size() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return world_size() == 1 or os.environ.get("RANK", "0") == "0"


def join() -> None:
    """Join the other processes, if any: from here on the main one can send them results.

    Accelerate may set this process's number of threads, so it comes before that number is read.
    """
    if world_size() > 1:
        import torch
        from accelerate import PartialState

        asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        PartialState(cpu=asked or not torch.cuda.is_available())


def from_main(compute: Callable[[], T]) -> T:
    """Compute a value in the main process and send it to all others, which wait for it.

    Args:
        compute: called in the main process alone; its result has to be picklable.

    Raises:
        OlvidoError, OSError: what `compute` raised, in every process.

    >>> from_main(lambda: 3)
    3
    """
    if world_size() == 1:
        return compute()
    join()
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None, None]
    if is_main():
        try:
            outcome[0] = compute()
        except (OlvidoError, OSError) as error:
            outcome[1] = error
    result, failure = broadcast_object_list(outcome)
    if failure is not None:
        raise failure
    return result


def mine(items: Iterable[T]) -> Iterator[T]:
    """This process's part of a work that all share: every one of so many in turn.

    >>> list(mine("abc"))
    ['a', 'b', 'c']
    """
    rank = int(os.environ.get("RANK", "0")) if world_size() > 1 else 0
    return islice(items, rank, None, world_size())


def from_all(found: T) -> list[T]:
    """What every process found, in the order of their ranks; each has to call it.

    >>> from_all(3)
    [3]
    """
    if world_size() == 1:
        return [found]
    join()
    from accelerate.utils import gather_object

    return list(gather_object([found]))


def first_to_fail() -> bool:
    """Whether no other process has failed yet, so that an error is said once.

    The launcher's store counts, which outlives a process that ends.
    """
    if world_size() == 1:
        return True
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=5),
            wait_for_workers=False,
        )
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return bool(store.add(f"olvido/failed/{restarts}", 1) == 1)
    except (KeyError, ValueError, RuntimeError):
        # Without a store nobody else can have said it.
        return True


@contextmanager
def under_way(run: Path) -> Iterator[None]:
    """Hold the folder of a run, so that nobody takes its checkpoints away from it."""
    if not is_main():
        yield
        return
    make_folder(run)
    with held_folder(run):
        try:
            yield
        finally:
            if run.is_dir() and not any(run.iterdir()):
                run.rmdir()


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
