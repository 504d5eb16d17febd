"""Checkpoints of a run on disk: whole or absent, and ignored when their bytes have changed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from olvido.artifact_shapes import CHECKPOINT
from olvido.errors import DigestMismatch, StateError
from olvido.files import begun_file, make_folder, publish
from olvido.processes import from_main, is_main

CACHE = "activations.safetensors"
"""File with values that a run computed once from its records, beside its checkpoints."""
KEPT = 2
"""Checkpoints against crashes beside those for replay: one to fall back on while the next is
written."""


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` optimizer steps.

    Attributes:
        step: steps done.
        beginning: beginning of the run's hash chain, in hexadecimal: another run has another.
        chain: hash over all steps so far, in hexadecimal (see `olvido.training.log`).
        weights: the tensors that the run trains, by name.
        optimizer: its state dictionary.
        rng: states of the random number generators: the CPU's, then the device's if any. No later
            step draws from them, but without a later step they are the run's own end.
        log: the packed log so far.
        seconds: seconds so far.
    """

    step: int
    beginning: str
    chain: str
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    rng: list[torch.Tensor]
    log: bytes
    seconds: float


class CheckpointStore:
    """The store of a run's checkpoints and precomputed values.

    Processes that share a run share the folder; the main one alone writes.

    Args:
        folder: their folder; None: a temporary one that lives as long as this object.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            folder = from_main(lambda: Path(tempfile.mkdtemp(prefix="olvido-")))
            # A copy in another process has no finalizer: the folder belongs to this object.
            if is_main():
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = folder

    def write(self, state: Checkpoint, *, keep: Collection[int] = ()) -> Path:
        """Write a checkpoint named by its step and the digest of its bytes, durably.

        Older ones stay at the steps in `keep`, and the newest `KEPT` others.
        """
        make_folder(self.folder)
        unfinished, file = begun_file(self.folder)
        try:
            with file:
                hashed = _Hashed(file)
                torch.save(vars(state), cast(IO[bytes], hashed))
                file.flush()
                path = self.folder / f"step-{state.step:09d}-{hashed.total.hexdigest()}.pt"
                publish(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        self._remove_all_but(keep, KEPT)
        return path

    def clear(self, *, keep: Collection[int]) -> None:
        """Remove all checkpoints but those at these steps."""
        self._remove_all_but(keep, 0)

    def newest(
        self, *, before: int, usable: Callable[[Checkpoint], bool]
    ) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """The newest usable checkpoint, and the ones that were skipped.

        Args:
            before: no later step than this one.
            usable: predicate for each readable one.

        Returns:
            The checkpoint, None where there is none, and a sentence for each damaged one.
        """
        notes: list[str] = []
        for path in self:
            if step_of(path) > before:
                continue
            try:
                state = read(path)
            except StateError as error:
                notes.append(f"passed over a damaged checkpoint: {error}")
                continue
            if usable(state):
                return state, tuple(notes)
        return None, tuple(notes)

    @property
    def cache(self) -> Path:
        """Path of the precomputed values, if any."""
        return self.folder / CACHE

    def copy_to(self, other: CheckpointStore, *, before: int) -> None:
        """Give another checkpoint store the cache, and the checkpoints up to a step."""
        found = [path for path in self if step_of(path) <= before]
        for path in [*found, *([self.cache] if self.cache.exists() else [])]:
            target = other.folder / path.name
            if not target.exists():
                make_folder(other.folder)
                try:
                    os.link(path, target)
                except OSError:
                    # Another file system, or one without links: bytes are copied then.
                    shutil.copy2(path, target)

    def __iter__(self) -> Iterator[Path]:
        if self.folder.is_dir():
            names = (path for path in self.folder.iterdir() if CHECKPOINT.fullmatch(path.name))
            yield from sorted(names, reverse=True)

    def _remove_all_but(self, keep: Collection[int], others: int) -> None:
        spare = [path for path in self if step_of(path) not in keep]
        for path in spare[others:]:
            path.unlink()


class _Hashed:
    """A file that is hashed while it is written, a tensor at a time.

    Args:
        file: open for writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.total = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Write these bytes at the end."""
        self.total.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()


def step_of(path: Path) -> int:
    """The step in a checkpoint's name.

    Raises:
        StateError: it is no checkpoint's name.
    """
    return int(_matched(path)[1])


def read(path: Path) -> Checkpoint:
    """Read one checkpoint and check it.

    Raises:
        DigestMismatch: its bytes have changed since it was written.
        StateError: it is no checkpoint.
    """
    expected = _matched(path)[2]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise DigestMismatch(f"checkpoint {path}", expected, found)
        # Of the open file, so that these are the bytes whose digest is right.
        file.seek(0)
        return Checkpoint(**torch.load(file, weights_only=True))


def _matched(path: Path) -> re.Match[str]:
    match = CHECKPOINT.fullmatch(path.name)
    if match is None:
        raise StateError(f"{path} is not a checkpoint: expected step-NUMBER-DIGEST.pt")
    return match
