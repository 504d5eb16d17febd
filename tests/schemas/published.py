"""The published schemas, for whatever test has a document that was really written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def misfits(name: str, document: Any) -> list[str]:
    """What of a document the published schema of that name does not allow."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))
    return [f"{error.json_path}: {error.message}" for error in validator(schema, document)]


def validator(schema: dict[str, Any], document: Any) -> Any:
    return Draft202012Validator(schema).iter_errors(document)
