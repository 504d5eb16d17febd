"""`olvido compare`: compare unlearning methods, or learners, on one's own model and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.arguments import BatchSize, Encoding, Epochs, Rate, recipe_of
from olvido.cli.output import Terminal, command, stages, table

if TYPE_CHECKING:
    from olvido.learners import Recipe

commands = typer.Typer()

_USUAL = ("npo", "graddiff", "simnpo", "auto")


@commands.command()
@command
def compare(
    terminal: Terminal,
    model: Annotated[
        str,
        typer.Argument(
            help="The model that shall forget: a folder, a hub id. With --learners the model that "
            "every training begins with: tiny, smollm2, a folder, a hub id."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="A folder for results, table and page.")],
    rows: Annotated[Path | None, typer.Option("--forget", help="Records to forget.")] = None,
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark", metavar="NAME:SPLIT", help="In their place: tofu:forget05 and others."
        ),
    ] = None,
    tofu: Annotated[
        str | None,
        typer.Option("--tofu", help="Where TOFU lies: a folder, a file or a hub id."),
    ] = None,
    holdout: Annotated[
        Path | None,
        typer.Option("--holdout", help="Records of the same kind that no model saw."),
    ] = None,
    neighbours: Annotated[
        Path | None, typer.Option("--neighbours", help="Retained records near the forgotten ones.")
    ] = None,
    general: Annotated[
        Path | None, typer.Option("--general", help="Records of common knowledge.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", help="A model that never saw them; give three or more."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="In their place: the model that the training began with."),
    ] = None,
    references: Annotated[
        int, typer.Option("--references", min=1, help="Models to train from the base.")
    ] = 3,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", metavar="A,B", help=f"See 'olvido methods'. Default: {','.join(_USUAL)}."
        ),
    ] = None,
    learners: Annotated[
        str | None,
        typer.Option(
            "--learners",
            metavar="A,B@EPSILON",
            help="In place of methods, such as monolith,private@8,private@1: train with each.",
        ),
    ] = None,
    records: Annotated[
        Path | None, typer.Option("--records", help="What all --learners learn.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="METHOD.NAME=VALUE", help="Such as npo.lr=1e-4."),
    ] = None,
    metrics: Annotated[
        str,
        typer.Option("--metrics", metavar="A,B", help="Further audits, as columns of their own."),
    ] = "",
    tables: Annotated[
        list[Path] | None,
        typer.Option("--table", help="Write the table too: a file .csv, .md or .tex."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Runs of each method (3) or learner (1)."),
    ] = None,
    level: Annotated[
        str, typer.Option("--level", help="Level of the audits: quick, standard or thorough.")
    ] = "quick",
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    encoding: Encoding = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
) -> None:
    """Run methods on several seeds, audit each run, and compare them. With --learners train by
    several learners, and show what each model can do beside what it keeps of single people.

    An interrupted comparison goes on where it was when the same command is given again.
    """
    from olvido.benchmark import compare as door
    from olvido.benchmark.export import form_of
    from olvido.cli.arguments import reader, require_model
    from olvido.errors import InputError

    for name in (model, base, *(reference or ())):
        require_model(name)
    trained: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    if learners is not None:
        others = {
            "--methods": methods, "--forget": rows, "--retain": retain, "--base": base,
            "--benchmark": benchmark, "--tofu": tofu, "--neighbours": neighbours,
            "--reference": reference, "--option": option, "--metrics": metrics, "--table": tables,
        }  # fmt: skip
        if unfit := [flag for flag, value in others.items() if value]:
            raise InputError(
                f"{', '.join(unfit)}: these are of methods that forget, and --learners compares "
                "trainings, of --records: leave them out"
            )
        _learners(
            terminal,
            model,
            learners,
            recipe_of(
                model, **trained, lora_rank=None, dtype=None, weights=terminal.computing().dtype
            ),
            {"records": records, "holdout": holdout, "general": general},
            encoding,
            seeds=seeds or 1,
            chat=chat,
            out=out,
        )  # fmt: skip
        return
    if records is not None:
        raise InputError("--records are what --learners learn: name some, as monolith,private@3")
    for path in tables or ():
        form_of(path)
    if (benchmark is None) == (rows is None or retain is None):
        raise InputError("give either --benchmark, or --forget and --retain")
    if tofu is not None and benchmark is None:
        raise InputError("--tofu says where a --benchmark lies: name one, as tofu:forget05")
    read = reader(terminal, encoding)
    names = list(_USUAL) if methods is None else [name.strip() for name in methods.split(",")]
    recipe = None
    if base is not None:
        recipe = recipe_of(
            base,
            **trained,
            lora_rank=None,
            dtype=None,
            weights=terminal.computing().dtype,
        )
    elif any(value is not None for value in trained.values()):
        raise InputError("--epochs, --batch-size and --lr are of models trained from a --base")
    how = terminal.computing()
    with stages(terminal) as stage:
        found = door(
            model,
            forget=read(rows),
            retain=read(retain),
            holdout=read(holdout),
            neighbours=read(neighbours),
            general=read(general),
            benchmark=benchmark,
            benchmark_data=tofu or how.tofu,
            metrics=[name.strip() for name in metrics.split(",") if name.strip()],
            reference=reference or (),
            base=base,
            references=references,
            recipe=recipe,
            methods=names,
            options=_options(names, option or []),
            seeds=seeds or 3,
            level=level,
            chat=chat,
            dtype=how.dtype,
            device=how.device,
            out=out,
            stage=stage,
        )
    for path in tables or ():
        found.write_table(path)
    columns = ("method", "passed", "recall", "loss", "kept", "seconds", "retraining", "memory")
    own = list(dict.fromkeys(name for row in found.document["rows"] for name in row["metrics"]))
    cells = [_cells(row, own) for row in found.document["rows"]]
    lines = [
        "Recall of the forgotten above never-trained models, their loss as a share of these "
        "models' loss, and recall of what was kept: means over seeds with 95% intervals. Cost as a "
        "share of retraining; memory is the peak of the process that forgot.",
        *(f"{row['method']}: {why}" for row in found.document["rows"] if (why := _why(row))),
        f"Page: {found.page or 'none'}",
        *(f"Table: {path}" for path in tables or ()),
    ]
    files = {"page": found.page, "picture": found.picture}
    document = found.document | {name: file and str(file) for name, file in files.items()}
    terminal.emit(document, table((*columns, *own), cells), *lines)


def _learners(
    terminal: Terminal,
    model: str,
    learners: str,
    recipe: Recipe,
    files: Mapping[str, Path | None],
    encoding: str | None,
    **how: Any,
) -> None:
    """Compare learners, and print the table."""
    from olvido.benchmark import compare_learners
    from olvido.benchmark.tradeoff import compared
    from olvido.cli.arguments import reader

    names = [name.strip() for name in learners.split(",")]
    compared(names)
    read, computing = reader(terminal, encoding), terminal.computing()
    how |= {name: read(path) for name, path in files.items()}
    with stages(terminal) as stage:
        found = compare_learners(
            model,
            learners=names,
            recipe=recipe,
            dtype=computing.dtype,
            device=computing.device,
            stage=stage,
            tell=terminal.say,
            **how,
        )
    columns = (
        "learner", "epsilon", "delta", "unit", "n", "general", "holdout loss", "extraction",
        "membership", "exposure",
    )  # fmt: skip
    measures = ("general", "holdout_loss", "extraction", "membership", "exposure")
    rows = found.document["rows"]
    cells = []
    for row in rows:
        promise = row["promise"] or {}
        said = [f"{promise[k]:.2g}" if promise else "" for k in ("epsilon", "delta")]
        about = [promise.get("unit", ""), promise.get("units", "")]
        cells.append((row["learner"], *said, *about, *(_mean(row[m], ".3f") for m in measures)))
    lines = [
        "Kept general knowledge (exact match) and loss on the holdout are quality. Extraction "
        "strength of the records about people, AUC of the loss attack on them (0.5 is chance) and "
        "exposure of planted canaries in bits (of 6; 1.4 is chance) are what is kept of people.",
        *(f"{row['learner']}: {why}" for row in rows for why in row["failures"]),
        *found.document["remarks"],
        f"Page: {found.page or 'none'}",
    ]
    paths = {"page": found.page, "picture": found.picture}
    document = found.document | {name: path and str(path) for name, path in paths.items()}
    terminal.emit(document, table(columns, cells), *lines)


def _options(names: list[str], written: list[str]) -> dict[str, dict[str, Any]]:
    """Options of methods, each written as method.name=value."""
    from olvido.cli.arguments import method_options
    from olvido.errors import InputError

    by_method: dict[str, list[str]] = {}
    for text in written:
        method, dot, rest = text.partition(".")
        if not dot or method not in names:
            raise InputError(
                f"write an option as METHOD.NAME=VALUE, with one of {', '.join(names)}; "
                f"got {text!r}"
            )
        by_method.setdefault(method, []).append(rest)
    return {method: method_options(method, texts) for method, texts in by_method.items()}


def _cells(row: Mapping[str, Any], own: list[str]) -> tuple[object, ...]:
    peak = row["peak_memory"]
    return (
        row["method"],
        f"{row['passed']}/{row['runs']}",
        _mean(row["recall"], ".3f"),
        _mean(row["loss"], ".2f"),
        _mean(row["kept"], ".3f"),
        _mean(row["seconds"], ".1f"),
        _mean(row["share_of_retraining"], ".1%"),
        "" if peak is None else f"{peak / 1e6:.0f} MB",
        *(_mean(row["metrics"].get(name), ".3f") for name in own),
    )


def _mean(value: Mapping[str, Any] | None, form: str) -> str:
    if value is None:
        return ""
    around = value["interval"]
    half = "" if around is None else f" ±{(around[1] - around[0]) / 2:{form}}"
    return f"{value['mean']:{form}}{half}"


def _why(row: Mapping[str, Any]) -> str:
    """The audits that a method failed, and its errors."""
    failed = [f"failed by {', '.join(row['failed'])}"] if row["failed"] else []
    return "; ".join([*failed, *dict.fromkeys(row["failures"])])
