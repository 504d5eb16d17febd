"""Tensors by parameter, in files that are read one parameter at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from olvido.errors import DigestMismatch, StateError
from olvido.files import new_folder

T = TypeVar("T")
INDEX = "index.json"
"""File with the file name of each parameter, and every file's digest."""


def write(
    folder: Path, parts: Iterable[Mapping[str, Mapping[str, Tensor]]], note: Mapping[str, Any]
) -> None:
    """Write one file for each part as it comes; the folder is renamed when all are complete.

    Args:
        folder: a new one.
        parts: tensors by parameter and kind.
        note: metadata, as plain values.
    """
    with new_folder(folder) as unfinished:
        files: dict[str, str] = {}
        digests: dict[str, str] = {}
        for number, part in enumerate(parts):
            name = f"part-{number:05d}.safetensors"
            tensors = {
                f"{parameter}|{kind}": tensor.contiguous().cpu()
                for parameter, kinds in part.items()
                for kind, tensor in kinds.items()
            }
            save_file(tensors, unfinished / name)
            digests[name] = _digest(unfinished / name)
            files |= dict.fromkeys(part, name)
        index = json.dumps({"files": files, "digests": digests, "note": dict(note)}, indent=1)
        (unfinished / INDEX).write_text(index)


def about(folder: Path) -> dict[str, Any] | None:
    """The stored note, with the `names` of the parameters; None where none can be read.

    It is cheap: no tensor is opened, and nothing is checked.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
        return {**index["note"], "names": list(index["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


class OnDisk(Mapping[str, T], Generic[T]):
    """Stored tensors, read one parameter at a time and not cached.

    Args:
        folder: a folder that `write` wrote.
        make: makes a value of a parameter's tensors, by kind.

    Raises:
        StateError: the folder cannot be read.
        DigestMismatch: a file was changed.
    """

    def __init__(self, folder: Path, make: Callable[[Mapping[str, Tensor]], T]) -> None:
        self._folder, self._make = folder, make
        try:
            index = json.loads((folder / INDEX).read_text())
            self._files: dict[str, str] = index["files"]
            self.note: dict[str, Any] = index["note"]
            for name, expected in index["digests"].items():
                found = _digest(folder / name)
                if found != expected:
                    raise DigestMismatch(f"curvature {folder / name}", expected, found)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"the curvature in {folder} cannot be read ({error}): remove the folder, and it is "
                "measured again"
            ) from error

    def __getitem__(self, name: str) -> T:
        path = self._folder / self._files[name]
        try:
            with safe_open(path, "pt") as file:
                keys = [key for key in file.keys() if key.rpartition("|")[0] == name]  # noqa: SIM118
                return self._make({key.rpartition("|")[2]: file.get_tensor(key) for key in keys})
        except (OSError, SafetensorError) as error:
            raise StateError(f"the curvature {path} cannot be read ({error})") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
