"""A recipe that somebody states of a training, as a value or in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from olvido.errors import InputError, UnknownName
from olvido.learners import Recipe


def _values_in(path: Path) -> dict[str, Any]:
    """The values of a recipe's file. Raises InputError where it is no JSON object."""
    how = 'give a JSON object such as {"epochs": 3}'
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: give a recipe, a JSON object") from error
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be a recipe: {how}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read as a recipe ({reason}): {how}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object: {how}")
    return values


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in members]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is there twice, and takes one value")
    return dict(members)


def read_recipe(given: Recipe | Path | str | None) -> tuple[Recipe | None, frozenset[str]]:
    """A recipe, and the names of its fields that somebody stated; those of a file are its own.

    Raises:
        InputError: the file is no JSON object, or a value is none that a recipe takes.
        UnknownName: no recipe has a field of that name.
    """
    if given is None or isinstance(given, Recipe):
        return given, frozenset() if given is None else frozenset(given.to_dict())
    values = _values_in(Path(given))
    if not values:
        raise InputError(f'{given} is an empty recipe: give a JSON object such as {{"epochs": 3}}')
    try:
        return Recipe.from_dict(values), frozenset(values)
    except UnknownName as error:
        raise UnknownName(f"{error.kind} in {given}:", error.name, error.known) from error
    except InputError as error:
        raise InputError(f"{given}: {error}") from error
    except TypeError as error:
        raise InputError(
            f"{given} is no recipe ({error}): give a JSON object with fields of one, as 'olvido "
            "models show' prints them"
        ) from error
