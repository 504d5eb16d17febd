"""What a long command is doing: a bar with the time left for people, a line a stage for logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from olvido.cli.given.output import Terminal
from olvido.processes import is_main

if TYPE_CHECKING:
    from olvido.learners import Progress, Watcher

Stage = Callable[[str], "Watcher | None"]


@contextmanager
def stages(terminal: Terminal) -> Iterator[Stage]:
    """Give a function to be called with what begins; it gives back who is told of the steps.

    Of several processes the main one tells people.
    """
    from transformers.utils import logging

    # Bars of its own would stand between ours, and beside the one line of an error.
    logging.disable_progress_bar()
    if not is_main():
        yield lambda _: None
        return
    with terminal.progress() as bars:

        def stage(title: str) -> Watcher:
            for bar in bars.task_ids:
                bars.remove_task(bar)
            if not sys.stderr.isatty() and not terminal.json:
                sys.stderr.write(f"{title}\n")
            bar = bars.add_task(title, total=None)

            def watch(progress: Progress) -> None:
                bars.update(bar, completed=progress.step, total=progress.total)

            return watch

        yield stage
