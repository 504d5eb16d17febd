"""The base of all documents: frozen, with known members, and strictly parsed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from olvido.errors import InputError

Plain = dict[str, Any]
"""A JSON object whose members are defined elsewhere."""
Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]
"""A number; null stands for nan and infinity, which JSON cannot express."""
Count = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0})]
"""A count."""


class Part(BaseModel):
    """A part of a document: an object whose members are all known."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_serialization_defaults_required=True
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the members as plain values."""
        return self.model_dump(mode="json", by_alias=True)

    def but(self, **changed: Any) -> Self:
        """A copy with other values in some members."""
        return self.model_copy(update=changed)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a document from plain values.

        Raises:
            InputError: a member is missing, unknown, or of another kind.
        """
        try:
            return cls.model_validate_json(json.dumps(document), strict=True)
        except (ValidationError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"this is no {_named(cls)}: {'; '.join(wrong(error))}") from error

    @classmethod
    def misfits(cls, document: Mapping[str, Any]) -> list[str]:
        """Members of a document that are missing, unknown, or of another kind; none where it
        fits."""
        try:
            cls.model_validate_json(json.dumps(document), strict=True)
        except (ValidationError, TypeError, ValueError, RecursionError) as error:
            return wrong(error)
        return []


def wrong(error: Exception) -> list[str]:
    if not isinstance(error, ValidationError):
        return [str(error)]
    return [
        f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg'][:1].lower()}{one['msg'][1:]}"
        for one in error.errors(include_url=False, include_input=False)
    ]


def _named(kind: type[BaseModel]) -> str:
    known = kind.model_fields.get("type")
    return str(known.default if known is not None else kind.__name__).replace("-", " ")
