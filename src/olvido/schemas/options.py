"""The options of a run, shared by every entry point.

The command line makes its flags from these fields, the service its form and its API, and the worker
reads the approved ones.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from olvido.errors import InputError, ParameterName, UnknownName, require_count, require_seed
from olvido.schemas.base import Part

MOST = 1_000
"""Never-trained models of an audit, at the most."""
LEVELS = ("quick", "standard", "thorough")
"""The levels of an audit, the least first."""


class RunOptions(Part):
    """Options of `olvido.requests.run`: names alone, so that any process can use them.

    Example:
        >>> RunOptions(method="npo", options={"lr": 1e-4}).seed
        0
        >>> RunOptions(references=0)
        Traceback (most recent call last):
        olvido.errors.InputError: references must be at least 1, got 0
    """

    type: Literal["run-options"] = "run-options"
    version: Literal[1] = 1
    model: str = Field(default="serving", description="The model that shall forget.")
    method: str | None = Field(default=None, description="Try this first; see 'olvido methods'.")
    options: dict[str, Any] = Field(default={}, description="Of the method.")
    references: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="Never-trained models to audit against; 3, and none where forgetting is exact.",
    )
    within: float | None = Field(
        default=None,
        ge=0,
        description="The time there is to forget.",
        json_schema_extra={"unit": "seconds"},
    )
    level: Literal["quick", "standard", "thorough"] | None = Field(
        default=None,
        description="How much the audit tries: quick, standard or thorough; standard where "
        "forgetting is empirical.",
    )
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1, description="Of the forgetting.")
    holdout: str | None = Field(
        default=None, description="A dataset of the same making that no model ever saw."
    )
    neighbours: str | None = Field(
        default=None, description="A dataset of records near the forgotten."
    )
    general: str | None = Field(default=None, description="A dataset of what everybody may know.")

    # An error of Olvido's own names a parameter as its entry point does.
    @field_validator("references", mode="before")
    @classmethod
    def _require_references(cls, value: Any) -> Any:
        if isinstance(value, int):
            require_count(ParameterName("references"), value, most=MOST)
        return value

    @field_validator("within", mode="before")
    @classmethod
    def _require_seconds(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not (value >= 0 and math.isfinite(value)):
            raise InputError(ParameterName("within"), f" must be seconds, 0 or more, got {value}")
        return value

    @field_validator("level", mode="before")
    @classmethod
    def _require_level(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lower() not in LEVELS:
            raise UnknownName("level", value, LEVELS)
        return value.lower() if isinstance(value, str) else value

    @field_validator("seed", mode="before")
    @classmethod
    def _require_seed(cls, value: Any) -> Any:
        if isinstance(value, int):
            require_seed(value)
        return value

    @model_validator(mode="after")
    def _require_method(self) -> Self:
        if self.options and self.method is None:
            raise InputError(
                f"the options {', '.join(sorted(self.options))} belong to a method: name it (",
                ParameterName("method"),
                ")",
            )
        return self
