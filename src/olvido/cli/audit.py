"""`olvido audit`: what a model still knows, beside models that never saw the records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.output import Terminal, command, table
from olvido.cli.stages import stages

if TYPE_CHECKING:
    from rich.table import Table

    from olvido.audits import Report

commands = typer.Typer()


@commands.command()
@command
def audit(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(help="The model to audit: a folder or a hub id.")],
    rows: Annotated[Path, typer.Option("--forget", help="Records it was to forget.")],
    reference: Annotated[
        list[str],
        typer.Option("--reference", help="A model that never saw them; give three or more."),
    ],
    before: Annotated[str | None, typer.Option("--before", help="The model as it was.")] = None,
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    neighbours: Annotated[
        Path | None, typer.Option("--neighbours", help="Kept records near the forgotten.")
    ] = None,
    general: Annotated[
        Path | None, typer.Option("--general", help="What everybody may know.")
    ] = None,
    holdout: Annotated[
        Path | None,
        typer.Option("--holdout", help="Records of the same making that no model saw."),
    ] = None,
    audits: Annotated[
        str | None,
        typer.Option("--audits", metavar="A,B", help="Only these; see 'olvido audits'."),
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
) -> bool:
    """Audit a forgetting; exit status 1 when the verdict is not a pass."""
    from olvido.audits import audit as door
    from olvido.cli.rows import examples_of
    from olvido.models import load
    from olvido.tasks import Language

    probes: dict[str, Any] = {
        "forget": examples_of(rows, "forget"),
        "retain": examples_of(retain, "retain"),
        "neighbours": examples_of(neighbours, "neighbours"),
        "general": examples_of(general, "general"),
        "holdout": examples_of(holdout, "holdout"),
    }
    with stages(terminal) as stage:
        stage("Loading models")
        suspect = load(model)
        others = [load(name).model for name in reference]
        was = None if before is None else load(before).model
        report = door(
            suspect.model,
            **probes,
            reference=others,
            before=was,
            task=Language(suspect.tokenizer, chat=chat),
            audits=None if audits is None else [name.strip() for name in audits.split(",")],
            watch=lambda name, _done, _of: stage(f"Audited {name}") and None,
        )
    terminal.emit(report.to_dict(), findings_table(report), sentence(report))
    return report.passed


def findings_table(report: Report) -> Table:
    """The findings for people."""
    columns = ("audit", "metric", "value", "expected", "before", "95% interval", "n", "status")
    return table(
        columns,
        [
            (
                f.audit,
                f.metric,
                f"{f.value:.3f}",
                f"{f.expected:.3f} ({f.against})",
                "" if f.before is None else f"{f.before:.3f}",
                "" if f.interval is None else "{:+.3f} to {:+.3f}".format(*f.interval),
                f.n,
                f.status.value,
            )
            for f in report.findings
        ],
    )


def sentence(report: Report) -> str:
    """The verdict for people, with what was not examined."""
    text = f"Verdict: {report.verdict.value}."
    if report.reasons:
        text += " " + "; ".join(report.reasons) + "."
    for name, needs in report.missing.items():
        why = "; ".join(need.remedy for need in needs) or "it was not asked for"
        text += f"\nNot examined: {name} ({why})."
    return text
