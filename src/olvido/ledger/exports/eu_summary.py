"""The summary of training content that Regulation (EU) 2024/1689, Article 53(1)(d), asks for.

In the order of the AI Office's template (C(2025) 8311, annex): general information, list of data
sources, data processing. What nobody told the ledger is null and named in `unanswered`: a summary
is finished by its provider, and published by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from olvido.ledger.facts import Dataset, SourceClass
from olvido.ledger.rows import stored_rows
from olvido.ledger.store import Store

SECTIONS = {
    SourceClass.PUBLIC: "publicly_available_datasets",
    SourceClass.LICENSED: "private_datasets_licensed",
    SourceClass.SCRAPED: "crawled_and_scraped",
    SourceClass.USER: "user_data",
    SourceClass.SYNTHETIC: "synthetic_data",
    SourceClass.OTHER: "other_sources",
}
"""Section 2 of the template, by the class of a dataset's source."""

SMALL = "less than 1 billion tokens"
"""The least of the template's ranges of text."""
_BILLION = 1_000_000_000


def eu_summary(store: Store, data: Path, datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Summarise what datasets hold, as far as the ledger knows.

    Args:
        store: the ledger.
        data: the workspace's data folder.
        datasets: what a model was trained on.

    Raises:
        StateError: a file is gone or damaged.
    """
    sources: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS.values()}
    unanswered = ["general.provider", "general.model", "processing.illegal_content"]
    size = 0
    for dataset in datasets:
        size += _bytes(data / dataset.file)
        section = SECTIONS[dataset.documentation.source_class]
        entry = _source(store, dataset)
        where = f"sources.{section}[{len(sources[section])}]"
        unanswered += [f"{where}.{name}" for name, value in entry.items() if value is None]
        sources[section].append(entry)
    modalities = sorted({d.documentation.modality or "text" for d in datasets})
    # No tokenizer makes more tokens of a text than it has bytes.
    text = SMALL if size < _BILLION else None
    if text is None:
        unanswered.append("general.size.text")
    languages = [d.documentation.language for d in datasets]
    told = {language for language in languages if language}
    latest = [d.documentation.collected_until for d in datasets]
    reserved = [d.documentation.opt_out for d in datasets]
    return {
        "template": "Regulation (EU) 2024/1689, Article 53(1)(d); C(2025) 8311, annex",
        "general": {
            "provider": None,
            "model": None,
            "modalities": modalities,
            "size": {"text": text, "records": sum(d.rows for d in datasets), "bytes": size},
            "languages": None if None in languages else sorted(told),
            "latest_collection": None if None in latest else max(str(day) for day in latest),
        },
        "sources": sources,
        "processing": {
            "reservations_of_rights": [text for text in reserved if text] or None,
            "illegal_content": None,
            "withdrawn": {
                "records": sum(len(store.tombstoned(d.id)) for d in datasets),
                "how": "not used for training any more; see the certificates of the requests",
            },
        },
        "unanswered": unanswered
        + ([] if any(reserved) else ["processing.reservations_of_rights"])
        + (["general.latest_collection"] if None in latest else [])
        + (["general.languages"] if None in languages else []),
    }


def _source(store: Store, dataset: Dataset) -> dict[str, Any]:
    about = dataset.documentation
    return {
        "name": dataset.name,
        "version": dataset.version,
        "root": str(dataset.root),
        "records": dataset.rows,
        "subjects": len({s for record in store.records(dataset.id) for s in record.subjects}),
        "description": about.description,
        "creator": about.creator,
        "url": about.url,
        "licence": about.licence,
        "legal_basis": about.legal_basis,
        "collected_from": about.collected_from,
        "collected_until": about.collected_until,
        "geography": about.geography,
        "special_categories": about.special_categories,
        "transform": about.transform,
    }


def _bytes(path: Path) -> int:
    """UTF-8 bytes of all that a model can read in a file."""
    names = ("prompt", "completion", "text")
    return sum(len(row.get(n, "").encode()) for row in stored_rows(path) for n in names)
