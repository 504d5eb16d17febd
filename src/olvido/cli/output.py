"""The one place that prints: JSON for programs, tables for people, one line for errors.

Standard output has the result and nothing else; progress and errors go to standard error. Exit
status 0 means done, 1 that the answer is no, 2 that input or environment is wrong.

Progress of a long command is a bar with the remaining time for people, a line a stage for logs.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.errors import Action, InputError, OlvidoError, Term
from olvido.files import finite
from olvido.processes import first_to_fail, is_main
from olvido.settings import Settings, find_folder

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress
    from rich.table import Table

    from olvido.learners import Progress as StepProgress
    from olvido.learners import Watcher
    from olvido.ledger.store import Store
    from olvido.models import Loaded


_UNFOLDED = 100_000
_END = 500


@dataclass(frozen=True, slots=True)
class Shared:
    """The options before the command's name: `olvido --workspace DIR models`."""

    workspace: Path | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class Terminal:
    """The environment of a command: settings, ledger and output; each is read at first use."""

    workspace: Path | None
    json: bool

    def settings(self) -> Settings:
        """The workspace's settings. Raises InputError where there is no workspace."""
        return Settings.find(self.workspace)

    def computing(self) -> Settings:
        """The settings for computing: the workspace's, or OLVIDO_* alone without a workspace."""
        return Settings.load(find_folder(self.workspace) or Path.cwd())

    def load(self, name: str, *, seed: int = 0) -> Loaded:
        """Load a model from outside the ledger, with the device and dtype of `computing`."""
        from olvido.models import load

        how = self.computing()
        return load(name, seed=seed, dtype=how.dtype, device=how.device, trusted=how.trusted)

    def store(self) -> Store:
        """The workspace's ledger, opened with its key; close it or use it in a `with` block."""
        from olvido.ledger.identity import Key
        from olvido.ledger.store import Store

        settings = self.settings()
        return Store.open(settings.ledger, key=Key.load(settings.key))

    def emit(self, document: Mapping[str, Any], *human: RenderableType) -> None:
        """Print the result: the document under --json, else the text for people.

        Values that JSON lacks are written as their text (dates, paths, digests) or as null (a
        number that is not finite). Of several processes the main one alone prints.
        """
        if not is_main():
            return
        if self.json:
            text = json.dumps(finite(document), ensure_ascii=False, indent=2, default=str)
            # JSON itself does not escape marks of direction and C1 escapes.
            escaped = (json.dumps(c)[1:-1] if _commands(c) else c for c in text)
            sys.stdout.write("".join(escaped) + "\n")
        else:
            from rich.console import Console

            # Output to a file or another program is not folded to a window.
            console = Console(highlight=False, width=None if sys.stdout.isatty() else _UNFOLDED)
            for part in human:
                if isinstance(part, str):
                    console.print(harmless(part), soft_wrap=True, markup=False)
                else:
                    console.print(part, markup=False)
        # A full disk or a closed pipe shall fail here, not after the exit status was decided.
        sys.stdout.flush()

    def say(self, line: str) -> None:
        """Print a line for people on standard error; silent under --json."""
        if not self.json and is_main():
            from rich.console import Console

            console = Console(stderr=True, highlight=False)
            console.print(harmless(line), markup=False, soft_wrap=True)

    def progress(self) -> Progress:
        """Bars with the remaining time, on standard error; silent if that is no terminal."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table that shows its cells verbatim, without interpreting markup."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for index, column in enumerate(columns):
        # The first column names the row, maybe by an id for copying: it is never broken.
        drawn.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else harmless(str(cell))) for cell in row))
    return drawn


def harmless(text: str) -> str:
    """A text without terminal commands: the names of datasets and files may contain some.

    Escapes, other control characters and marks that turn the writing's direction become U+FFFD;
    line ends and tabs stay.

    >>> harmless("city\\x1b[2J market") == "city\\ufffd[2J market"
    True
    """
    return "".join("\N{REPLACEMENT CHARACTER}" if _commands(c) else c for c in text)


def _commands(character: str) -> bool:
    return character not in "\n\t\u200c\u200d" and unicodedata.category(character) in _COMMANDS


_COMMANDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_WORKSPACE = Annotated[
    Path | None,
    typer.Option("--workspace", help="The workspace's folder.", show_default=False, metavar="DIR"),
]


def command(function: Callable[..., bool | None]) -> Callable[..., None]:
    """Make a function a command: it gets a Terminal first, and options --json and --workspace.

    It returns False when the answer is no, which is exit status 1.
    """
    signature = inspect.signature(function, eval_str=True)
    only = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", only, annotation=typer.Context),
        *(p.replace(kind=only) for p in list(signature.parameters.values())[1:]),
        inspect.Parameter("workspace", only, annotation=_WORKSPACE, default=None),
        inspect.Parameter("json", only, annotation=_JSON, default=False),
    ]

    @functools.wraps(function)
    def run(
        *, context: typer.Context, workspace: Path | None, json: bool, **arguments: Any
    ) -> None:
        _require_text([*arguments.values(), workspace])
        before = context.obj or Shared()
        shared = Shared(workspace or before.workspace, json or before.json)
        if context.invoked_subcommand is not None:
            context.obj = shared
            return
        try:
            if function(Terminal(shared.workspace, shared.json), **arguments) is False:
                raise typer.Exit(1)
        except OlvidoError as error:
            raise typer.Exit(fail(error.rendered(partial(flag, context.command)))) from error

    # Typer reads parameters from the signature.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _require_text(values: Iterable[object]) -> None:
    """Refuse arguments that are no UTF-8: neither JSON nor the ledger could hold them."""
    for value in values:
        for one in value if isinstance(value, list) else (value,):
            try:
                str(one).encode()
            except UnicodeEncodeError:
                raise InputError(f"{one!s} is no UTF-8: write it in UTF-8") from None


def flag(command: Any, parameter: Term) -> str:
    """The command-line name of a parameter of the library: its option or argument.

    An option of the command's method is written as such; a parameter that the command lacks keeps
    its name. An action is written as its own command.
    """
    if isinstance(parameter, Action):
        return str(parameter)
    wanted = f"--{parameter.name.replace('_', '-')}"
    for one in command.params:
        if wanted in one.opts:
            turned_off = parameter.value is False and one.secondary_opts
            return str(one.secondary_opts[0]) if turned_off else wanted
    if any(one.name == parameter.name for one in command.params):
        return parameter.name.upper()
    if any("--option" in one.opts for one in command.params):
        value = "" if parameter.value is None else f"={str(parameter.value).lower()}"
        return f"--option {parameter.name}{value}"
    return parameter.name


def complain(message: str) -> None:
    """Print any message as one line on standard error; of a long one both ends."""
    line = " ".join(message.split())
    if len(line) > 2 * _END:
        line = f"{line[:_END]} ... {line[-_END:]}"
    sys.stderr.write(f"olvido: {harmless(line)}\n")


def fail(message: str) -> int:
    """Print an error, unless another process did; return the exit status."""
    if first_to_fail():
        complain(message)
    return 2


Stage = Callable[[str], "Watcher | None"]


@contextmanager
def stages(terminal: Terminal) -> Iterator[Stage]:
    """Return a function to call with the name of each stage; it returns a progress callback.

    With several processes only the main one prints.
    """
    from transformers.utils import logging

    # Bars of transformers would mix with ours, and with the one line of an error.
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

            def watch(progress: StepProgress) -> None:
                bars.update(bar, completed=progress.step, total=progress.total)

            return watch

        yield stage
