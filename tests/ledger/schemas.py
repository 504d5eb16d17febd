"""Schemas of what is exported, written from their specifications in our own words.

OpenLineage: the run event of openlineage.io/spec/2-0-2 and the facets used here, with what the
specification requires of each. The EU's summary: the sections of the template in the annex to
C(2025) 8311. Croissant needs none here: its own library validates it.
"""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
URI: dict[str, Any] = {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:"}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _facet(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"_producer": URI, "_schemaURL": URI, **properties},
        "required": ["_producer", "_schemaURL", *required],
    }


_FACETS: dict[str, Any] = {
    "version": _facet(["datasetVersion"], datasetVersion=TEXT),
    "documentation": _facet(["description"], description=TEXT),
    "ownership": _facet(
        ["owners"],
        owners={"type": "array", "items": {"type": "object", "required": ["name"]}},
    ),
    "schema": _facet(
        ["fields"],
        fields={"type": "array", "items": {"type": "object", "required": ["name"]}},
    ),
}
_DATASET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "namespace": TEXT,
        "name": TEXT,
        "facets": {
            "type": "object",
            "properties": _FACETS,
            "additionalProperties": _facet([]),
            # A facet of one's own carries its owner's name before it.
            "propertyNames": {"pattern": f"^({'|'.join(_FACETS)}|olvido_[a-z]+)$"},
        },
    },
    "required": ["namespace", "name"],
}

OPENLINEAGE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_closed(
        ["eventTime", "producer", "schemaURL", "run", "job"],
        eventType={"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        eventTime={"type": "string", "format": "date-time"},
        producer=URI,
        schemaURL=URI,
        run={
            "type": "object",
            "properties": {"runId": {"type": "string", "format": "uuid"}},
            "required": ["runId"],
        },
        job={
            "type": "object",
            "properties": {
                "namespace": TEXT,
                "name": TEXT,
                "facets": {
                    "properties": {
                        "jobType": _facet(
                            ["processingType", "integration"],
                            processingType={"enum": ["BATCH", "STREAMING", "SERVICE"]},
                            integration=TEXT,
                        )
                    },
                    "additionalProperties": _facet([]),
                },
            },
            "required": ["namespace", "name"],
        },
        inputs={"type": "array", "items": _DATASET},
        outputs={"type": "array", "items": _DATASET},
    ),
}

_MAYBE: dict[str, Any] = {"type": ["string", "null"]}
_SOURCE = _closed(
    ["name", "version", "root", "records", "description"],
    name=TEXT,
    version={"type": "integer", "minimum": 1},
    root={"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    records={"type": "integer", "minimum": 1},
    subjects={"type": "integer", "minimum": 0},
    special_categories={"type": ["boolean", "null"]},
    **dict.fromkeys(
        (
            *("description", "creator", "url", "licence", "legal_basis", "collected_from"),
            *("collected_until", "geography", "transform"),
        ),
        _MAYBE,
    ),
)
_SECTIONS = (
    *("publicly_available_datasets", "private_datasets_licensed", "crawled_and_scraped"),
    *("user_data", "synthetic_data", "other_sources"),
)

EU_SUMMARY: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_closed(
        ["template", "general", "sources", "processing", "unanswered"],
        template=TEXT,
        general=_closed(
            ["provider", "model", "modalities", "size", "languages", "latest_collection"],
            provider=_MAYBE,
            model=_MAYBE,
            modalities={"type": "array", "items": TEXT, "minItems": 1},
            size=_closed(
                ["text", "records", "bytes"],
                text={"enum": ["less than 1 billion tokens", None]},
                records={"type": "integer", "minimum": 1},
                bytes={"type": "integer", "minimum": 0},
            ),
            languages={"type": ["array", "null"], "items": TEXT},
            latest_collection=_MAYBE,
        ),
        sources=_closed(
            list(_SECTIONS),
            **{name: {"type": "array", "items": _SOURCE} for name in _SECTIONS},
        ),
        processing=_closed(
            ["reservations_of_rights", "illegal_content", "withdrawn"],
            reservations_of_rights={"type": ["array", "null"], "items": TEXT},
            illegal_content=_MAYBE,
            withdrawn=_closed(
                ["records", "how"], records={"type": "integer", "minimum": 0}, how=TEXT
            ),
        ),
        unanswered={"type": "array", "items": TEXT, "uniqueItems": True},
    ),
}
