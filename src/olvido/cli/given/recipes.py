"""How to train, on the command line: options that several commands share, and what they come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from olvido.learners import Recipe

_PANEL = "How to train"

Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the data.", rich_help_panel=_PANEL)
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Records a forward pass.", rich_help_panel=_PANEL)
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
        help="Of the forward pass: float32 or bfloat16.",
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
) -> Recipe:
    """The model's own recipe where it has one, with what was given in its place.

    Raises:
        InputError: a value that no recipe takes.
    """
    from olvido.learners import RECIPES, Lora, Recipe

    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "dtype": dtype}
    return replace(
        RECIPES.get(model, Recipe()),
        **{name: value for name, value in given.items() if value is not None},
        lora=None if lora_rank is None else Lora(rank=lora_rank, alpha=2 * lora_rank),
    )


def widened(model: str, dtype: str) -> str | None:
    """What to tell of a checkpoint whose weights are written in another type than it came in.

    What was trained or forgotten is kept in the type that it was computed in: rounded back, small
    changes would be undone, and what is audited would not be what is saved.
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
