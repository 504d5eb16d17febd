"""`olvido forget`: make any Hugging Face causal model forget the records of a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.arguments import Encoding, widened
from olvido.cli.output import Terminal, command, stages, table

if TYPE_CHECKING:
    from olvido.methods import Trial

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
        typer.Option("--holdout", help="Records of the same kind that it never saw."),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", help="A model that never saw them, to see where to stop."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="The model that its training began with, for arithmetic."),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="See 'olvido methods'; auto searches.")
    ] = "npo",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the method.")
    ] = None,
    within: Annotated[
        float | None,
        typer.Option("--within", metavar="SECONDS", help="With auto: the time for the search."),
    ] = None,
    trials: Annotated[
        Path | None,
        typer.Option("--trials", help="With auto: a folder of finished trials; none runs twice."),
    ] = None,
    encoding: Encoding = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of order and sampling.")] = 0,
) -> None:
    """Make a model forget records, and write the model that forgot.

    The claim is empirical until `olvido audit` has passed. Nothing is written when the method
    changes nothing or destroys the model's utility.
    """
    from olvido.cli.arguments import method_options, reader, require_folder, require_model
    from olvido.errors import InputError
    from olvido.files import write_document
    from olvido.methods import forget as door
    from olvido.models import save
    from olvido.processes import from_main
    from olvido.schemas.outcome import OUTCOME
    from olvido.tasks import Language

    for name in (model, base, *(reference or ())):
        require_model(name)
    written = list(option or [])
    for name, value in (("within", within), ("trials", trials)):
        if value is not None:
            if method != "auto":
                raise InputError(f"--{name} belongs to the search: give it with --method auto")
            written.append(f"{name}={value}")
    options = method_options(method, written)
    if out.exists():
        raise InputError(f"{out} exists already: name a new folder with --out")
    require_folder(out)
    read = reader(terminal, encoding)
    given = {
        "forget": read(rows),
        "retain": read(retain),
        "holdout": read(holdout),
    }
    with stages(terminal) as stage:
        stage(f"Loading {model}")
        loaded = terminal.load(model)
        never = [terminal.load(name).model for name in reference or ()]
        outcome = door(
            loaded.model,
            forget=given["forget"],
            retain=given["retain"],
            holdout=given["holdout"],
            reference=never,
            base=None if base is None else terminal.load(base),
            task=Language(loaded.tokenizer, chat=chat),
            method=method,
            seed=seed,
            watch=stage(f"Forgetting by {method}"),
            **options,
        )
    # Beside the model it tells an audit which models are no references.
    said = outcome.to_dict()

    def describe(unfinished: Path) -> None:
        write_document(said, unfinished / OUTCOME)

    from_main(partial(save, outcome.model, loaded.tokenizer, out, fill=describe))
    wider = widened(model, terminal.computing().dtype)
    document = {**said, "path": str(out), "note": wider}
    shown = [
        ("written to", out),
        ("guarantee", f"{outcome.guarantee}, once 'olvido audit' has passed"),
        ("loss on the forgotten", "{:.3f} -> {:.3f}".format(*outcome.forget_loss)),
        ("loss on the retained", "{:.3f} -> {:.3f}".format(*outcome.retain_loss)),
        *([("trained from", outcome.origin)] if outcome.origin else []),
        ("ended", outcome.stopped),
        ("seconds", f"{outcome.cost.seconds:.1f}"),
    ]
    shown += [
        (f"trial {number}", _trial_line(trial)) for number, trial in enumerate(outcome.trials, 1)
    ]
    advice = "Now ask what it still knows: olvido audit (see 'olvido audit --help')."
    terminal.emit(document, table(("what", "value"), shown), *([wider] if wider else []), advice)


def _trial_line(trial: Trial) -> str:
    """One line about a trial of a search, for people."""
    rate = trial.options["lr"]
    line = f"{trial.method} at lr {rate:.3g}: {trial.side.value}, {trial.seconds:.1f} s"
    loss = trial.proxies.get("loss")
    return line if loss is None else f"{line}, loss {loss:+.1%} beside never learned"
