"""`olvido forget`: make any Hugging Face causal model forget the records of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.output import Terminal, command, table
from olvido.cli.stages import stages

commands = typer.Typer()


@commands.command()
@command
def forget(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(help="A folder, a hub id, tiny or smollm2.")],
    rows: Annotated[Path, typer.Option("--forget", help="Records to forget.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the model that forgot.")],
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    holdout: Annotated[
        Path | None,
        typer.Option("--holdout", help="Records of the same making that it never saw."),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="See 'olvido methods'.")] = "npo",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the method.")
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of order and sampling.")] = 0,
) -> None:
    """Make a model forget records, and write the model that forgot.

    The claim is empirical until `olvido audit` has passed. Nothing is written when the method
    changes nothing or destroys what should be kept.
    """
    from olvido.cli.options import method_options
    from olvido.cli.rows import examples_of
    from olvido.errors import InputError
    from olvido.forgetting import forget as door
    from olvido.models import load, save
    from olvido.tasks import Language

    options = method_options(method, option or [])
    if out.exists():
        raise InputError(f"{out} exists already: name a new folder with --out")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{out} cannot be made: {above} is no folder that may be written to")
    given = {
        "forget": examples_of(rows, "forget"),
        "retain": examples_of(retain, "retain"),
        "holdout": examples_of(holdout, "holdout"),
    }
    with stages(terminal) as stage:
        stage(f"Loading {model}")
        loaded = load(model)
        outcome = door(
            loaded.model,
            **given,
            task=Language(loaded.tokenizer, chat=chat),
            method=method,
            seed=seed,
            watch=stage(f"Forgetting by {method}"),
            **options,
        )
    save(outcome.model, loaded.tokenizer, out)
    document = {**outcome.to_dict(), "path": str(out)}
    shown = [
        ("written to", out),
        ("guarantee", f"{outcome.guarantee}, once 'olvido audit' has passed"),
        ("loss on the forgotten", "{:.3f} -> {:.3f}".format(*outcome.forget_loss)),
        ("loss on the retained", "{:.3f} -> {:.3f}".format(*outcome.retain_loss)),
        ("ended", outcome.stopped),
        ("seconds", f"{outcome.cost.seconds:.1f}"),
    ]
    advice = "Now ask what it still knows: olvido audit (see 'olvido audit --help')."
    terminal.emit(document, table(("what", "value"), shown), advice)
