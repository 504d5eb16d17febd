"""Places that a command is to write to, looked at before anything is computed for them."""

from __future__ import annotations

import os
from pathlib import Path

from olvido.errors import InputError


def require_page(path: Path | None) -> None:
    """Refuse what cannot become an HTML file.

    Raises:
        InputError: another kind of file, or a folder that is not there or may not be written to.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InputError(f"a page is an HTML file: name one that ends in .html, got {path}")
    _require_folder_of(path)


def require_new_file(path: Path | None) -> None:
    """Refuse what is there already, and what cannot be made where it is to stand.

    Raises:
        InputError: saying which.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a new file in it")
    if path.exists():
        raise InputError(f"{path} exists already: name a new file")
    _require_folder_of(path)


def require_folder(path: Path | None) -> None:
    """Refuse what neither is a folder nor can become one.

    Raises:
        InputError: it is a file, or the folder above it may not be written to.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is no folder: name one, or a new one")
    _require_writable(path)


def require_model(name: str | None) -> None:
    """Refuse a path where no folder lies, before the libraries that would read it are loaded.

    What may be a short name, a hub id or a model of the ledger is passed over.

    Raises:
        InputError: there is no such folder.
    """
    if name is None:
        return
    written_as_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if not name.strip() or (written_as_path and not Path(name).is_dir()):
        raise InputError(f"there is no folder {name!r}: give a model's folder, a name or a hub id")


def _require_folder_of(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} into: make it")
    _require_writable(path.parent)


def _require_writable(path: Path) -> None:
    above = next(f for f in (path.absolute(), *path.absolute().parents) if f.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{path} cannot be made: {above} is no folder that may be written to")
