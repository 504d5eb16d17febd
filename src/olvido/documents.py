"""Documents for programs: plain values that strict JSON can hold, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olvido.errors import InputError
from olvido.files import write


def finite(value: Any) -> Any:
    """The value with None where a number is nan or infinite, which JSON cannot say.

    >>> finite({"loss": float("nan"), "n": [1, 2.5]})
    {'loss': None, 'n': [1, 2.5]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def write_document(document: Mapping[str, Any], path: Path) -> None:
    """Write a document as JSON, durably; a reader sees the old file or the new one.

    Args:
        document: plain values.
        path: see `olvido.files.write`.
    """
    text = json.dumps(finite(document), ensure_ascii=False, indent=1, allow_nan=False)
    write(path, text)


def read_document(path: Path) -> dict[str, Any]:
    """A document from its file.

    Raises:
        InputError: there is no such file, or it holds no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"there is no file {path}: give the path of one that Olvido wrote"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be read as JSON ({reason}): give a file as Olvido wrote it"
        ) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object: give a file as Olvido wrote it")
    return document
