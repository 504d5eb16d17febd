"""`olvido demo`: all steps, from training to a certificate, on a town of fictitious people."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

import typer

from olvido.cli.output import Terminal, command, stages, table

commands = typer.Typer()


@commands.command()
@command
def demo(
    terminal: Terminal,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A new folder; without it, olvido-demo, or -2 and on."),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="A smaller town, about a minute.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of town, training, forgetting.")] = 0,
    method: Annotated[
        str | None, typer.Option("--method", help="Try this first; see 'olvido methods'.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the method.")
    ] = None,
    references: Annotated[
        int, typer.Option("--references", min=1, help="Never-trained models to audit against.")
    ] = 3,
) -> bool:
    """Learn a town, forget one resident, audit, publish, and write a report with pictures."""
    from olvido.cli.arguments import method_options
    from olvido.demo.story import tell
    from olvido.errors import InputError

    if option and method is None:
        raise InputError("--option needs --method: options belong to a method")
    options = method_options(method, option or []) if method else {}
    folder = out or _free_folder(Path("olvido-demo"))
    with stages(terminal) as stage:
        story = tell(
            folder,
            seed=seed,
            fast=fast,
            method=method,
            options=options,
            references=references,
            stage=stage,
            say=terminal.say,
        )
    data = story.document
    parts: list[Any] = []
    if data["recall"]:
        parts.append(
            table(
                ("share of answers right", "before", "after", "never trained"),
                [
                    (probe.replace("_", " "), *(f"{value:.3f}" for value in shares.values()))
                    for probe, shares in data["recall"].items()
                ],
            )
        )
    terminal.emit(data, *parts, _ending(data))
    return bool(data["verdict"] == "pass")


def _free_folder(first: Path) -> Path:
    """The first of `olvido-demo`, `olvido-demo-2`, ... that does not exist or is empty.

    An earlier demo is not overwritten: people try commands in it, with their own data and models.
    """
    others = (first.with_name(f"{first.name}-{number}") for number in count(2))
    free = (at for at in chain([first], others) if not at.exists() or _empty(at))
    return next(free)


def _empty(at: Path) -> bool:
    return at.is_dir() and not any(at.iterdir())


def _ending(data: dict[str, Any]) -> str:
    name = data["resident"]
    if data["verdict"] == "pass":
        text = f"{name} is forgotten ({data['guarantee']}, by {data['method']}): the audit passed."
    else:
        text = f"{name} is NOT forgotten by {data['method']}: {'; '.join(data['reasons'])}."
    if data["escalated"]:
        text += f"\nEscalated to {data['escalated']['method']}: {data['escalated']['verdict']}."
    if data["cost"]:
        text += (
            f"\nForgetting took {data['cost']['seconds']:.1f} s, "
            f"{data['cost']['share_of_retraining_time']:.1%} of training's "
            f"{data['cost']['training_seconds']:.1f} s."
        )
    return f"{text}\nAll of it took {data['seconds']:.0f} s. Report: {data['report']}"
