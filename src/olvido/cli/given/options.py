"""Options of methods and learners on the command line: `--option lr=1e-4`, read by their types."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from olvido.errors import InputError, UnknownName


def method_options(method: str, written: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` options of a method.

    Raises:
        UnknownName: no such method, or no such option of it; the nearest is named.
        InputError: no `=`, or a value that the method does not take.
    """
    from olvido.forgetting import METHODS

    read = _read(method, METHODS.options(method), written)
    # Only the method knows which values it takes; asked now, before anything is loaded or written.
    METHODS.make(method, read)
    return read


def learner_options(learner: str, written: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` options of a learner.

    Raises:
        UnknownName: no such learner, or no such option of it; the nearest is named.
        InputError: no `=`, or a value that the learner does not take.
    """
    from olvido.learners import LEARNERS

    read = _read(learner, LEARNERS.options(learner), written)
    LEARNERS.make(learner, read)
    return read


def attribution_options(method: str, written: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` options of a way to trace.

    Raises:
        UnknownName: no such way, or no such option of it; the nearest is named.
        InputError: no `=`, or a value that the way does not take.
    """
    from olvido.attribution.base import make_way, way_options

    make_way(method, {})
    read = _read(method, way_options(method), written)
    make_way(method, read)
    return read


def _read(whose: str, known: Mapping[str, Any], written: Sequence[str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"write an option as name=value, got {text!r}")
        if name not in known:
            raise UnknownName(f"option of {whose}", name, known)
        read[name] = _value(f"option {name} of {whose}", known[name], value)
    return read


def _value(what: str, kind: Any, text: str) -> Any:
    union = isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
    kinds = typing.get_args(kind) if union else (kind,)
    if type(None) in kinds and text == "none":
        return None
    for candidate in kinds:
        if candidate is type(None):
            continue
        if candidate is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise InputError(f"{what} must be true or false, got {text!r}")
        try:
            return candidate(text)
        except ValueError:
            continue
    names = " or ".join(k.__name__ for k in kinds if k is not type(None))
    raise InputError(f"{what} must be {names}, got {text!r}")
