"""The arguments of commands: options, files of records, and output paths.

Options of methods and learners, as `--option lr=1e-4`, are read by their types; several commands
share the options of training. Output paths are checked before anything is computed for them.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.errors import InputError, UnknownName

if TYPE_CHECKING:
    from olvido.cli.output import Terminal
    from olvido.learners import Recipe
    from olvido.tasks import Example


def method_options(method: str, written: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` options of a method.

    Raises:
        UnknownName: no such method, or no such option of it; the nearest is named.
        InputError: no `=`, or a value that the method does not take.
    """
    from olvido.methods import METHODS

    read = _read(method, METHODS.options(method), written)
    # Only the method knows which values it takes: check before anything is loaded or written.
    METHODS.make(method, read)
    return read


def learner_options(learner: str, written: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` options of a learner.

    Raises:
        UnknownName: no such learner, or no such option of it; the nearest is named.
        InputError: no `=`, or a value that the learner does not take.
    """
    from olvido.learners import LEARNERS

    read = _read(learner, LEARNERS.options(learner), written)
    LEARNERS.make(learner, read)
    return read


def attribution_options(method: str, written: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` options of a tracing method.

    Raises:
        UnknownName: no such method, or no such option of it; the nearest is named.
        InputError: no `=`, or a value that the method does not take.
    """
    from olvido.attribution.base import attribution_options, make_attribution

    make_attribution(method, {})
    read = _read(method, attribution_options(method), written)
    make_attribution(method, read)
    return read


def _read(whose: str, known: Mapping[str, Any], written: Sequence[str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"write an option as name=value, got {text!r}")
        if name not in known:
            raise UnknownName(f"option of {whose}", name, known)
        read[name] = _value(f"option {name} of {whose}", known[name], value)
    return read


def _value(what: str, kind: Any, text: str) -> Any:
    union = isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
    kinds = typing.get_args(kind) if union else (kind,)
    if type(None) in kinds and text == "none":
        return None
    for candidate in kinds:
        if candidate is type(None):
            continue
        if candidate is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise InputError(f"{what} must be true or false, got {text!r}")
        try:
            return candidate(text)
        except ValueError:
            continue
    names = " or ".join(k.__name__ for k in kinds if k is not type(None))
    raise InputError(f"{what} must be {names}, got {text!r}")


_PANEL = "How to train"

Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the data.", rich_help_panel=_PANEL)
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Records a forward pass.", rich_help_panel=_PANEL)
]
MicroBatch = Annotated[
    int | None,
    typer.Option(
        "--micro-batch",
        help="Records in memory at once, of a batch; all.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Rate = Annotated[
    float | None, typer.Option("--lr", help="Peak learning rate.", rich_help_panel=_PANEL)
]
LoraRank = Annotated[
    int | None,
    typer.Option(
        "--lora-rank",
        help="Train adapters of this rank, merged at the end.",
        rich_help_panel=_PANEL,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Type of the forward pass: float32 or bfloat16.",
        rich_help_panel=_PANEL,
    ),
]


def recipe_of(
    model: str,
    *,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    lora_rank: int | None,
    dtype: str | None,
    weights: str,
    micro_batch: int | None = None,
) -> Recipe:
    """The model's own recipe where it has one, with the given values in place of its own.

    Weights that may have 16 bits (`weights`, the type they are loaded in) get master weights.

    Raises:
        InputError: a value that no recipe takes.
    """
    from olvido.learners import RECIPES, Lora, Recipe

    given: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "dtype": dtype,
        "micro_batch": micro_batch,
    }
    return replace(
        RECIPES.get(model, Recipe()),
        **{name: value for name, value in given.items() if value is not None},
        lora=None if lora_rank is None else Lora(rank=lora_rank, alpha=2 * lora_rank),
        master_weights=weights not in ("float32", "float64"),
    )


def widened(model: str, dtype: str) -> str | None:
    """A note about a checkpoint whose weights are written in another dtype than it had; else None.

    Weights are saved in the dtype of the computation: rounding them back would undo small changes,
    and the audited model would not be the saved one.
    """
    from olvido.models.folder import stored_types

    came = stored_types(Path(model)) if Path(model).is_dir() else frozenset[str]()
    others = sorted(came - {dtype})
    if not others:
        return None
    return (
        f"{model} came in {' and '.join(others)}; its weights are computed and written in {dtype}, "
        "as they will be audited. OLVIDO_DTYPE or 'dtype' in olvido.toml says it otherwise."
    )


Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Encoding of text files that are not UTF-8, as cp1252 or utf-16.",
    ),
]


def reader(
    terminal: Terminal, encoding: str | None
) -> Callable[[Path | None], tuple[Example, ...]]:
    """Return `examples_of` for the files of one command, which reports how they are read."""
    return partial(examples_of, encoding=encoding, tell=terminal.say)


def examples_of(
    path: Path | None,
    side: str | None = None,
    *,
    encoding: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Example, ...]:
    """Read the records of a file, with the checks of the ledger; none for None.

    Args:
        path: the file, see `olvido.data.read_rows`.
        side: the use of the records, as "forget", for the error about a file that has none.
        encoding: the encoding of a text file that is not UTF-8.
        tell: called with a line about how the file is read, if that was detected.

    Raises:
        BadRow: a row that cannot be read or whose id occurred before, named by file and line.
        InputError: no such file, or no row in it.
    """
    from olvido.data import read_rows
    from olvido.data.parsing import ClearParser
    from olvido.errors import BadRow, InputError
    from olvido.tasks.base import another, example_of

    if path is None:
        return ()
    parser = ClearParser(str(path))
    read: dict[str, Example] = {}
    for line, row in read_rows(path, encoding=encoding, tell=tell):
        if isinstance(row, BadRow):
            raise row
        content = parser.content(line, row)
        try:
            example = example_of(content)
        except InputError as error:
            raise BadRow(str(path), line, str(error)) from error
        if content.get("id") is None:
            example = another(example, read)
        if example.id in read:
            raise BadRow(str(path), line, f"the id {example.id!r} stands twice; ids are unique")
        read[example.id] = example
    if not read:
        what_for = f" to {side}" if side else ""
        raise InputError(f"{path} holds no record{what_for}: give a file with one record a line")
    return tuple(read.values())


def require_page(path: Path | None) -> None:
    """Refuse a path that cannot become an HTML file.

    Raises:
        InputError: another kind of file, or a folder that is not there or may not be written to.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InputError(f"a page is an HTML file: name one that ends in .html, got {path}")
    _require_folder_of(path)


def require_new_file(path: Path | None) -> None:
    """Refuse a path that exists already or cannot be created.

    Raises:
        InputError: it exists or cannot be created.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a new file in it")
    if path.exists():
        raise InputError(f"{path} exists already: name a new file")
    _require_folder_of(path)


def require_folder(path: Path | None) -> None:
    """Refuse a path that is no folder and cannot become one.

    Raises:
        InputError: it is a file, or the folder above it may not be written to.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is no folder: name one, or a new one")
    _require_writable(path)


def require_model(name: str | None) -> None:
    """Refuse a path without a folder, before the libraries that would read it are loaded.

    A possible short name, hub id or model of the ledger is accepted.

    Raises:
        InputError: there is no such folder.
    """
    if name is None:
        return
    written_as_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if not name.strip() or (written_as_path and not Path(name).is_dir()):
        raise InputError(f"there is no folder {name!r}: give a model's folder, a name or a hub id")


def _require_folder_of(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} into: make it")
    _require_writable(path.parent)


def _require_writable(path: Path) -> None:
    above = next(f for f in (path.absolute(), *path.absolute().parents) if f.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{path} cannot be made: {above} is no folder that may be written to")
