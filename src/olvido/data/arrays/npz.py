"""Archives of NumPy arrays (.npz) as rows; nothing in them is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olvido.errors import InputError

LARGEST = 2**33
"""Bytes that the arrays of one archive may unpack to: a small file can be made to unpack to any
number."""


def read_npz(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of an archive: each array is a column, and its first axis counts the rows.

    Raises:
        InputError: no archive, an array of objects (a pickle), arrays of different lengths, or none
            with rows.
    """
    columns = _columns(path)
    lengths = {name: len(values) if values.ndim else None for name, values in columns.items()}
    if not columns or None in lengths.values() or len({*lengths.values()}) > 1:
        said = ", ".join(f"{name} {list(values.shape)}" for name, values in columns.items())
        raise InputError(
            f"{path} must hold arrays with a row each for every record, such as input, label, "
            f"subject and id, got {said or 'none'}"
        )
    for number in range(next(iter(lengths.values())) or 0):
        yield number + 1, {name: _value(values[number]) for name, values in columns.items()}


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST:
            raise InputError(
                f"{path} unpacks to {size:,} bytes, at most {LARGEST:,} are read: divide it"
            )
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        pickled = "allow_pickle" in str(error) or "pickle" in str(error).lower()
        why = "an array of objects is a pickle, which can run code" if pickled else str(error)
        raise InputError(
            f"{path} cannot be read as arrays ({why}): write it with numpy.savez, with numbers, "
            "and texts of a fixed width"
        ) from error


def _value(value: Any) -> Any:
    """One row's value: an array, or a plain value; empty text stands for a missing one."""
    if isinstance(value, np.ndarray):
        return value
    plain = value.item()
    if isinstance(plain, bytes):
        plain = plain.decode()
    return None if plain == "" else plain
