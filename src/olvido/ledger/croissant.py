"""Describe a dataset as Croissant 1.1 (docs.mlcommons.org/croissant, version of 2026-01-29)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from olvido.errors import InputError, StateError
from olvido.ledger.facts import DatasetVersion
from olvido.ledger.rows import COLUMNS

_OWN = (
    *(
        "arrayShape",
        "citeAs",
        "column",
        "equivalentProperty",
        "extract",
        "field",
        "fileObject",
        "fileProperty",
    ),
    *(
        "fileSet",
        "format",
        "includes",
        "isArray",
        "isLiveDataset",
        "jsonPath",
        "key",
        "md5",
        "parentField",
    ),
    *("path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("separator", "source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _OWN},
}
_SAYS = {
    "id": "The record's id, unique within the dataset.",
    "prompt": "What is asked.",
    "completion": "What is answered.",
    "text": "The text, where there is no prompt.",
    "subjects": "Whom the record is about, as keyed digests.",
    "source": "Where the record comes from.",
    "licence": "The record's licence.",
    "consent": "Whether the subject agreed: granted, withdrawn, unknown or not-required.",
    "collected_at": "The day the record was collected.",
    "extras": "Whatever else the record brought along, as a JSON object.",
}


def croissant(dataset: DatasetVersion, data: Path) -> dict[str, Any]:
    """Describe a dataset and its file.

    Args:
        dataset: from the ledger.
        data: the workspace's data folder.

    Raises:
        InputError: something that Croissant requires was not given when it was added.
        StateError: its file is missing.
    """
    about = dataset.documentation
    required = {
        "--description": about.description,
        "--licence": about.licence,
        "--creator": about.creator,
    }
    if missing := [option for option, value in required.items() if not value]:
        raise InputError(
            f"Croissant requires what is not known of dataset {dataset.name!r}: add its file again "
            f"with {', '.join(missing)}"
        )
    found: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": dataset.name,
        "description": about.description,
        "license": about.licence,
        # A dataset that was not published has no page: its root identifies it.
        "url": about.url or f"urn:olvido:dataset:{dataset.id}",
        "identifier": str(dataset.root),
        "version": f"{dataset.version}.0.0",
        "creator": {"@type": "sc:Organization", "name": about.creator},
        "datePublished": dataset.created_at.date().isoformat(),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "rows",
                "name": "rows",
                "description": f"{dataset.rows} records, in the order in which they were added.",
                "contentUrl": dataset.file,
                "encodingFormat": "application/x-parquet",
                "sha256": _sha256(data / dataset.file),
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "records",
                "name": "records",
                "key": {"@id": "records/id"},
                "field": [_field(column) for column in COLUMNS],
            }
        ],
    }
    if about.language:
        found["inLanguage"] = about.language
    if about.collected_from or about.collected_until:
        found["temporalCoverage"] = (
            f"{about.collected_from or '..'}/{about.collected_until or '..'}"
        )
    if about.geography:
        found["spatialCoverage"] = about.geography
    if about.special_categories is not None:
        found["rai:personalSensitiveInformation"] = (
            "special categories of personal data" if about.special_categories else "none declared"
        )
    if dataset.parent:
        found["prov:wasDerivedFrom"] = {"@id": f"urn:olvido:dataset:{dataset.parent}"}
    return found


def _field(column: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"records/{column}",
        "name": f"records/{column}",
        "description": _SAYS[column],
        "dataType": "sc:Text",
        "source": {"fileObject": {"@id": "rows"}, "extract": {"column": column}},
    } | ({"isArray": True, "arrayShape": "-1"} if column == "subjects" else {})


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StateError(f"the rows {path} cannot be read ({error}): restore them") from error
