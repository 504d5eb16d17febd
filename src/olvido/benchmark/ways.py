"""The methods of a comparison: rows of its table, and marks of its cells."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from olvido.audits import Audit
from olvido.errors import InputError, MissingNeed, ParameterName
from olvido.methods import METHODS, Method, Need, Split
from olvido.registry import name_of, plain, settings


@dataclass(frozen=True)
class ComparedMethod:
    """A method of a comparison.

    Attributes:
        row: its name in the table.
        method: its name or the object.
        options: options of a named method; an object has its own.
        mark: distinguishes its cells' file names from those of other options.
    """

    row: str
    method: str | Method
    options: Mapping[str, Any] = field(default_factory=dict)
    mark: str = ""


def ways_of(
    methods: Sequence[str | type[Method] | Method],
    options: Mapping[str, Mapping[str, Any]],
    audits: Sequence[Audit],
) -> list[ComparedMethod]:
    """The methods of a comparison.

    Raises:
        UnknownName: no such method or option.
        InputError: none, one of them twice, or options of a method that is not compared.
    """
    found = []
    for given in methods:
        if isinstance(given, str):
            chosen = options.get(given, {})
            METHODS.make(given, chosen)
            found.append(ComparedMethod(given, given, chosen, mark_of(chosen, audits)))
            continue
        made = METHODS.make(given)
        name = METHODS.name_of(given)
        chosen = plain(settings(made), name)
        found.append(
            ComparedMethod(row_of(name, chosen), made, mark=mark_of(chosen, [*audits, made]))
        )
    rows = [way.row for way in found]
    if not rows or len(set(rows)) < len(rows):
        raise InputError(f"give one or more methods, each once, got {rows}")
    for name in options:
        if name not in rows:
            raise InputError(f"options of {name} were given, and it is not among the methods")
    return found


def row_of(name: str, options: Mapping[str, Any]) -> str:
    """The name of a row, with the options that differ from their defaults.

    >>> row_of("npo", {"beta": 0.5}), row_of("npo", {})
    ('npo (beta=0.5)', 'npo')
    """
    shown = ", ".join(f"{option}={value}" for option, value in options.items())
    return f"{name} ({shown})" if shown else name


def begins_at_base(way: ComparedMethod) -> bool:
    """Whether a method begins with the weights that the model was trained from."""
    return Need.ORIGIN in METHODS.make(way.method, way.options).needs


def require_needs(ways: Sequence[ComparedMethod], split: Split, *, base: bool) -> None:
    """Refuse methods that need what a comparison cannot provide, or records that are missing.

    Raises:
        InputError: one needs the trace of the training.
        MissingNeed: one needs records, or a base, that were not passed.
    """
    have = {
        Need.RETAIN: bool(split.retain),
        Need.HOLDOUT: bool(split.holdout),
        Need.ORIGIN: base,
        # What is compared are language models.
        Need.LANGUAGE: True,
    }
    for way in ways:
        name = way.row
        for need in sorted(METHODS.make(way.method, way.options).needs):
            if need not in have:
                raise InputError(
                    f"{name} cannot be compared on a model alone, since it needs ", *need.words
                )
            if not have[need] and need is Need.HOLDOUT:
                # A reference has no part in the forgetting here: results are compared with it.
                raise MissingNeed(
                    f"{name} needs to know where never learned lies: give records of the same "
                    "making that the model never saw (",
                    ParameterName("holdout"),
                    "). The references of a comparison are for its audits alone",
                )
            if not have[need] and need is Need.ORIGIN:
                raise MissingNeed(
                    f"{name} needs the weights that the model was trained from: give them (",
                    ParameterName("base"),
                    ") in the place of references, which are then trained from them",
                )
            if not have[need]:
                raise MissingNeed(f"{name} needs ", *need.words)


def mark_of(options: Mapping[str, Any], parts: Sequence[Any]) -> str:
    """The mark in the file names of cells with these options and custom parts."""
    values: list[Any] = [dict(options)] if options else []
    for part in parts:
        own = None if type(part).__module__.startswith("olvido.") else _source(type(part))
        values.append([name_of(part), settings(part), own])
    if not values:
        return ""
    text = json.dumps(values, sort_keys=True, default=str)
    return f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _source(kind: type[Any]) -> str | None:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed by hand, or built
        return None
