"""`olvido data`: add datasets, show them, and check that they are unchanged."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.arguments import Encoding, require_new_file
from olvido.cli.output import Terminal, command, table

if TYPE_CHECKING:
    from olvido.ledger.facts import DatasetVersion

commands = typer.Typer(help="Add, show and check datasets.")

_COLUMNS = "Columns of the file"
_ROWS = "Rows that do not say it themselves"
_ABOUT = "About the dataset"

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A dataset's name or id.")]


def _column(option: str, content: str) -> Any:
    return typer.Option(
        option, metavar="COLUMN", help=f"The column with {content}.", rich_help_panel=_COLUMNS
    )


def _about(option: str, content: str) -> Any:
    return typer.Option(option, help=content, rich_help_panel=_ABOUT)


@commands.command()
@command
def add(
    terminal: Terminal,
    file: Annotated[
        Path,
        typer.Argument(
            help="A .jsonl, .json, .csv, .tsv, .parquet or .npz file, a saved dataset, or a "
            "folder of pictures."
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="The dataset's name.")],
    skip_bad: Annotated[
        Path | None,
        typer.Option("--skip-bad", metavar="FILE", help="Put bad rows there and add the others."),
    ] = None,
    encoding: Encoding = None,
    identifier: Annotated[str | None, _column("--id", "each row's id")] = None,
    prompt: Annotated[str | None, _column("--prompt", "the prompt")] = None,
    completion: Annotated[str | None, _column("--completion", "the completion")] = None,
    text: Annotated[str | None, _column("--text", "the text, where there is no prompt")] = None,
    array: Annotated[
        str | None, _column("--input", "the array or picture to be classified")
    ] = None,
    label: Annotated[str | None, _column("--label", "the name of its class")] = None,
    subject: Annotated[str | None, _column("--subject", "the person the row is about")] = None,
    source_column: Annotated[str | None, _column("--source-column", "its source")] = None,
    licence_column: Annotated[str | None, _column("--licence-column", "its licence")] = None,
    consent_column: Annotated[str | None, _column("--consent-column", "the consent")] = None,
    collected_column: Annotated[str | None, _column("--collected-column", "its date")] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Their source.", rich_help_panel=_ROWS)
    ] = None,
    consent: Annotated[
        str,
        typer.Option(
            "--consent",
            help="Their consent: granted, withdrawn, unknown or not-required.",
            rich_help_panel=_ROWS,
        ),
    ] = "unknown",
    licence: Annotated[
        str | None, _about("--licence", "Its licence, which also holds for its rows.")
    ] = None,
    description: Annotated[str | None, _about("--description", "What it is.")] = None,
    creator: Annotated[str | None, _about("--creator", "Who made it.")] = None,
    source_class: Annotated[
        str,
        _about("--source-class", "public, licensed, scraped, user, synthetic or other."),
    ] = "other",
    url: Annotated[str | None, _about("--url", "Where it comes from.")] = None,
    legal_basis: Annotated[
        str | None, _about("--legal-basis", "The legal basis of its processing.")
    ] = None,
    language: Annotated[str | None, _about("--language", "Its language, as 'en'.")] = None,
    intended_use: Annotated[str | None, _about("--intended-use", "What it is for.")] = None,
    retention: Annotated[str | None, _about("--retention", "How long it is kept.")] = None,
    collected_from: Annotated[
        str | None, _about("--collected-from", "The first day of its collection.")
    ] = None,
    collected_until: Annotated[
        str | None, _about("--collected-until", "The last day of its collection.")
    ] = None,
    geography: Annotated[str | None, _about("--geography", "Where its subjects are.")] = None,
    modality: Annotated[str | None, _about("--modality", "text, or another kind of data.")] = None,
    special_categories: Annotated[
        bool | None,
        typer.Option(
            "--special-categories/--no-special-categories",
            help="Whether it has data on health, belief, origin and the like (GDPR, Article 9).",
            rich_help_panel=_ABOUT,
        ),
    ] = None,
    consent_reference: Annotated[
        str | None, _about("--consent-reference", "Where the consent is kept.")
    ] = None,
    opt_out: Annotated[
        str | None, _about("--opt-out", "How reservations of rights were looked for and kept.")
    ] = None,
    transform: Annotated[
        str | None, _about("--transform", "What was done to the data before.")
    ] = None,
) -> None:
    """Add a file as the next version of a dataset: all of it, or nothing."""
    from olvido.data.importing import import_file
    from olvido.data.parsing import Defaults, Fields
    from olvido.errors import UnknownName
    from olvido.ledger.facts import Consent, Documentation, SourceClass

    for kind, value, known in (
        ("consent", consent, [str(known) for known in Consent]),
        ("source class", source_class, [str(known) for known in SourceClass]),
    ):
        if value not in known:
            raise UnknownName(kind, value, known)
    require_new_file(skip_bad)
    notes: list[str] = []
    settings = terminal.settings()
    with terminal.store() as store, terminal.progress() as progress:
        progress.add_task(f"Adding {file}", total=None)
        result = import_file(
            store,
            settings.data,
            file,
            name=name,
            fields=Fields(
                id=identifier,
                prompt=prompt,
                completion=completion,
                text=text,
                input=array,
                label=label,
                subject=subject,
                source=source_column,
                licence=licence_column,
                consent=consent_column,
                collected_at=collected_column,
            ),
            defaults=Defaults(source=source, licence=licence, consent=Consent(consent)),
            documentation=Documentation(
                description=description,
                creator=creator,
                licence=licence,
                source_class=SourceClass(source_class),
                url=url,
                legal_basis=legal_basis,
                language=language,
                intended_use=intended_use,
                retention=retention,
                collected_from=collected_from,
                collected_until=collected_until,
                geography=geography,
                modality=modality,
                special_categories=special_categories,
                consent_reference=consent_reference,
                opt_out=opt_out,
                transform=transform,
            ),
            skip_bad=skip_bad,
            encoding=encoding,
            tell=notes.append,
        )
    document = _described(result.dataset) | {
        "read_as": notes[0] if notes else None,
        "rejected": result.rejected,
        "subjects": result.subjects,
        "without_subject": result.nameless,
        "pseudonymous_ids": result.pseudonymous_ids,
        "pseudonymous_sources": result.pseudonymous_sources,
    }
    if not result.subjects:
        notes.append("No row names a subject: no data subject can be found in it.")
    elif result.nameless:
        notes.append(f"{result.nameless} rows name no subject: no data subject can be found there.")
    if result.pseudonymous_ids or result.pseudonymous_sources:
        notes.append(
            f"{result.pseudonymous_ids} ids and {result.pseudonymous_sources} sources look like "
            "personal data: pseudonyms stand for them, and they are still found as they were given."
        )
    terminal.emit(document, table(("what", "value"), document.items()), *notes)


@commands.command()
@command
def show(terminal: Terminal, name: Name = None) -> None:
    """Show all datasets, or one with its documentation."""
    with terminal.store() as store:
        if name is None:
            found = store.datasets()
            columns = ("name", "version", "id", "rows", "added")
            rows = [(d.name, d.version, d.id, d.rows, d.created_at) for d in found]
            terminal.emit({"datasets": [_described(d) for d in found]}, table(columns, rows))
            return
        dataset = store.dataset(name)
        records = store.records(dataset.id)
    document = _described(dataset) | {
        "subjects": len({subject for record in records for subject in record.subjects}),
        "tombstoned": sum(record.tombstone is not None for record in records),
        "documentation": asdict(dataset.documentation),
    }
    flat = {**document, **document["documentation"]}
    del flat["documentation"]
    terminal.emit(document, table(("what", "value"), flat.items()))


@commands.command()
@command
def export(
    terminal: Terminal,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids.")],
    form: Annotated[
        str, typer.Option("--format", help="croissant, eu-summary or openlineage.")
    ] = "croissant",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file to write it to.")
    ] = None,
) -> None:
    """Describe datasets to others, in standard formats.

    OpenLineage events go to a file one a line; Croissant describes one dataset at a time.
    """
    from olvido.errors import InputError, UnknownName
    from olvido.files import write, write_document
    from olvido.ledger.croissant import croissant
    from olvido.ledger.digests import canonical_json
    from olvido.ledger.model_documents import FORMATS, eu_summary
    from olvido.ledger.openlineage import openlineage

    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    if form == "croissant" and len(names) > 1:
        raise InputError("Croissant describes one dataset: name one")
    require_new_file(out)
    settings = terminal.settings()
    with terminal.store() as store:
        chosen = [store.dataset(name) for name in names]
        if form == "croissant":
            document = croissant(chosen[0], settings.data)
        elif form == "eu-summary":
            document = eu_summary(store, settings.data, chosen)
        else:
            document = {"events": openlineage(store, chosen)}
    if out is not None and form == "openlineage":
        write(out, b"".join(canonical_json(e) + b"\n" for e in document["events"]))
    elif out is not None:
        write_document(document, out)
    terminal.emit(document, json.dumps(document, ensure_ascii=False, indent=1))


@commands.command()
@command
def tombstones(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
) -> None:
    """Write all tombstones to a file, as ids and digests, to set them in a restored backup."""
    from olvido.requests.handlers import StoreContext
    from olvido.requests.tombstones import write_tombstones

    require_new_file(file)
    settings = terminal.settings()
    with terminal.store() as store:
        written = write_tombstones(StoreContext(store, settings), file)
    counts = {
        "file": str(file),
        "records": sum(map(len, written["records"].values())),
        "models": len(written["models"]),
        "digests": len(written["suppressed"]),
    }
    terminal.emit(
        counts,
        table(("what", "value"), counts.items()),
        "Keep it apart from backups. After a restore: olvido data replay FILE",
    )


@commands.command()
@command
def replay(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From 'olvido data tombstones'.")],
) -> None:
    """Set the tombstones that a restored backup lacks, before anything is done with it."""
    from olvido.requests.handlers import StoreContext
    from olvido.requests.tombstones import replay_tombstones

    settings = terminal.settings()
    with terminal.store() as store:
        counts = replay_tombstones(StoreContext(store, settings), file)
    terminal.emit(counts, table(("tombstones set again", "number"), counts.items()))


def _described(dataset: DatasetVersion) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "version": dataset.version,
        "id": dataset.id,
        "rows": dataset.rows,
        "root": str(dataset.root),
        "file": dataset.file,
        "parent": dataset.parent,
        "created_at": dataset.created_at.isoformat(),
    }
