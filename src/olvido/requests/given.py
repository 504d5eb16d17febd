"""What is given with requests is checked before anything is concluded: also where nothing runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from olvido.errors import InputError, Parameter, require_count, require_seed

MOST = 1_000
"""Never-trained models that an audit is held to."""


def require_given(
    identifiers: Sequence[str],
    *,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    references: int | None = None,
    within: float | None = None,
    level: str | None = None,
    seed: int = 0,
) -> None:
    """Refuse what no run could be asked for, whatever the requests turn out to need.

    Args:
        identifiers: of the requests.
        method, options, references, within, level, seed: see `olvido.requests.run`.

    Raises:
        UnknownName: no such method, option or level.
        InputError: no request or one of them twice, options without a method, or a number that
            nothing can be made of.
    """
    if not identifiers or len(set(identifiers)) < len(identifiers):
        raise InputError(
            f"give the ids of one or more requests, each once, got {', '.join(identifiers)}"
        )
    if method is not None:
        from olvido.forgetting import METHODS

        METHODS.make(method, options)
    elif options:
        raise InputError(
            f"the options {', '.join(sorted(options))} belong to a method: name it (",
            Parameter("method"),
            ")",
        )
    require_seed(seed)
    if references is not None:
        require_count(Parameter("references"), references, most=MOST)
    if within is not None and not (within >= 0 and math.isfinite(within)):
        raise InputError(Parameter("within"), f" must be seconds, 0 or more, got {within}")
    if level is not None:
        from olvido.audits.types import Level

        Level.named(level)
