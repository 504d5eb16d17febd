"""`olvido trace`: find the records that taught a model an answer.

`olvido curvature`: measure a model's curvature once, for all later traces and removals.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.arguments import Encoding
from olvido.cli.output import Terminal, command, stages, table

if TYPE_CHECKING:
    from olvido.learners import Trained
    from olvido.tasks import Example, Task


commands = typer.Typer()


@commands.command()
@command
def trace(
    terminal: Terminal,
    model: Annotated[
        str, typer.Argument(help="A model of the workspace, or with --records a folder or hub id.")
    ],
    question: Annotated[
        str | None, typer.Option("--question", help="What the model was asked.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", help="The answer to trace; by default the model's.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Trace a text that answers no question.")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option("--records", help="Its training records; by default those in the ledger."),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="ekfac, gradient, or replay (small models).")
    ] = "ekfac",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the method.")
    ] = None,
    top: Annotated[int, typer.Option("--top", help="Records to show.")] = 10,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write a page with the texts side by side.")
    ] = None,
    encoding: Encoding = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random draws.")] = 0,
) -> None:
    """Rank the records that taught a model an answer.

    A score is a hint for a person to look; it proves nothing. Near copies of a found record are
    named with it.
    """
    from olvido.attribution import trace as door
    from olvido.attribution.page import require_writable, write_page
    from olvido.cli.arguments import attribution_options, require_model
    from olvido.errors import InputError

    if (question is None) == (text is None):
        raise InputError(
            "give what is to be traced: --question (with or without --answer), or --text"
        )
    if text is not None and answer is not None:
        raise InputError("--answer belongs to --question: a --text is traced as it stands")
    require_model(model)
    options = attribution_options(method, option or [])
    if page is not None:
        require_writable(page)
    with stages(terminal) as stage:
        stage(f"Loading {model}")
        trained, rows, task, subjects = taught(terminal, model, records, encoding, chat)
        stage(f"Tracing by {method}")
        found = door(
            trained,
            records=rows,
            question={"id": "asked", "text": text} if text is not None else question or "",
            answer=answer,
            task=task,
            method=method,
            top=top,
            seed=seed,
            **options,
        )
    document: dict[str, Any] = found.to_dict()
    for one in document["ranked"]:
        one["subjects"] = None if subjects is None else subjects.get(one["id"], [])
    if page is not None:
        write_page(found, page, subjects=subjects)
        document["page"] = str(page)
    shown = [
        (
            rank,
            f"{taught.score:+.4f}",
            "" if taught.interval is None else "{:+.4f} to {:+.4f}".format(*taught.interval),
            taught.record.id,
            taught.record.text.strip(),
            len(taught.copies) or "",
        )
        for rank, taught in enumerate(found.ranked, 1)
    ]
    columns = ("", "score", "95%", "record", "text", "copies")
    headline = f"Traced: {found.answer!r} ({found.loss:.3f} nats a token). Score: {found.unit}."
    where = f"Written to {page}." if page is not None else "--page FILE.html writes a page."
    terminal.emit(document, headline, table(columns, shown), f"{document['limits']} {where}")


def taught(
    terminal: Terminal,
    model: str,
    records: Path | None,
    encoding: str | None,
    chat: bool | None,
) -> tuple[Trained, tuple[Example, ...], Task, dict[str, list[str]] | None]:
    """The model, its training records, its task, and the subjects of each record."""
    from olvido.cli.arguments import reader
    from olvido.learners import Trained
    from olvido.tasks import Language
    from olvido.workspace import Workspace

    if records is not None:
        rows = reader(terminal, encoding)(records)
        loaded = terminal.load(model)
        return Trained.untraced(loaded.model), rows, Language(loaded.tokenizer, chat=chat), None
    with Workspace(terminal.settings()) as workspace:
        from_ledger = workspace.load(model)
        subjects = {
            record.id: sorted(map(str, record.subjects))
            for use in workspace.left(from_ledger.fact)
            for record in workspace.store.records(use.dataset)
        }
        rows_of = workspace.held(from_ledger.fact)
        return from_ledger.trained, rows_of, from_ledger.task, subjects


@commands.command()
@command
def curvature(
    terminal: Terminal,
    model: Annotated[
        str, typer.Argument(help="A model of the workspace, or with --records a folder or hub id.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder for the factors.")],
    records: Annotated[
        Path | None,
        typer.Option("--records", help="Its training records; by default those in the ledger."),
    ] = None,
    parts: Annotated[
        int, typer.Option("--parts", help="Parts that people are split into, measured one by one.")
    ] = 2,
    encoding: Encoding = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the tokenizer's chat template."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random draws.")] = 0,
) -> None:
    """Measure the curvature of a model once, so that removals need not.

    'olvido forget --method influence --option factors=DIR' uses the factors of a part without the
    forget set. The factors hold what records taught, so they have to be erased with the records.
    """
    from olvido.cli.arguments import require_folder, require_model
    from olvido.curvature import store_ekfac

    require_model(model)
    require_folder(out)
    with stages(terminal) as stage:
        stage(f"Loading {model}")
        trained, rows, task, subjects = taught(terminal, model, records, encoding, chat)
        if subjects is not None:
            # The ledger has the subjects of a record, whatever its row says.
            about = ({**row.fields, "subjects": subjects[row.id]} for row in rows)
            rows = tuple(replace(row, fields=one) for row, one in zip(rows, about, strict=True))
        stage(f"Measuring on {len(rows)} records")
        made = store_ekfac(trained.model, rows, task, out, parts=parts, seed=seed)
    document = {
        "model": trained.digest,
        "factors": str(out),
        "parts": [{"digest": part.digest, "records": len(part.records)} for part in made],
    }
    shown = [(part.digest[:16], len(part.records)) for part in made]
    terminal.emit(
        document,
        table(("curvature", "records"), shown),
        f"Now: olvido forget MODEL --method influence --option factors={out}",
    )
