"""`olvido audit`: what a model still knows, compared with models that never saw the records."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.arguments import BatchSize, Dtype, Encoding, Epochs, LoraRank, Rate, recipe_of
from olvido.cli.output import Terminal, command, stages, table

if TYPE_CHECKING:
    from rich.table import Table

    from olvido.audits import Report
    from olvido.cli.models.references import TrainingOptions

commands = typer.Typer()

_TRAINED = "Never-trained models, trained for the audit"


@commands.command()
@command
def audit(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(help="The model to audit: a folder or a hub id.")],
    rows: Annotated[Path, typer.Option("--forget", help="Records that it should have forgotten.")],
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", help="A model that never saw them; give three or more."),
    ] = None,
    original: Annotated[str | None, typer.Option("--original", help="The original model.")] = None,
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    neighbours: Annotated[
        Path | None, typer.Option("--neighbours", help="Retained records near the forgotten ones.")
    ] = None,
    general: Annotated[
        Path | None, typer.Option("--general", help="Records of common knowledge.")
    ] = None,
    holdout: Annotated[
        Path | None,
        typer.Option("--holdout", help="Records of the same kind that no model saw."),
    ] = None,
    level: Annotated[
        str, typer.Option("--level", help="How much is tried: quick, standard or thorough.")
    ] = "quick",
    audits: Annotated[
        str | None,
        typer.Option("--audits", metavar="A,B", help="Only these; see 'olvido audits'."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE.html", help="Write the report as a page, too."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="Keep the models' outputs for the next audit."),
    ] = None,
    encoding: Encoding = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", help="The model that its training began with.", rich_help_panel=_TRAINED
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Where they are kept, and used again.",
            rich_help_panel=_TRAINED,
        ),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            "--references", min=1, help="How many; 3.", show_default=False, rich_help_panel=_TRAINED
        ),
    ] = None,
    shadows: Annotated[
        int | None,
        typer.Option(
            "--shadows",
            min=0,
            help="Models for LiRA, an even number; 8 where the level is thorough.",
            show_default=False,
            rich_help_panel=_TRAINED,
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    lora_rank: LoraRank = None,
    dtype: Dtype = None,
) -> bool:
    """Audit a forgetting; exit status 1 when the verdict is not a pass.

    Needs models that never saw the records: give them (--reference), or have them trained on the
    retained records as the audited model was (--base, --keep and its recipe).
    """
    from olvido.audits.base import PreparedAudit
    from olvido.cli.arguments import reader, require_folder, require_model, require_page
    from olvido.cli.models.references import require_alike
    from olvido.models.stored import ModelSlot, StoredModel
    from olvido.processes import from_main
    from olvido.reporting.words import duration
    from olvido.tasks import Language

    training = _training(
        given=bool(reference),
        level=level,
        base=base,
        keep=keep,
        references=references,
        shadows=shadows,
        recipe={
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "lora_rank": lora_rank,
            "dtype": dtype,
        },
        weights=terminal.computing().dtype,
    )
    for name in (model, original, base, *(reference or ())):
        require_model(name)
    require_page(page)
    for folder in (cache, keep):
        require_folder(folder)
    read = reader(terminal, encoding)
    probes: dict[str, Any] = {
        "forget": read(rows),
        "retain": read(retain),
        "neighbours": read(neighbours),
        "general": read(general),
        "holdout": read(holdout),
    }
    with stages(terminal) as stage:
        stage("Loading models")
        slot = ModelSlot()

        def stored(name: str) -> StoredModel:
            return StoredModel(partial(terminal.load, name), slot, name=name)

        candidate, never = stored(model), [stored(name) for name in reference or []]
        was = None if original is None else stored(original)
        for option, other in [("--reference", o) for o in never] + [("--original", was)]:
            if other is not None:
                require_alike(other, candidate, option)
        task = Language(candidate.tokenizer, chat=chat)
        made_ready = partial(
            PreparedAudit,
            candidate,
            **probes,
            original=was,
            task=task,
            audits=None if audits is None else [name.strip() for name in audits.split(",")],
            level=level,
            cache=cache,
            tokenizers=None if was is None else (candidate.tokenizer, was.tokenizer),
        )
        if training is None:
            examination = made_ready(reference=never)
        else:
            stage(f"Loading {training.base}")
            first = training.begun(candidate, terminal)
            # Errors shall show before hours of training, not after.
            made_ready(reference=first.model, shadows=training.placeholder(first, task))
            made, shadowing = training.done(first, task, probes, terminal, stage, cache, slot)
            examination = made_ready(reference=[*never, *made], shadows=shadowing)
        predicted = examination.forecast()
        takes = f"about {duration(predicted)} at the most (level {level.lower()})"
        terminal.say(f"The audit takes {takes}.")
        report = examination.run(lambda name, _done, _of: stage(f"Audited {name}") and None)
    document = report.to_dict() | {"predicted_seconds": predicted}
    if training is not None:
        document["trained"] = training.to_dict()
    shown: list[Table | str] = [findings_table(report), sentence(report)]
    if page is not None:
        from olvido.audits.page import write_page

        described = {**document, "name": Path(model).name, "options": document.get("trained")}
        from_main(partial(write_page, described, page))
        shown.append(f"Page: {page}")
    terminal.emit(document, *shown)
    return report.passed


def _training(
    *,
    given: bool,
    level: str,
    base: str | None,
    keep: Path | None,
    references: int | None,
    shadows: int | None,
    recipe: dict[str, Any],
    weights: str,
) -> TrainingOptions | None:
    """The training of references for the audit; None where all models are given.

    Raises:
        InputError: options that do not go together.
    """
    from olvido.audits.attacks.shadows import require_pairs
    from olvido.audits.types import Level
    from olvido.cli.models.references import REFERENCES, SHADOWS, TrainingOptions
    from olvido.errors import InputError

    wanted = Level.named(level)
    if base is None:
        about = {"keep": keep, "references": references, "shadows": shadows, **recipe}
        named = [
            f"--{name.replace('_', '-')}" for name, value in about.items() if value is not None
        ]
        if named:
            raise InputError(
                f"{', '.join(named)} is about models that are trained for the audit: say with "
                "--base what the model's training began with, or leave it out"
            )
        if not given:
            raise InputError(
                "an audit needs models that never saw the records: give three or more with "
                "--reference, or have them trained with --base MODEL --keep DIR"
            )
        return None
    if keep is None:
        raise InputError(
            "--base has models trained for the audit: say with --keep DIR where they are kept"
        )
    if given and references is not None:
        raise InputError("--references counts models to be trained, and --reference gives them")
    if shadows is None:
        shadows = SHADOWS if wanted is Level.THOROUGH else 0
    if shadows:
        require_pairs(shadows)
    return TrainingOptions(
        base,
        recipe_of(base, **recipe, weights=weights),
        keep,
        0 if given else references or REFERENCES,
        shadows,
    )


def findings_table(report: Report) -> Table:
    """A table of the findings for people."""
    columns = ("audit", "metric", "value", "never-trained", "before", "95% interval", "n", "status")
    return table(
        columns,
        [
            (
                f.audit,
                f.metric,
                f"{f.value:.3f}",
                f"{f.expected:.3f}" + ("" if f.against == "never-trained" else f" ({f.against})"),
                "" if f.before is None else f"{f.before:.3f}",
                "" if f.interval is None else "{:+.3f} to {:+.3f}".format(*f.interval),
                f.n,
                f.status.value,
            )
            for f in report.findings
        ],
    )


def sentence(report: Report) -> str:
    """The verdict for people, with the audits that were not made."""
    text = f"Verdict: {report.verdict.value}."
    if report.reasons:
        text += " " + "; ".join(report.reasons) + "."
    for name, needs in report.not_examined.items():
        why = "; ".join(need.remedy for need in needs) or "it was not asked for"
        text += f"\nNot examined: {name} ({why})."
    return text
