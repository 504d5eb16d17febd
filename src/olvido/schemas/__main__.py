"""Write the JSON Schema of every document: `python -m olvido.schemas docs/schemas`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from olvido.schemas.audit import AuditReport, Finding
from olvido.schemas.certificate import Certificate
from olvido.schemas.comparison import ComparisonDocument, LearnersDocument
from olvido.schemas.events import events
from olvido.schemas.options import RunOptions
from olvido.schemas.outcome import OutcomeDocument
from olvido.schemas.plan import Plan
from olvido.schemas.privacy import PrivacyAudit

DOCUMENTS: Mapping[str, type[BaseModel] | TypeAdapter[Any]] = {
    "audit-report": AuditReport,
    "certificate": Certificate,
    "comparison": ComparisonDocument,
    "finding": Finding,
    "learners": LearnersDocument,
    "outcome": OutcomeDocument,
    "plan": Plan,
    "privacy-audit": PrivacyAudit,
    "request-event": events(),
    "run-options": RunOptions,
}
"""Every document, by the name of its file."""


def schema_of(name: str) -> str:
    """The JSON Schema of a document, as it is written."""
    kind = DOCUMENTS[name]
    if isinstance(kind, TypeAdapter):
        # An event is stored as it was entered, without empty members.
        made = kind.json_schema(mode="validation")
    else:
        made = kind.model_json_schema(mode="serialization")
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    return json.dumps(dialect, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main(folder: str) -> None:
    """Write all schemas."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    for name in DOCUMENTS:
        (home / f"{name}.json").write_text(schema_of(name), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
