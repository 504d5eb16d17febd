"""To clear the folder of an earlier demo: file by file, and only where nothing else lies in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from olvido.artifacts import parts, recognised, remove
from olvido.demo.residents import SOURCE
from olvido.errors import InputError
from olvido.ledger.rows import is_stored
from olvido.settings import FILE, Settings

MADE = ".olvido-demo"
"""A file that says that a folder is a demo's own."""
_NAMED = 5


def fresh_folder(folder: Path) -> Path:
    """The demo's own folder, without an earlier demo, finished or broken off.

    Raises:
        InputError: the folder holds something that no demo wrote; then nothing is removed.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return folder
    marks = [folder / MADE, folder / FILE]
    if not all(mark.is_file() for mark in marks):
        raise InputError(f"{folder} holds something else: name a new folder with --out")
    own = {*_settings(folder), *_own(folder)}
    inside = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if others := sorted(path for path in inside if path not in own):
        named = ", ".join(str(path.relative_to(folder)) for path in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise InputError(
            f"{folder} holds what no demo wrote ({named}{more}): take it away, or name a new "
            "folder with --out"
        )
    # What says that it is a demo's goes last: after a crash the rest is known as one again.
    remove(folder, own.intersection(inside) - {*marks})
    for home in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        home.rmdir()
    remove(folder, marks)
    return folder


def _settings(folder: Path) -> Iterator[Path]:
    """What a workspace is made of, by name."""
    settings = Settings.load(folder, environment={})
    ledger = Path(settings.ledger)
    yield from (folder / MADE, folder / FILE, settings.key, settings.signing_key)
    yield settings.signing_key.with_suffix(".pub")
    yield from (ledger, Path(f"{ledger}-wal"), Path(f"{ledger}-shm"))
    yield from (path for path in (folder / "data").glob("*") if is_stored(path))


def _own(folder: Path) -> Iterator[Path]:
    """What is of a kind that Olvido writes, and the demo's files to try commands with."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        kind = recognised(path) or recognised(path, told=True)
        if kind is not None:
            yield from parts(path, kind)
        elif path.parent == folder / "files" and path.suffix == ".jsonl" and _of_the_town(path):
            yield path


def _of_the_town(path: Path) -> bool:
    """Whether every line is a record that the demo made."""
    try:
        lines = path.read_text("utf-8").splitlines()
        return all(json.loads(line)["source"] == SOURCE for line in lines)
    except (ValueError, KeyError, TypeError):
        return False
