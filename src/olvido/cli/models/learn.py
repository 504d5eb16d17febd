"""`olvido learn`: train a model on datasets of the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.arguments import (
    BatchSize,
    Dtype,
    Epochs,
    LoraRank,
    MicroBatch,
    Rate,
    recipe_of,
    widened,
)
from olvido.cli.output import Terminal, command, stages, table

if TYPE_CHECKING:
    from olvido.learners import Spent
    from olvido.workspace import Workspace

commands = typer.Typer()


@commands.command()
@command
def learn(
    terminal: Terminal,
    datasets: Annotated[list[str], typer.Argument(help="Datasets of the workspace, or 'tofu'.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="tiny, smollm2, a folder, a hub id, or a learned model; for arrays mlp, convnet, "
            "or package.module:function. Default: tiny; mlp for vectors, convnet for pictures.",
        ),
    ] = None,
    learner: Annotated[
        str, typer.Option("--learner", help="How to train; see 'olvido learners'.")
    ] = "monolith",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Such as shards=5, of the learner."),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", help="Of --learner private: the promise, such as 3."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option("--noise", help="Of --learner private, in place of --epsilon: such as 0.8."),
    ] = None,
    replay: Annotated[
        float | None,
        typer.Option(
            "--replay",
            metavar="SHARE",
            help="Of what --model learned before, to teach again: such as 0.05.",
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    micro_batch: MicroBatch = None,
    lr: Rate = None,
    lora_rank: LoraRank = None,
    dtype: Dtype = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the run.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Of --learner private: say the promise, and train nothing."),
    ] = False,
    authors: Annotated[
        str | None, typer.Option("--authors", metavar="FIRST-LAST", help="Of 'tofu': which.")
    ] = None,
) -> None:
    """Train a model so that it can forget later. A run that was killed resumes.

    Under accelerate launch or torchrun, all processes share the training and one writes.
    """
    from olvido.cli.arguments import learner_options, require_model
    from olvido.errors import InputError
    from olvido.learners import LEARNERS, Private
    from olvido.processes import from_main, is_main
    from olvido.workspace import Workspace

    require_model(model)
    given = (("epsilon", epsilon), ("noise", noise))
    further = [f"{name}={value}" for name, value in given if value is not None]
    options = learner_options(learner, [*(option or []), *further])
    private = chosen if isinstance(chosen := LEARNERS.make(learner, options), Private) else None
    if dry_run and private is None:
        raise InputError(
            f"--dry-run says what a private training will promise, and {learner} promises nothing: "
            "give --learner private, or leave --dry-run out"
        )
    if authors is not None and "tofu" not in datasets:
        raise InputError("--authors chooses within 'tofu': name tofu among the datasets")
    with Workspace(terminal.settings()) as workspace, stages(terminal) as stage:
        names = from_main(lambda: [_named(workspace, name, authors) for name in datasets])
        model = model or workspace.usual(names)
        recipe = recipe_of(
            model,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            lora_rank=lora_rank,
            dtype=dtype,
            weights=workspace.settings.dtype,
            micro_batch=micro_batch,
        )
        if private is not None:
            promise = workspace.foretell(
                names, learner=private, recipe=recipe, model=model, replay=replay, seed=seed
            )
            if dry_run:
                _foretold(terminal, promise)
                return
            terminal.say(f"This training will promise {promise}.")
        made = workspace.learn(
            names,
            model=_found_from_anywhere(model),
            recipe=recipe,
            seed=seed,
            task=None if chat is None else {"chat": chat},
            learner=learner,
            options=options,
            replay=replay,
            watch=stage(f"Training {model} on {', '.join(names)}"),
        )
        if not is_main():
            return
        withdrawn = sum(len(workspace.store.withdrawn(name)) for name in dict.fromkeys(names))
        new = {workspace.store.dataset(name).id for name in names}
        replayed = sum(
            workspace.store.dataset(use.dataset).rows - len(use.excluded)
            for use in workspace.store.uses(made.id)
            if use.dataset not in new
        )
        first = workspace.store.alias("serving") is None
        if first:
            workspace.serve(made.id)
    document = {
        "id": made.id,
        "digest": str(made.digest),
        "path": str(workspace.settings.models / made.path),
        "datasets": names,
        "serving": first,
        "consent_withdrawn": withdrawn,
        "replayed": replayed,
        "note": widened(model, workspace.settings.dtype),
    }
    shown = dict(document)
    if (privacy := made.recipe.get("privacy")) is not None:
        document["privacy"], shown["privacy"] = privacy, privacy["promise"]
    notes = [f"{withdrawn} records were left out: their consent is withdrawn."] if withdrawn else []
    if planted := made.recipe.get("options", {}).get("canaries"):
        notes.append(
            f"{planted} canaries count as units: 'olvido audit-privacy {made.id}' tries to refute "
            "the promise by them."
        )
    if document["note"] is not None:
        notes.append(str(document["note"]))
    terminal.emit(document, table(("what", "value"), shown.items()), *notes)


def _foretold(terminal: Terminal, promise: Spent) -> None:
    """Print what a training will promise."""
    shown = {
        "epsilon": f"{promise.epsilon:.3g}",
        "delta": f"{promise.delta:.2g}",
        "unit": f"{promise.unit}, add or remove one",
        "units": f"{promise.units}",
        "left out": f"{promise.dropped} records, about people of two units",
        "noise": f"{promise.noise:.3g} clipping bounds in a step, "
        f"{promise.noise / promise.batch:.2g} for each unit expected",
        "expected batch": f"{promise.batch:.4g} units, each drawn with probability "
        f"{promise.rate:.3g}",
        "steps": f"{promise.steps}",
    }
    terminal.emit(
        {"privacy": promise.to_dict(), "trained": False},
        table(("what", "value"), shown.items()),
        "Nothing was trained. What it costs in quality is not known before; 'olvido compare "
        "--learners' measures it, on data that is public or invented where no budget shall be "
        "spent.",
    )


def _found_from_anywhere(model: str) -> str:
    """The absolute path of a folder: the ledger keeps it, and is opened from other folders."""
    from olvido.models import MODELS

    return str(Path(model).resolve()) if model not in MODELS and Path(model).is_dir() else model


def _named(workspace: Workspace, name: str, authors: str | None) -> str:
    """The dataset of that name; TOFU is added to the workspace when it is first learned."""
    from olvido.data import tofu
    from olvido.data.importing import import_rows
    from olvido.errors import InputError
    from olvido.ledger.facts import Documentation, SourceClass

    if name != "tofu":
        return name
    chosen = None
    if authors is not None:
        first, dash, last = authors.partition("-")
        if not (dash and first.isdigit() and last.isdigit() and int(first) <= int(last)):
            raise InputError(f"give --authors as FIRST-LAST, such as 180-199, got {authors!r}")
        chosen = range(int(first), int(last) + 1)
        name = f"tofu-{authors}"
    if name not in {dataset.name for dataset in workspace.store.datasets()}:
        about = Documentation(
            description="TOFU, a task of fictitious unlearning",
            creator="Maini et al. 2024, arXiv 2401.06121",
            licence="MIT",
            source_class=SourceClass.SYNTHETIC,
            language="en",
        )
        import_rows(
            workspace.store,
            workspace.settings.data,
            tofu.rows(workspace.settings.tofu, authors=chosen),
            name=name,
            documentation=about,
        )
    return name
